"""One process, one event loop: HTTP and gRPC in front of one service."""

import asyncio
import logging
import signal
from collections.abc import Callable

from server.engine.local import LocalEngine
from server.engine.protocol import Engine
from server.engine.registry import Registry
from server.service import Service
from server.settings import Settings, SettingsError
from server.transport.access import grpc_tls
from server.transport.admission import Admission
from server.transport.grpc_api import grpc_server, set_health
from server.transport.http_api import http_app
from server.transport.http_server import HttpServer, listen

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
        self.admission = Admission(settings)
        self.app = http_app(self.service, settings, self.admission)
        self._grpc, self._health = grpc_server(self.service, settings, self.admission)
        self._http = HttpServer(self.app, settings, self.admission)
        self._serving: list[asyncio.Task[None]] = []
        self.http_port = 0
        self.grpc_port = 0

    async def start(self) -> None:
        """Listen, then warm up; ready when it returns. Raises SettingsError for a port that is taken."""
        host = self._settings.host
        listener = listen(host, self._settings.http_port)
        self.http_port = listener.getsockname()[1]
        try:
            address = f"[{host}]" if ":" in host else host
            self.grpc_port = self._add_grpc_port(f"{address}:{self._settings.grpc_port}")
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

    def _add_grpc_port(self, address: str) -> int:
        credentials = grpc_tls(self._settings)
        if credentials is None:
            return self._grpc.add_insecure_port(address)
        return self._grpc.add_secure_port(address, credentials)

    async def stop(self) -> None:
        """Refuse what is new, finish what was accepted within the grace period, then close."""
        self.service.drained.set()
        await set_health(self._health, serving=False)
        self._http.should_exit = True
        await asyncio.gather(self._grpc.stop(self._settings.shutdown_grace_s), *self._serving)
        await self.service.engine.stop()


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
