"""One process, one event loop: HTTP and gRPC in front of one service."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from server.engine.local import LocalEngine
from server.engine.protocol import Engine
from server.engine.registry import Registry
from server.service import Service
from server.settings import Settings, SettingsError
from server.transport.grpc_api import grpc_server, set_health
from server.transport.http_api import http_app

log = logging.getLogger("telos")


def run(settings: Settings, on_ready: Callable[["Running"], None] = lambda running: None) -> None:
    """Serve until SIGTERM or SIGINT; `on_ready` is called once every model is warm.

    Raises CheckpointError or SettingsError before anything listens.
    """
    engine = LocalEngine(Registry.load(settings.checkpoints, settings), settings)
    asyncio.run(_run(engine, settings, on_ready))


class Running:
    """Both listeners of a server. `http_port` and `grpc_port` are the real ones, also when the settings ask for any."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.service = Service(engine, settings)
        self._settings = settings
        self._grpc, self._health = grpc_server(self.service, settings)
        self._http = _Http(
            uvicorn.Config(
                http_app(self.service, settings),
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=settings.max_connections,
                timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_s)),
            )
        )
        self._serving: list[asyncio.Task[None]] = []
        self.http_port = 0
        self.grpc_port = 0

    async def start(self) -> None:
        """Listen, then warm up; ready when it returns. Raises SettingsError for a port that is taken."""
        host = self._settings.host
        listener = _listen(host, self._settings.http_port)
        self.http_port = listener.getsockname()[1]
        try:
            address = f"[{host}]" if ":" in host else host
            self.grpc_port = self._grpc.add_insecure_port(f"{address}:{self._settings.grpc_port}")
        except RuntimeError as error:
            listener.close()
            taken = f"grpc_port={self._settings.grpc_port} of {host} cannot be listened on; take another"
            raise SettingsError(taken) from error
        self._serving.append(asyncio.create_task(self._http.serve(sockets=[listener])))
        await set_health(self._health, serving=False)
        await self._grpc.start()
        log.info("HTTP on %s port %d, gRPC on port %d", host, self.http_port, self.grpc_port)
        await self.service.engine.start()
        await set_health(self._health, serving=True)

    async def stop(self) -> None:
        """Refuse what is new, finish what was accepted within the grace period, then close."""
        self.service.draining = True
        await set_health(self._health, serving=False)
        self._http.should_exit = True
        await asyncio.gather(self._grpc.stop(self._settings.shutdown_grace_s), *self._serving)
        await self.service.engine.stop()


class _Http(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are for both listeners: see _run


async def _run(engine: Engine, settings: Settings, on_ready: Callable[[Running], None]) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    running = Running(engine, settings)
    starting = asyncio.create_task(running.start())
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            on_ready(running)
            await stopped
        starting.cancel()
    finally:
        log.info("stopping")
        await running.stop()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        taken = f"http_port={port} of {host} cannot be listened on: {error.strerror}; take another"
        raise SettingsError(taken) from error
    # Connections inherit it. Without, an answer's body waits for the acknowledgement of its head: 40 ms a plan.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
