"""What the server can do, whatever the transport: a request in, a response out, or a ServiceError.

The engine behind it may be another process. What a robot must not lose when that dies is here: its session.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from server import schemas
from server.engine.protocol import Engine, Incumbents, Planned, WarmStart
from server.errors import Code, ServiceError, refuse
from server.safety import check_actions
from server.sessions import Sessions
from server.settings import Settings
from server.validation import new_request_id, unknown_model, validate

R = TypeVar("R", bound=schemas.Request)

RETRY_AFTER_MS = 1000


class Service:
    """Answers with what `engine` plans. Belongs to one event loop."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.sessions = Sessions(ttl_s=settings.session_ttl_s, capacity=settings.max_sessions)
        self.draining = False
        self.in_flight = 0
        """Requests that are being worked on."""
        self._settings = settings

    async def plan(
        self, request: schemas.PlanRequest, on_incumbent: Callable[[schemas.PlanResponse], None] | None = None
    ) -> schemas.PlanResponse:
        """Actions from the last frame of the context to the goal; `on_incumbent` takes the best plans before it."""
        arrived = time.monotonic()
        deadline = math.inf if request.planning_budget_ms is None else arrived + request.planning_budget_ms / 1e3
        for name in ("session_epoch", "max_observation_age_ms", "clock_offset"):
            if getattr(request, name) is not None:
                raise refuse(Code.VALIDATION_FAILED, f"/{name}", "this server does not keep it yet; leave it out")
        request = _named(request)
        models = self.engine.models

        def checked(planned: Planned) -> schemas.PlanResponse:
            check_actions(planned.response, request, (*models, *self.engine.models))
            return _timed(planned.response, arrived, deadline)

        with self._admitted():
            planned = await self.engine.plan(
                request,
                deadline=deadline,
                warm_start=self._warm_start(request),
                on_incumbent=None if on_incumbent is None else _unless_unsafe(checked, on_incumbent),
            )
        response = checked(planned)
        if request.session_id is not None:
            self.sessions.remember(request.session_id, planned.warm_start)
        return response

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        """How surprising each transition of a clip is, against held-out transitions."""
        with self._admitted():
            return await self.engine.anomaly(_named(request))

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        """Latents of images, each to be sent as a goal later."""
        with self._admitted():
            return await self.engine.encode(_named(request))

    def models(self) -> schemas.ListModelsResponse:
        """Those served, ready or not."""
        return schemas.ListModelsResponse(models=list(self.engine.models))

    def model(self, name: str) -> schemas.ModelInfo:
        """Raises ServiceError (model-not-found)."""
        validate(schemas.ModelRef, {"name": name})
        known = {model.name: model for model in self.engine.models}
        if name not in known:
            raise unknown_model(name, known)
        return known[name]

    def why_not_ready(self) -> list[str]:
        """Empty when every model can be planned with."""
        return ["this server is shutting down"] * self.draining + self.engine.why_not_ready()

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Raises ServiceError (not-ready, queue-full), at once."""
        if self.draining:
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

    def _warm_start(self, request: schemas.PlanRequest) -> WarmStart | None:
        """The session's last plan. Raises ServiceError when it is demanded and there is none."""
        if request.warm_start is False or (request.session_id is None and not request.warm_start):
            return None
        last = self.sessions.last_plan(request.session_id or "")
        if last is None and request.warm_start:
            reason = "nothing is remembered that this plan could start from; leave warm_start out to start afresh"
            raise refuse(Code.SESSION_NOT_FOUND, "/session_id", reason)
        return last


def _named(request: R) -> R:
    """With a request_id, drawn when the client gave none."""
    return request if request.request_id else request.model_copy(update={"request_id": new_request_id()})


def _timed(response: schemas.PlanResponse, arrived: float, deadline: float) -> schemas.PlanResponse:
    """With the whole time until now, the way to the engine and back included."""
    now = time.monotonic()
    late_us = max(0, round((now - deadline) * 1e6)) if deadline < math.inf else 0
    timing = response.timing.model_copy(update={"total_us": round((now - arrived) * 1e6), "late_us": late_us})
    return response.model_copy(update={"timing": timing})


def _unless_unsafe(
    checked: Callable[[Planned], schemas.PlanResponse], take: Callable[[schemas.PlanResponse], None]
) -> Incumbents:
    """An incumbent that must not leave is left out; a plan that must not is an error."""

    def offer(planned: Planned) -> None:
        try:
            response = checked(planned)
        except ServiceError:
            return
        take(response)

    return offer
