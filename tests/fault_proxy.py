"""A network between a client and a server that misbehaves on command. Bytes only: it knows no protocol."""

import asyncio
import math
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Faults:
    """What happens to bytes that come in from now on, in both directions."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Added to the delay, uniform from 0. Order is kept, as TCP does."""
    bytes_per_s: float = math.inf
    silent: bool = False
    """Bytes disappear; connections stay open, and new ones are accepted."""
    refused: bool = False
    """New connections are closed at once."""
    dice: random.Random = field(default_factory=lambda: random.Random(0))


class FaultProxy:
    """Listens on a free port of this machine and passes everything on to `target_port`."""

    def __init__(self, target_port: int, loop: asyncio.AbstractEventLoop) -> None:
        self.faults = Faults()
        self.port = 0
        self.connections = 0
        """Ever opened."""
        self._target_port = target_port
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    def drop(self) -> None:
        """Reset every connection, as a router that forgot them does."""
        self._on_loop(lambda: [writer.transport.abort() for writer in self._open])

    def freeze(self) -> None:
        """Leave every present connection half open: nothing passes any more, nobody is told. New ones work."""
        self._on_loop(lambda: self._frozen.update(self._open))

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def _on_loop(self, work: object) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (work(), done.set()))  # type: ignore[operator]
        assert done.wait(5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.faults.refused:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        ends = {writer, there_writer}
        self._open |= ends
        pipes = {asyncio.create_task(self._pipe(a, b)) for a, b in ((reader, there_writer), (there_reader, writer))}
        self._pipes |= pipes
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        for pipe in pipes:
            pipe.cancel()
        for end in ends:
            end.transport.abort()
        self._open -= ends
        self._frozen -= ends
        self._pipes -= pipes

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until one end closes. What was read waits on a queue, so that a delay delays but does not slow down."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(due, writer))
        self._pipes.add(delivery)
        delivery.add_done_callback(self._pipes.discard)
        at = 0.0
        try:
            while data := await reader.read(16_384):
                faults = self.faults
                if faults.silent or writer in self._frozen:
                    continue
                arrives = self._loop.time() + faults.delay_s + faults.dice.uniform(0, faults.jitter_s)
                at = max(at, arrives) + len(data) / faults.bytes_per_s
                due.put_nowait((at, data))
            await due.join()
        except OSError:
            pass
        finally:
            delivery.cancel()

    async def _deliver(self, due: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        while True:
            at, data = await due.get()
            await asyncio.sleep(at - self._loop.time())
            if writer not in self._frozen and not self.faults.silent:
                try:
                    writer.write(data)
                    await writer.drain()
                except OSError:
                    return  # the other direction notices, and ends both
            due.task_done()


@contextmanager
def fault_proxy(target_port: int) -> Iterator[FaultProxy]:
    """A proxy with a loop of its own, until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    proxy = FaultProxy(target_port, loop)
    asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(timeout=10)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
