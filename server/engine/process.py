"""Engine in its own process, which is watched, killed when it hangs, and started again when it ends.

Its crash never ends the front.
"""

import asyncio
import logging
import math
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from server import schemas
from server.engine.channel import Channel
from server.engine.client import EngineClient, restarting
from server.engine.protocol import EngineActivity, EngineReply, Incumbents, WarmStart, infeasible
from server.engine.translation import from_warm_start, to_reply, to_response
from server.engine.wire import engine_pb2 as pb
from server.settings import Settings, SettingsError
from telos.wire import telos_pb2
from telos.wire.messages import to_message

log = logging.getLogger("telos")

COMMAND = (sys.executable, "-P", "-m", "server.engine")
ANSWER_GRACE_S = 0.05
"""Time after the deadline to wait for an answer. A working engine answers at the deadline."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_TICK_S = 0.1


class EngineWorker:
    """One engine process, from its start to its end.

    It belongs to one event loop and to the thread that started it, and ends with either.
    """

    def __init__(self, process: subprocess.Popen[bytes], client: EngineClient, settings: Settings) -> None:
        self.client = client
        self.pid = process.pid
        self.silent_s = 0.0
        """Seconds since the last message."""
        self._process = process
        self._settings = settings

    @classmethod
    async def start(cls, command: Sequence[str], settings: Settings) -> Self:
        """Start `command`, whose last argument is the file descriptor of its end of a socket."""
        ours, theirs = socket.socketpair()
        with theirs:
            channel = await Channel.open(ours)
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(settings),
            )
        return cls(process, EngineClient(channel), settings)

    async def live(self) -> None:
        """Wait until it ends or hangs, or the caller is cancelled. The process is gone when this returns."""
        listening = asyncio.create_task(self.client.listen())
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({listening, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._process.kill()  # it has nothing to save
            listening.cancel()
            watching.cancel()
            heard, _ = await asyncio.gather(listening, watching, return_exceptions=True)
            code = await asyncio.to_thread(self._process.wait)
            why = self.client.failure.reason if self.client.failure is not None else f"exit code {code}"
            log.warning(
                "engine process %d ended: %s%s", self.pid, why, f", {heard!r}" if isinstance(heard, Exception) else ""
            )

    async def _watch(self) -> None:
        """Return when it hangs.

        Silence is counted in ticks of this loop, so that delays of the front do not count.
        """
        heard = 0
        limits = self._settings
        while True:
            await asyncio.sleep(_TICK_S)
            self.silent_s = 0.0 if self.client.messages > heard else self.silent_s + _TICK_S
            heard = self.client.messages
            most_s = limits.engine_heartbeat_timeout_s if heard else limits.engine_start_timeout_s
            if self.silent_s > most_s:
                log.error("engine process %d has said nothing for %.1f s: it is killed", self.pid, self.silent_s)
                return
            if self.client.pulse.step_s > limits.engine_step_timeout_s:
                log.error(
                    "engine process %d is at one step for %.1f s: it is killed", self.pid, self.client.pulse.step_s
                )
                return


class EngineProcess:
    """The engine that answers now, whichever process that is. Belongs to one event loop."""

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        """`command` starts an engine process; its last argument is the file descriptor of its end of a socket."""
        self.starts = 0
        """Number of engine processes started so far."""
        self._settings = settings
        self._command = command
        self._worker: EngineWorker | None = None
        self._last_models: tuple[schemas.ModelInfo, ...] = ()
        self._ready = asyncio.Event()
        self._supervising: asyncio.Task[None] | None = None

    @property
    def models(self) -> tuple[schemas.ModelInfo, ...]:
        """Present models; while no engine has any, those of the last engine, as not ready."""
        if self._worker is not None and self._worker.client.models:
            return self._worker.client.models
        return tuple(model.model_copy(update={"ready": False}) for model in self._last_models)

    @property
    def pid(self) -> int | None:
        """Process id of the present engine."""
        return None if self._worker is None else self._worker.pid

    @property
    def pulse(self) -> pb.Heartbeat:
        """Last heartbeat of the present engine."""
        return pb.Heartbeat() if self._worker is None else self._worker.client.pulse

    def why_not_ready(self) -> list[str]:
        """Reasons why a model or the engine cannot be used now; empty when all can."""
        if self._worker is None:
            return ["the engine is being started again"]
        if self._worker.silent_s > self._settings.engine_heartbeat_timeout_s / 2:
            return [f"the engine has said nothing for {self._worker.silent_s:.1f} s"]
        return list(self._worker.client.not_ready)

    def activity(self) -> EngineActivity:
        """Activity since the last call. Each iteration is reported once; a crash loses those not yet reported."""
        restarts = max(0, self.starts - 1)
        if self._worker is None:
            return EngineActivity(restarts=restarts)
        client = self._worker.client
        iterations = tuple(client.iterations.popleft() for _ in range(len(client.iterations)))
        return EngineActivity(client.pulse.waiting, iterations, restarts)

    async def load(self, folder: str) -> schemas.ModelInfo:
        """Raises ServiceError."""
        event = await self._client().call(pb.Command(load=folder))
        return to_response(schemas.ModelInfo, event.model)

    async def unload(self, name: str) -> schemas.ModelInfo:
        """Raises ServiceError."""
        event = await self._client().call(pb.Command(unload=name))
        return to_response(schemas.ModelInfo, event.model)

    async def start(self) -> None:
        """Start the engine and wait until it is ready. Raises SettingsError if it reports a permanent failure."""
        self._supervising = asyncio.create_task(self._supervise())
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self._supervising}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._supervising.done():
            self._supervising.result()

    async def stop(self) -> None:
        """Stop the engine; open calls fail."""
        if self._supervising is not None:
            self._supervising.cancel()
            with suppress(asyncio.CancelledError, SettingsError):
                await self._supervising

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        """Plan by the deadline, even if the engine hangs. Raises ServiceError."""
        call = pb.PlanCall(
            request=to_message(telos_pb2.PlanRequest, request.model_dump()),
            deadline_s=None if deadline == math.inf else deadline,
            warm_start=None if warm_start is None else from_warm_start(warm_start),
            incumbents=on_incumbent is not None,
        )

        def offer(reply: pb.EngineReply) -> None:
            assert on_incumbent is not None  # the engine sends incumbents only on request
            on_incumbent(to_reply(reply))

        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline + ANSWER_GRACE_S):
                event = await self._client().call(pb.Command(plan=call), offer)
        except TimeoutError:
            raise infeasible("the engine did not answer in time") from None
        return to_reply(event.plan)

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        """Raises ServiceError."""
        message = to_message(telos_pb2.AnomalyRequest, request.model_dump())
        event = await self._client().call(pb.Command(anomaly=message))
        return to_response(schemas.AnomalyResponse, event.anomaly)

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        """Raises ServiceError."""
        message = to_message(telos_pb2.EncodeRequest, request.model_dump())
        event = await self._client().call(pb.Command(encode=message))
        return to_response(schemas.EncodeResponse, event.encode)

    def _client(self) -> EngineClient:
        """Client of an engine that has its models, ready or not. Raises ServiceError (worker-restarting)."""
        if self._worker is None or not self._worker.client.models:
            raise restarting()
        return self._worker.client

    async def _supervise(self) -> None:
        """Run one engine after another, with a pause after each that never was ready.

        Raises SettingsError if the first one reports a permanent failure.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            self._worker = worker = await EngineWorker.start(self._command, self._settings)
            self.starts += 1
            worker.client.on_ready = self._ready.set
            try:
                await worker.live()
            finally:
                self._last_models, self._worker = self.models, None
            failure = worker.client.failure
            if failure is not None and failure.permanent and not self._ready.is_set():
                raise SettingsError(failure.reason)
            pause_s = _FIRST_PAUSE_S if worker.client.was_ready else min(2 * pause_s, _LONGEST_PAUSE_S)
            if not worker.client.was_ready:
                await asyncio.sleep(pause_s)


def _environment(settings: Settings) -> dict[str, str]:
    """Environment for an engine with the settings and the code of this process."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TELOS_")}
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return inherited | settings.engine_environment() | {"PYTHONPATH": path}
