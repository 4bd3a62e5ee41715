"""Operations of the server, independent of the transport. Each takes a request and returns a response.

The engine behind it may be another process. Sessions are kept here, so that they outlive the engine.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from server import schemas
from server.call import UNBOUND, Call
from server.clock import ServerClock
from server.engine.protocol import Engine, EngineActivity, EngineReply, Incumbents, WarmStart, no_warm_start
from server.errors import Code, ServiceError
from server.observability.metrics import Present
from server.observability.observer import observed, observer_for
from server.replays import Replays, contents, replay_key
from server.safety import check_actions
from server.session import RobotSession
from server.sessions import Sessions
from server.settings import Settings
from server.validation import new_request_id, unknown_model, validate

log = logging.getLogger("telos")

R = TypeVar("R", bound=schemas.Request)
T = TypeVar("T")
OnPlan = Callable[[schemas.PlanResponse], None]

RETRY_AFTER_MS = 1000
REPLY_MARGIN_S = 0.01
"""Time that an answer needs to pass the transport before its deadline."""


class Service:
    """Answers requests with the plans of `engine`. Belongs to one event loop."""

    def __init__(self, engine: Engine, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine = engine
        self.sessions = Sessions(ttl_s=settings.session_ttl_s, capacity=settings.max_sessions, clock=clock)
        self.clock = ServerClock(clock)
        self._replays = Replays[schemas.PlanResponse](
            ttl_s=settings.replay_ttl_s, capacity=settings.max_replays, clock=clock
        )
        self.drained = asyncio.Event()
        """Set when the server is shutting down and refuses new requests."""
        self.in_flight = 0
        """Number of requests that were accepted and not answered yet."""
        self.aliases: dict[str, str] = {}
        """Model names by alias."""
        self._activity = EngineActivity()
        self.observer = observer_for(self.present, tracing=settings.tracing)
        self.record: Callable[[schemas.PlanRequest, schemas.PlanResponse], None] = lambda request, response: None
        """Called with each plan that is about to be sent, to record it."""
        self._settings = settings

    async def load_model(self, folder: str) -> schemas.ModelInfo:
        """Serve the checkpoint of a folder. Raises ServiceError (model-refused); the old model then stays."""
        loads = self.observer.metrics.model_loads
        try:
            model = await self.engine.load(folder)
        except ServiceError as error:
            loads.labels("refused").inc()
            log.warning("the model of %s was not loaded: %s", folder, error.detail)
            raise
        loads.labels("loaded").inc()
        log.info("%s version %s is served, weights %s", model.name, model.version, model.weights_sha256)
        return model

    async def unload_model(self, name: str) -> schemas.ModelInfo:
        """Stop serving a model. Raises ServiceError (model-not-found, model-refused while it has an alias)."""
        self.model(name)
        if used := sorted(alias for alias, target in self.aliases.items() if target == name):
            reason = f"{', '.join(used)} stands for {name}; let it stand for another model first"
            raise ServiceError(Code.MODEL_REFUSED, reason)
        model = await self.engine.unload(name)
        log.info("%s version %s is no longer served", model.name, model.version)
        return model

    def alias_model(self, name: str, alias: str) -> schemas.ModelInfo:
        """Make `alias` another name for a model, from the next request on. Raises ServiceError."""
        model = self.model(name)
        if any(alias == known.name for known in self.engine.models):
            raise ServiceError(Code.MODEL_REFUSED, f"{alias} is the name of a model; choose another alias")
        self.aliases[alias] = model.name
        log.info("%s stands for %s", alias, model.name)
        return model

    def metrics(self) -> bytes:
        """Metrics in the text format of Prometheus."""
        self.note_work()
        return self.observer.metrics.text()

    def note_work(self) -> None:
        """Add the engine's new activity to the metrics. Call this often: the engine keeps a limited amount."""
        self._activity = self.engine.activity()
        for each in self._activity.iterations:
            self.observer.metrics.stepped(each.model, each.robots, each.seconds)

    def present(self) -> Present:
        """The present state, for the metrics."""
        return Present(
            in_flight=self.in_flight,
            sessions=len(self.sessions),
            ready=not self.why_not_ready(),
            models=tuple(self.engine.models),
            queue_depth=self._activity.waiting,
            restarts=self._activity.restarts,
        )

    async def plan(
        self, request: schemas.PlanRequest, on_incumbent: OnPlan | None = None, call: Call = UNBOUND
    ) -> schemas.PlanResponse:
        """Actions from the last frame of the context to the goal. Raises ServiceError.

        `on_incumbent` is called with the best plan so far, each time that it improves before the answer.
        """
        arrived = time.monotonic()
        self.clock.check_age(request)
        request = self._known(request)
        with self._admitted(request):
            session = self.sessions.of(request)

            async def answer() -> schemas.PlanResponse:
                response = await self._plan(request, session, arrived, call, on_incumbent)
                self.observer.planned(response)
                self.record(request, response)
                return response

            key = replay_key(request, session, call)
            if key is None:
                return await answer()
            response = await self._replays.once(key, contents(request, session), answer)
            return response.model_copy(update={"request_id": request.request_id})

    async def anomaly(self, request: schemas.AnomalyRequest, call: Call = UNBOUND) -> schemas.AnomalyResponse:
        """Surprise of each transition of a clip, compared with held-out transitions. Raises ServiceError."""
        with self._admitted(request):
            return await _in_time(self.engine.anomaly(self._known(request)), call)

    async def encode(self, request: schemas.EncodeRequest, call: Call = UNBOUND) -> schemas.EncodeResponse:
        """Latents of observations, each of which can be a goal later. Raises ServiceError."""
        with self._admitted(request):
            return await _in_time(self.engine.encode(self._known(request)), call)

    async def create_session(self, request: schemas.CreateSessionRequest) -> schemas.Session:
        """Raises ServiceError (session-exists)."""
        session = self.sessions.create(request.session_id, hold_on_surprise=request.hold_on_surprise)
        return self.sessions.described(session)

    async def session(self, request: schemas.SessionRef) -> schemas.Session:
        """Raises ServiceError (session-not-found)."""
        return self.sessions.described(self.sessions.find(request.session_id))

    async def reset_session(self, request: schemas.SessionRef) -> schemas.Session:
        """Raises ServiceError (session-not-found)."""
        return self.sessions.described(self.sessions.reset(request.session_id))

    async def delete_session(self, request: schemas.SessionRef) -> schemas.DeleteSessionResponse:
        """Raises ServiceError (session-not-found)."""
        self.sessions.delete(request.session_id)
        return schemas.DeleteSessionResponse()

    async def time(self, request: schemas.ServerTimeRequest) -> schemas.ServerTime:
        """Time of the server's clock, from which a robot computes its offset."""
        received_us = self.clock.now_us()
        return schemas.ServerTime(clock_id=self.clock.clock_id, received_us=received_us, sent_us=self.clock.now_us())

    def models(self) -> schemas.ListModelsResponse:
        """The models that are served, ready or not."""
        return schemas.ListModelsResponse(models=list(self.engine.models))

    def model(self, name: str) -> schemas.ModelInfo:
        """The model of this name or alias. Raises ServiceError (model-not-found)."""
        validate(schemas.ModelRef, {"name": name})
        known = {model.name: model for model in self.engine.models}
        name = self.aliases.get(name, name)
        if name not in known:
            raise unknown_model(name, known)
        return known[name]

    def why_not_ready(self) -> list[str]:
        """Reasons why some model cannot be used now; empty when all can."""
        return ["this server is shutting down"] * self.drained.is_set() + self.engine.why_not_ready()

    @contextmanager
    def _admitted(self, request: schemas.Request) -> Iterator[None]:
        """Count a request while it is answered. Raises ServiceError (not-ready, queue-full) at once."""
        name = self.aliases.get(request.model.name, request.model.name)
        if any(model.name == name for model in self.engine.models):
            observed().model = name
        if self.drained.is_set():
            detail = "this server is shutting down; ask another one"
            raise ServiceError(Code.NOT_READY, detail, retry_after_ms=RETRY_AFTER_MS)
        if self.in_flight >= self._settings.max_in_flight:
            detail = f"{self.in_flight} requests are already being worked on; ask again later, or less often"
            raise ServiceError(Code.QUEUE_FULL, detail, retry_after_ms=RETRY_AFTER_MS)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def _known(self, request: R) -> R:
        """The request with the model's real name, and with a request_id, which is drawn if the client gave none."""
        ref = request.model
        if ref.name in self.aliases:
            ref = ref.model_copy(update={"name": self.aliases[ref.name]})
        return request.model_copy(update={"model": ref, "request_id": request.request_id or new_request_id()})

    async def _plan(
        self,
        request: schemas.PlanRequest,
        session: RobotSession | None,
        arrived: float,
        call: Call,
        on_incumbent: OnPlan | None,
    ) -> schemas.PlanResponse:
        budget_s = math.inf if request.planning_budget_ms is None else request.planning_budget_ms / 1e3
        deadline = min(arrived + budget_s, call.deadline - REPLY_MARGIN_S)
        models = self.engine.models
        request = request if session is None else session.completed(request)

        def checked(response: schemas.PlanResponse) -> schemas.PlanResponse:
            check_actions(response, request, (*models, *self.engine.models))
            response = response if session is None else response.model_copy(update={"session_epoch": session.epoch})
            return _timed(response, arrived, deadline)

        planning = self.engine.plan(
            request,
            deadline=deadline,
            warm_start=_warm_start(request, session),
            on_incumbent=None if on_incumbent is None else _unless_unsafe(checked, on_incumbent),
        )
        if session is None:
            return checked((await planning).response)
        try:
            reply = await session.turn_of(request, planning)
        except ServiceError as error:
            rest = None if error.code is not Code.DEADLINE_INFEASIBLE else session.fallback(request)
            if rest is None or request.require_complete:
                raise
            return _checked_or(error, checked, rest)
        response = checked(reply.response)
        session.remember(request, reply)
        self.sessions.use(session)
        return response


