"""The engine's side of the channel: calls, answers, and a heartbeat while both of its threads run.

This module needs no torch, so that any engine can be hosted.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Protocol

from server import schemas
from server.engine.channel import Channel
from server.engine.protocol import Engine, EnginePoisonedError, EngineReply
from server.engine.translation import from_problem, from_reply, from_state, to_warm_start
from server.engine.wire import engine_pb2 as pb
from server.errors import ServiceError, internal
from server.process import freeze_garbage
from server.validation import validate
from telos.wire import telos_pb2
from telos.wire.messages import to_message, to_payload

log = logging.getLogger("telos")

HEARTBEAT_S = 0.2
_MOST_UNSENT_BYTES = 2**20


class Hosted(Engine, Protocol):
    """An engine that can run in its own process."""

    on_change: Callable[[], None]
    """Called by the engine when `models` or `why_not_ready` change."""

    def step_s(self) -> float:
        """Seconds since the present computation began; 0 when there is none."""
        ...


async def host(engine: Hosted, channel: Channel) -> None:
    """Start `engine` and answer calls until the front is gone. Raises EnginePoisonedError, and what `start` raises."""
    engine.on_change = lambda: _send_state(engine, channel)
    engine.on_change()
    failed = asyncio.get_running_loop().create_future()
    calls = _Calls(engine, channel, failed)
    answering = asyncio.create_task(calls.answer_all())
    others = [asyncio.create_task(_start(engine, failed)), asyncio.create_task(beat(channel, calls.pulse))]
    try:
        await asyncio.wait({answering, failed}, return_when=asyncio.FIRST_COMPLETED)
        await (failed if failed.done() else answering)
    finally:
        for task in (answering, *others, *calls.open.values()):
            task.cancel()


async def beat(channel: Channel, pulse: Callable[[], pb.Heartbeat]) -> None:
    """Send heartbeats until this is cancelled."""
    while True:
        _send_if_read(channel, pb.Event(heartbeat=pulse()))
        await asyncio.sleep(HEARTBEAT_S)


def _send_state(engine: Hosted, channel: Channel) -> None:
    state = from_state(engine.models, engine.why_not_ready())
    channel.send(pb.Event(state=state).SerializeToString())


async def _start(engine: Hosted, failed: "asyncio.Future[None]") -> None:
    try:
        await engine.start()
    except Exception as error:
        failed.set_exception(error)
    else:
        freeze_garbage()
        engine.on_change()


class _Calls:
    """Calls that are not answered yet."""

    def __init__(self, engine: Hosted, channel: Channel, failed: "asyncio.Future[None]") -> None:
        """`failed` receives the error after which no call can be answered."""
        self.open: dict[int, asyncio.Task[None]] = {}
        self._engine = engine
        self._channel = channel
        self._failed = failed

    def pulse(self) -> pb.Heartbeat:
        """The state of the engine's work, and the iterations since the last pulse."""
        activity = self._engine.activity()
        return pb.Heartbeat(
            step_s=self._engine.step_s(),
            calls=len(self.open),
            waiting=activity.waiting,
            iterations=[pb.SharedIteration(**vars(each)) for each in activity.iterations],
        )

    async def answer_all(self) -> None:
        """Answer calls until the front is gone."""
        while (message := await self._channel.receive()) is not None:
            command = pb.Command.FromString(message)
            if command.WhichOneof("operation") != "cancel":
                self._take(command)
            elif command.call in self.open:
                self.open[command.call].cancel()

    def _take(self, command: pb.Command) -> None:
        task = asyncio.create_task(self._answer(command))
        self.open[command.call] = task
        task.add_done_callback(lambda _: self.open.pop(command.call))

    async def _answer(self, command: pb.Command) -> None:
        try:
            event = await self._do(command)
        except ServiceError as error:
            event = pb.Event(problem=from_problem(error))
        except EnginePoisonedError as error:
            if not self._failed.done():
                self._failed.set_exception(error)
            return
        except Exception:
            log.exception("call %d failed", command.call)
            event = pb.Event(problem=from_problem(internal()))
        event.call = command.call
        self._channel.send(event.SerializeToString())

    async def _do(self, command: pb.Command) -> pb.Event:
        match command.WhichOneof("operation"):
            case "plan":
                return pb.Event(plan=from_reply(await self._plan(command.call, command.plan)))
            case "anomaly":
                scored = await self._engine.anomaly(validate(schemas.AnomalyRequest, to_payload(command.anomaly)))
                return pb.Event(anomaly=to_message(telos_pb2.AnomalyResponse, scored.model_dump()))
            case "encode":
                encoded = await self._engine.encode(validate(schemas.EncodeRequest, to_payload(command.encode)))
                return pb.Event(encode=to_message(telos_pb2.EncodeResponse, encoded.model_dump()))
            case "load":
                return _loaded(await self._engine.load(command.load))
            case "unload":
                return _loaded(await self._engine.unload(command.unload))
            case operation:
                raise ValueError(f"call {command.call} asks for {operation}, which this engine does not know")

    async def _plan(self, number: int, call: pb.PlanCall) -> EngineReply:
        def offer(reply: EngineReply) -> None:
            _send_if_read(self._channel, pb.Event(call=number, incumbent=from_reply(reply)))

        return await self._engine.plan(
            validate(schemas.PlanRequest, to_payload(call.request)),
            deadline=call.deadline_s if call.HasField("deadline_s") else math.inf,
            warm_start=to_warm_start(call.warm_start) if call.HasField("warm_start") else None,
            on_incumbent=offer if call.incumbents else None,
        )


def _loaded(model: schemas.ModelInfo) -> pb.Event:
    return pb.Event(model=to_message(telos_pb2.ModelInfo, model.model_dump()))


def _send_if_read(channel: Channel, event: pb.Event) -> None:
    """Send an event that may be dropped while the front does not read, since a newer one follows."""
    if channel.unsent_bytes < _MOST_UNSENT_BYTES:
        channel.send(event.SerializeToString())
