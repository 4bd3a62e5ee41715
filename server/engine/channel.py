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
    """One end. Who reads it is one task; who writes never waits."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Of a connected stream socket, which it owns from now on."""
        return cls(*await asyncio.open_connection(sock=end, limit=2**20))

    async def receive(self) -> bytes | None:
        """The next message; None when there will be no more. Raises ConnectionError for what is no message."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > LARGEST_MESSAGE_BYTES:
                raise ConnectionError(f"a message of {length} bytes was announced; the largest has 2^28")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionResetError, BrokenPipeError):
            return None

    @property
    def unsent_bytes(self) -> int:
        """What the other side has not taken yet: who sends minds it, or has a bound of its own."""
        return self._writer.transport.get_write_buffer_size()

    def send(self, message: bytes) -> None:
        """What is sent to a side that is gone is lost: `receive` says so."""
        if not self._writer.transport.is_closing():
            self._writer.writelines((_LENGTH.pack(len(message)), message))

    async def flush(self) -> None:
        """Until the other side has room for all that was sent."""
        await self._writer.drain()

    def close(self) -> None:
        """The other side receives None; what was not sent yet is lost."""
        self._writer.transport.abort()
