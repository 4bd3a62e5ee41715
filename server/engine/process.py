"""The engine in a process of its own, started again when it ends: a crash there never ends the front."""

import asyncio
import logging
import math
import sys
from collections.abc import Sequence
from contextlib import suppress

from server import schemas
from server.engine.client import EngineClient, restarting
from server.engine.protocol import EngineActivity, EngineReply, Incumbents, WarmStart, infeasible
from server.engine.translation import from_warm_start, to_reply, to_response
from server.engine.wire import engine_pb2 as pb
from server.engine.worker import Worker
from server.settings import Settings, SettingsError
from telos.wire import telos_pb2
from telos.wire.messages import to_message

log = logging.getLogger("telos")

COMMAND = (sys.executable, "-P", "-m", "server.engine")
ANSWER_GRACE_S = 0.05
"""How long after the deadline an answer is waited for. A working engine answers at the deadline."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


class EngineProcess:
    """Belongs to one event loop."""

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        """`command` starts a process that takes the number of its end of a socket as last argument."""
        self.starts = 0
        """Engines started so far."""
        self._settings = settings
        self._command = command
        self._worker: Worker | None = None
        self._last_models: tuple[schemas.ModelInfo, ...] = ()
        self._ready = asyncio.Event()
        self._supervising: asyncio.Task[None] | None = None

    @property
    def models(self) -> tuple[schemas.ModelInfo, ...]:
        """The models known at the moment; while no engine knows any, those of the last one."""
        if self._worker is not None and self._worker.client.models:
            return self._worker.client.models
        return tuple(model.model_copy(update={"ready": False}) for model in self._last_models)

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return None if self._worker is None else self._worker.pid

    @property
    def pulse(self) -> pb.Heartbeat:
        """The last heartbeat of the engine that runs now."""
        return pb.Heartbeat() if self._worker is None else self._worker.client.pulse

    def why_not_ready(self) -> list[str]:
        """Reasons why some model cannot be used now; empty when all can, and the engine was heard from lately."""
        if self._worker is None:
            return ["the engine is being started again"]
        if self._worker.silent_s > self._settings.engine_heartbeat_timeout_s / 2:
            return [f"the engine has said nothing for {self._worker.silent_s:.1f} s"]
        return list(self._worker.client.not_ready)

    def activity(self) -> EngineActivity:
        """Each iteration is reported once; those of an engine that died are lost with it."""
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
        """Returns when the engine is ready. Raises SettingsError when the engine says that it never will be."""
        self._supervising = asyncio.create_task(self._supervise())
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait({ready, self._supervising}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._supervising.done():
            self._supervising.result()

    async def stop(self) -> None:
        """Answer nothing any more."""
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
        """Answered by the deadline even when the engine hangs. Raises ServiceError."""
        call = pb.PlanCall(
            request=to_message(telos_pb2.PlanRequest, request.model_dump()),
            deadline_s=None if deadline == math.inf else deadline,
            warm_start=None if warm_start is None else from_warm_start(warm_start),
            incumbents=on_incumbent is not None,
        )

        def offer(reply: pb.EngineReply) -> None:
            assert on_incumbent is not None  # none were asked for otherwise
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
        """An engine that has its models; it says itself which of them are not ready. Raises ServiceError."""
        if self._worker is None or not self._worker.client.models:
            raise restarting()
        return self._worker.client

    async def _supervise(self) -> None:
        """Run one engine after the other, with a pause after each that never was ready.

        Raises SettingsError when the first one says that no other will do better.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            self._worker = worker = await Worker.start(self._command, self._settings)
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
