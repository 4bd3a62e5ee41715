"""The front's side of the channel to one engine process, from its start to its end."""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from server import schemas
from server.engine.channel import Channel
from server.engine.protocol import MOST_ITERATIONS, SharedIteration
from server.engine.translation import to_problem, to_response
from server.engine.wire import engine_pb2 as pb
from server.errors import Code, ServiceError

log = logging.getLogger("telos")

RETRY_AFTER_MS = 1000
_MOST_UNSENT_BYTES = 2**26
"""Most bytes that wait for an engine that does not read; the heartbeat detects such an engine within seconds."""


@dataclass(frozen=True)
class _Call:
    answer: "asyncio.Future[pb.Event]"
    on_incumbent: Callable[[pb.EngineReply], None]


class EngineClient:
    """Calls to an engine process, and the state that it reports."""

    def __init__(self, channel: Channel) -> None:
        self.models: tuple[schemas.ModelInfo, ...] = ()
        self.not_ready: tuple[str, ...] = ("the engine is starting",)
        self.messages = 0
        """The number of messages received so far, heartbeats included."""
        self.pulse = pb.Heartbeat()
        """The last heartbeat."""
        self.iterations: deque[SharedIteration] = deque(maxlen=MOST_ITERATIONS)
        """Iterations that the engine reported and `EngineProcess.activity` has not collected."""
        self.was_ready = False
        self.on_ready: Callable[[], None] = lambda: None
        """Called each time that the engine reports that it can plan with every model."""
        self.failure: pb.Failure | None = None
        """The engine's reason for its end, if it sent one."""
        self._channel = channel
        self._calls: dict[int, _Call] = {}
        self._numbers = itertools.count(1)
        self._ended = False

    async def call(
        self, command: pb.Command, on_incumbent: Callable[[pb.EngineReply], None] = lambda reply: None
    ) -> pb.Event:
        """The answer to `command`. Cancelling the caller cancels the call in the engine. Raises ServiceError."""
        if self._ended:
            raise restarting()
        if self._channel.unsent_bytes > _MOST_UNSENT_BYTES:
            detail = "the engine takes no more at the moment; ask again later, or send smaller images"
            raise ServiceError(Code.QUEUE_FULL, detail, retry_after_ms=RETRY_AFTER_MS)
        command.call = next(self._numbers)
        call = _Call(asyncio.get_running_loop().create_future(), on_incumbent)
        self._calls[command.call] = call
        self._channel.send(command.SerializeToString())
        try:
            return await call.answer
        except asyncio.CancelledError:
            self._channel.send(pb.Command(call=command.call, cancel=pb.Cancel()).SerializeToString())
            raise
        finally:
            del self._calls[command.call]

    async def listen(self) -> None:
        """Receive messages until the engine is gone; then every open call fails."""
        try:
            while (message := await self._channel.receive()) is not None:
                self.messages += 1
                self._hear(pb.Event.FromString(message))
        finally:
            self._channel.close()
            self._ended, self.not_ready = True, ("the engine ended",)
            for call in self._calls.values():
                if not call.answer.done():
                    call.answer.set_exception(restarting())

    def _hear(self, event: pb.Event) -> None:
        match event.WhichOneof("event"):
            case "heartbeat":
                self.pulse = event.heartbeat
                reported = event.heartbeat.iterations
                self.iterations.extend(SharedIteration(each.model, each.robots, each.seconds) for each in reported)
            case "state":
                self.models = tuple(to_response(schemas.ModelInfo, model) for model in event.state.models)
                self.not_ready = tuple(event.state.not_ready)
                if not self.not_ready:
                    self.was_ready = True
                    self.on_ready()
            case "failure":
                self.failure = event.failure
            case "incumbent":
                self._offer(event)
            case kind:
                self._settle(event, kind)

    def _offer(self, event: pb.Event) -> None:
        """Pass an incumbent on. An invalid one is dropped, since the plan is still to come."""
        if event.call not in self._calls:
            return
        try:
            self._calls[event.call].on_incumbent(event.incumbent)
        except Exception as error:
            log.warning("an incumbent of call %d was dropped: %r", event.call, error)

    def _settle(self, event: pb.Event, kind: str | None) -> None:
        """Answer a call, unless its caller has gone."""
        call = self._calls.get(event.call)
        if call is None or call.answer.done():
            return
        if kind == "problem":
            call.answer.set_exception(to_problem(event.problem))
        else:
            call.answer.set_result(event)


def restarting() -> ServiceError:
    """Error for a call to an engine that is gone."""
    detail = "the planning engine is being started again; nothing was planned, ask again"
    return ServiceError(Code.WORKER_RESTARTING, detail, retry_after_ms=RETRY_AFTER_MS)
