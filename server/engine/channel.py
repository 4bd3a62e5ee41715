"""Whole messages between two processes, over a socket that one inherited from the other: a length, then the bytes.

Images come compressed and are small, so they are sent like everything else; no memory is shared.
"""

import asyncio
import socket
import struct
from typing import Self

LARGEST_MESSAGE_BYTES = 2**28
_LENGTH = struct.Struct("<I")


class Channel:
    """One end. A single task reads it; writing never waits."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Take over a connected stream socket."""
        return cls(*await asyncio.open_connection(sock=end, limit=2**20))

    async def receive(self) -> bytes | None:
        """The next message; None when there will be no more. Raises ConnectionError for a malformed one."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > LARGEST_MESSAGE_BYTES:
                raise ConnectionError(f"a message of {length} bytes was announced; the largest has 2^28")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
            return None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the other side has not taken yet. The sender keeps them within bounds."""
        return self._writer.transport.get_write_buffer_size()

    def send(self, message: bytes) -> None:
        """Send a message. It is lost when the other side is gone, which `receive` reports."""
        if not self._writer.transport.is_closing():
            self._writer.writelines((_LENGTH.pack(len(message)), message))

    async def flush(self) -> None:
        """Wait until the other side has room for all that was sent."""
        await self._writer.drain()

    def close(self) -> None:
        """End the connection: the other side receives None, and messages not yet sent are lost."""
        self._writer.transport.abort()
