"""The front process: one event loop with HTTP and gRPC for one service, without torch."""

import asyncio
import contextlib
import hashlib
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from server.engine.process import EngineProcess
from server.engine.protocol import Engine
from server.errors import ServiceError
from server.observability.loop_lag import watch_loop_lag
from server.observability.metrics import Metrics
from server.process import freeze_garbage, run_loop
from server.service import Service
from server.settings import Settings, SettingsError
from server.transport.access import grpc_tls
from server.transport.admin_api import admin_app
from server.transport.admission import Admission
from server.transport.grpc_api import grpc_server, set_health
from server.transport.http_api import http_app
from server.transport.http_server import HttpServer, listen, port_unavailable

if TYPE_CHECKING:
    from server.recording.recorder import Recorder

log = logging.getLogger("telos")

_MIRROR_S = 0.1


def run(settings: Settings, on_ready: Callable[["Running"], None] = lambda running: None) -> None:
    """Serve until SIGTERM or SIGINT; `on_ready` is called once every model is warm.

    Raises SettingsError if a port cannot be opened or no model can be served.
    """
    settings.checkpoint_folders()  # refuse a wrong folder before anything listens
    run_loop(_run(settings, on_ready))


def say_ports(running: "Running") -> None:
    """Write the ports as one line of JSON to stdout, which also says that the server is ready."""
    sys.stdout.write(json.dumps({"http_port": running.http_port, "grpc_port": running.grpc_port}) + "\n")
    sys.stdout.flush()


class Running:
    """A server with its listeners. `http_port` and `grpc_port` are the real ports even if the settings say 0."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.service = Service(engine, settings)
        self._settings = settings
        self._recorder = _recorder(settings, self.service.observer.metrics)
        if self._recorder is not None:
            self.service.record = self._recorder.plan
        self.admission = Admission(settings)
        self.app = http_app(self.service, settings, self.admission)
        self._grpc, self._health = grpc_server(self.service, settings, self.admission)
        refused = self.service.observer.metrics.refused
        self._http = HttpServer(self.app, settings, self.admission, refused)
        self._admin = HttpServer(admin_app(self.service, settings, self.admission), settings, self.admission, refused)
        self._serving: list[asyncio.Task[None]] = []
        self._mirroring: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self.http_port = 0
        self.grpc_port = 0

    async def start(self) -> None:
        """Listen, then start the engine. The server is ready when this returns. Raises SettingsError."""
        host = self._settings.host
        listener = listen(host, self._settings.http_port)
        self.http_port = listener.getsockname()[1]
        try:
            address = f"[{host}]" if ":" in host else host
            self.grpc_port = self._add_grpc_port(f"{address}:{self._settings.grpc_port}")
        except RuntimeError as error:
            listener.close()
            reason = "Address already in use, or not an address of this machine"
            raise port_unavailable(host, self._settings.grpc_port, "grpc_port", reason) from error
        self._serving.append(asyncio.create_task(self._http.serve(sockets=[listener])))
        if self._settings.admin_port:
            admin = listen("127.0.0.1", self._settings.admin_port, "admin_port")
            self._serving.append(asyncio.create_task(self._admin.serve(sockets=[admin])))
        self._watching = asyncio.create_task(watch_loop_lag(self.service.observer.metrics.loop_lag))
        await set_health(self._health, serving=False)
        await self._grpc.start()
        self._mirroring = asyncio.create_task(self._mirror_engine())
        log.info("HTTP on %s port %d, gRPC on port %d", host, self.http_port, self.grpc_port)
        await self.service.engine.start()
        await set_health(self._health, serving=not self.service.why_not_ready())

    def _add_grpc_port(self, address: str) -> int:
        credentials = grpc_tls(self._settings)
        if credentials is None:
            return self._grpc.add_insecure_port(address)
        return self._grpc.add_secure_port(address, credentials)

    async def stop(self) -> None:
        """Refuse new requests, finish accepted ones within the grace period, then close."""
        self.service.drained.set()
        if self._mirroring is not None:
            self._mirroring.cancel()
        await set_health(self._health, serving=False)
        self._http.should_exit = self._admin.should_exit = True
        await asyncio.gather(self._grpc.stop(self._settings.shutdown_grace_s), *self._serving)
        await self.service.engine.stop()
        if self._watching is not None:
            self._watching.cancel()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close)
        await asyncio.to_thread(self.service.observer.close)

    async def reload(self) -> None:
        """Load every checkpoint whose manifest has changed. One that cannot be loaded changes nothing."""
        for folder in self._settings.checkpoint_folders():
            served = {model.manifest_sha256 for model in self.service.engine.models}
            if hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() not in served:
                with contextlib.suppress(ServiceError):  # the log says why
                    await self.service.load_model(folder.name)

    async def stop_at_once(self) -> None:
        """Fail all accepted requests now, while the server stops."""
        self._http.force_exit = self._admin.force_exit = True
        await self.service.engine.stop()
        await self._grpc.stop(0)

    async def _mirror_engine(self) -> None:
        """Keep gRPC health checks equal to /readyz, and add the engine's work to the metrics."""
        while True:
            await set_health(self._health, serving=not self.service.why_not_ready())
            self.service.note_work()
            await asyncio.sleep(_MIRROR_S)


async def _run(settings: Settings, on_ready: Callable[[Running], None]) -> None:
    asked, asked_again = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (asked_again if asked.is_set() else asked).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    running = Running(EngineProcess(settings), settings)
    reloading: set[asyncio.Task[None]] = set()
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGHUP, lambda: reloading.add(asyncio.create_task(running.reload()))
    )
    try:
        if await _before(asked, running.start()):
            freeze_garbage()
            on_ready(running)
            await asked.wait()
    finally:
        log.info("stopping")
        stopping = asyncio.create_task(running.stop())
        if not await _before(asked_again, asyncio.shield(stopping)):
            log.info("stopping at once")
            await running.stop_at_once()
        await stopping


async def _before(event: asyncio.Event, work: Awaitable[None]) -> bool:
    """True if `work` ends before `event`; otherwise `work` is cancelled. Raises what `work` raises."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        working.cancel()
        waiting.cancel()


def _recorder(settings: Settings, metrics: Metrics) -> "Recorder | None":
    """The recorder that the settings ask for, if any. Raises SettingsError."""
    if settings.record is None:
        return None
    try:
        from server.recording.recorder import Recorder, RecordingLimits
    except ImportError as error:
        raise SettingsError(
            "record needs the extra `record`: pip install '.[record]' in a checkout, or leave record out"
        ) from error
    limits = RecordingLimits(
        file_bytes=settings.record_file_bytes,
        folder_bytes=settings.record_folder_bytes,
        waiting_bytes=settings.record_waiting_bytes,
    )
    dropped = metrics.recording_drops
    return Recorder(
        settings.record, limits, written=metrics.recorded.inc, dropped=lambda reason: dropped.labels(reason).inc()
    )
