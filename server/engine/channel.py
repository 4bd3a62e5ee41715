"""Messages between two processes over an inherited socket: a length, then the bytes.

Images arrive compressed and are small, so they are sent as they are, without shared memory.
"""

import asyncio
import socket
import struct
from typing import Self

LARGEST_MESSAGE_BYTES = 2**28
_LENGTH = struct.Struct("<I")


class Channel:
    """One end of the channel. A single task reads it; writing never waits."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Take over a connected stream socket."""
        return cls(*await asyncio.open_connection(sock=end, limit=2**20))

    async def receive(self) -> bytes | None:
        """The next message; None at the end. Raises ConnectionError for a malformed one."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > LARGEST_MESSAGE_BYTES:
                raise ConnectionError(f"a message of {length} bytes was announced; the largest has 2^28")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
            return None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the other side has not read yet, which the sender must bound."""
        return self._writer.transport.get_write_buffer_size()

    def send(self, message: bytes) -> None:
        """Send a message. It is lost if the other side is gone, which `receive` reports."""
        if not self._writer.transport.is_closing():
            self._writer.writelines((_LENGTH.pack(len(message)), message))

    async def flush(self) -> None:
        """Wait until the operating system has taken all messages."""
        await self._writer.drain()

    def close(self) -> None:
        """End the connection: the other side receives None, and messages not yet sent are lost."""
        self._writer.transport.abort()