def _warm_start(request: schemas.PlanRequest, session: RobotSession | None) -> WarmStart | None:
    """The session's last plan, as a warm start. Raises ServiceError if the request demands one and there is none."""
    if request.warm_start is False or (session is None and not request.warm_start):
        return None
    if session is not None and session.last is not None:
        return session.last.warm_start
    if request.warm_start:
        raise no_warm_start()
    return None


def _checked_or(
    error: ServiceError, checked: Callable[[schemas.PlanResponse], schemas.PlanResponse], rest: schemas.PlanResponse
) -> schemas.PlanResponse:
    """The rest of the last plan. Raises `error` if the request does not allow it."""
    try:
        return checked(rest)
    except ServiceError:
        raise error from None


def _timed(response: schemas.PlanResponse, arrived: float, deadline: float) -> schemas.PlanResponse:
    """The response with the total time until now, the exchange with the engine included."""
    now = time.monotonic()
    late_us = max(0, round((now - deadline) * 1e6)) if deadline < math.inf else 0
    timing = response.timing.model_copy(update={"total_us": round((now - arrived) * 1e6), "late_us": late_us})
    return response.model_copy(update={"timing": timing})


async def _in_time(work: Coroutine[Any, Any, T], call: Call) -> T:
    """The result of `work`. Raises ServiceError (deadline-infeasible) at the deadline of the call."""
    if call.deadline == math.inf:
        return await work
    try:
        async with asyncio.timeout(max(0.0, call.deadline - REPLY_MARGIN_S - time.monotonic())):
            return await work
    except TimeoutError:
        detail = "there was more to do than the deadline of the call allows; give it more time"
        raise ServiceError(Code.DEADLINE_INFEASIBLE, detail) from None


def _unless_unsafe(checked: Callable[[schemas.PlanResponse], schemas.PlanResponse], take: OnPlan) -> Incumbents:
    """Pass on incumbents that are safe, and drop the others. An unsafe final plan is an error."""

    def offer(reply: EngineReply) -> None:
        try:
            response = checked(reply.response)
        except ServiceError:
            return
        take(response)

    return offer
