"""What the server can do, whatever the transport: a request in, a response out, or a ServiceError."""

import io
import logging
import math
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from planner.presets import PRESETS
from server import schemas
from server.engine.actions import past_actions
from server.engine.executor import LAG, Executor
from server.engine.frames import Frame
from server.engine.planning import Outcome, Task, at_once, encode, iterate, score_clip, solve
from server.engine.preparation import Question, check_frames, check_most, prepare
from server.engine.registry import Registry, ServedModel
from server.engine.scheduler import Demand
from server.errors import Code, ServiceError, refuse
from server.sessions import LastPlan, Sessions
from server.settings import Settings
from server.validation import new_request_id, validate

log = logging.getLogger("telos")


class Service:
    """Plans, scores and encodes with the models of `registry`. Belongs to one event loop."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.registry = registry
        self.sessions = Sessions(ttl_s=settings.session_ttl_s, capacity=settings.max_sessions)
        self.engine = Executor(
            iterate,
            max_in_flight=settings.max_in_flight,
            max_batch_candidates=settings.max_batch_candidates,
            decode_threads=settings.decode_threads,
        )
        self.draining = False
        self._settings = settings

    async def plan(self, request: schemas.PlanRequest) -> schemas.PlanResponse:
        """Actions from the last frame of the context to the goal."""
        return await self._plan(self._ready_model(request.model), request)

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        """How surprising each transition of a clip is, against held-out transitions."""
        model = self._ready_model(request.model)
        spec, calibration = model.manifest.action, model.manifest.surprise
        check_frames(request.observations, self._settings.max_clip_frames, spec.control_steps, "/observations")
        actions = past_actions(request.actions, spec, len(request.observations), "/actions")
        demand = Demand(model=model, arrived=time.monotonic(), frames=len(request.observations))
        with self.engine.admitted(demand) as place:
            frames = await self.engine.decode(lambda: _open(model, request.observations, "/observations"))
            surprise = await self.engine.compute(place, at_once(lambda: score_clip(model, frames, actions)))
        ranks = np.interp(surprise, calibration.quantiles, np.linspace(0, 1, len(calibration.quantiles)))
        rarest = 1 / (calibration.transitions + 1)  # so few held-out transitions cannot show anything rarer
        return schemas.AnomalyResponse(
            request_id=request.request_id or new_request_id(),
            surprise=surprise,
            p_value=np.maximum(1 - ranks, rarest).tolist(),
            threshold=calibration.threshold,
            is_anomalous=max(surprise) > calibration.threshold,
            provenance=model.provenance(),
        )

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        """Latents of images, each to be sent as a goal later."""
        model = self._ready_model(request.model)
        check_most(len(request.observations), self._settings.max_clip_frames, "/observations", "images")
        demand = Demand(model=model, arrived=time.monotonic(), frames=len(request.observations))
        with self.engine.admitted(demand) as place:
            frames = await self.engine.decode(lambda: _open(model, request.observations, "/observations"))
            latents = await self.engine.compute(place, at_once(lambda: encode(model, frames)))
        return schemas.EncodeResponse(
            request_id=request.request_id or new_request_id(),
            embeddings=latents[0].float().cpu().numpy(),
            space_id=model.space_id,
            provenance=model.provenance(),
        )

    def models(self) -> schemas.ListModelsResponse:
        return schemas.ListModelsResponse(models=[model.info() for model in self.registry.models.values()])

    def model(self, name: str) -> schemas.ModelInfo:
        return self.registry.find(validate(schemas.ModelRef, {"name": name})).info()

    async def warm_up(self) -> None:
        """Make real plans with every model, small ones and a large one, to know what they take; then it is ready."""
        small = schemas.PlannerConfig()
        for name, model in self.registry.models.items():
            await self._plan(model, _warm_up_request(model, 64, small))
            await self._plan(model, _warm_up_request(model, 128, self._large_plan(model)))
            response = await self._plan(model, _warm_up_request(model, 192, small))
            model.ready = True
            log.info("%s is ready; a plan takes %d ms", name, response.timing.total_us // 1000)

    def why_not_ready(self) -> list[str]:
        """Empty when every model can be planned with."""
        warming = [f"{name} is being warmed up" for name, model in self.registry.models.items() if not model.ready]
        return ["this server is shutting down"] * self.draining + warming

    def close(self) -> None:
        self.engine.close()

    def _ready_model(self, ref: schemas.ModelRef) -> ServedModel:
        if self.draining:
            raise ServiceError(Code.NOT_READY, "this server is shutting down; ask another one", retry_after_ms=1000)
        model = self.registry.find(ref)
        if not model.ready:
            detail = f"{model.manifest.name} is being warmed up; ask again when /readyz says so"
            raise ServiceError(Code.NOT_READY, detail, retry_after_ms=1000)
        return model

    def _large_plan(self, model: ServedModel) -> schemas.PlannerConfig:
        """As wide as a full batch, or as one request may be."""
        limits = self._settings
        most = min(limits.max_batch_candidates, limits.max_samples)
        most = min(most, limits.max_imagined_steps // (2 * model.manifest.planning.horizon))
        wide = most > PRESETS["default"].candidates
        return schemas.PlannerConfig(num_samples=most if wide else None, max_iterations=min(2, limits.max_iterations))

    async def _plan(self, model: ServedModel, request: schemas.PlanRequest) -> schemas.PlanResponse:
        arrived = time.monotonic()
        question = prepare(model, request, self._settings)
        warm_start = self._warm_start(question, request)
        deadline = math.inf if request.planning_budget_ms is None else arrived + request.planning_budget_ms / 1e3
        with self.engine.admitted(self._demand(question, request, arrived, deadline)) as place:
            context, goal = await self.engine.decode(lambda: _open_all(question, request))
            queued = time.monotonic()
            task = Task(question=question, context=context, goal=goal, warm_start=warm_start, queued=queued)
            outcome = await self.engine.compute(place, solve(task))
        ended = time.monotonic()
        timing = schemas.Timing(
            decode_us=round((queued - arrived) * 1e6),
            queue_us=outcome.queue_us,
            encode_us=outcome.encode_us,
            plan_us=outcome.plan_us,
            total_us=round((ended - arrived) * 1e6),
            late_us=max(0, round((ended - deadline) * 1e6)) if deadline < math.inf else 0,
        )
        response = _respond(request, question, outcome, timing, warm_started=warm_start is not None)
        if request.session_id is not None:
            last = LastPlan(outcome.plan.variables, question.first_step, question.searched)
            self.sessions.remember(request.session_id, last)
        return response

    def _warm_start(self, question: Question, request: schemas.PlanRequest) -> Tensor | None:
        """The session's last plan without the model steps executed since. Raises ServiceError when demanded in vain."""
        if request.warm_start is False or (request.session_id is None and not request.warm_start):
            return None
        last = self.sessions.last_plan(request.session_id or "")
        rest = last.shifted(question) if last is not None else None
        if rest is None and request.warm_start:
            reason = "nothing is remembered that this plan could start from; leave warm_start out to start afresh"
            raise refuse(Code.SESSION_NOT_FOUND, "/session_id", reason)
        return rest

    def _demand(self, question: Question, request: schemas.PlanRequest, arrived: float, deadline: float) -> Demand:
        return Demand(
            model=question.model,
            arrived=arrived,
            frames=len(request.context) + (question.goal_latents is None),
            candidates=question.preset.candidates,
            horizon=question.preset.horizon,
            deadline=deadline - self.engine.pace.expected(LAG, 1),
        )


def _open(model: ServedModel, observations: Sequence[schemas.Observation], pointer: str) -> tuple[Frame, ...]:
    return tuple(model.frames.open(each, f"{pointer}/{index}") for index, each in enumerate(observations))


def _open_all(question: Question, request: schemas.PlanRequest) -> tuple[tuple[Frame, ...], Frame | Tensor]:
    """Context and goal."""
    context = _open(question.model, request.context, "/context")
    if question.goal_latents is not None:
        return context, question.goal_latents
    goal = request.goals[0].observation
    assert goal is not None  # a goal has exactly one of the two
    return context, question.model.frames.open(goal, "/goals/0/observation")


def _respond(
    request: schemas.PlanRequest,
    question: Question,
    outcome: Outcome,
    timing: schemas.Timing,
    *,
    warm_started: bool,
) -> schemas.PlanResponse:
    """Raises ServiceError rather than let an action out that is not finite or leaves the limits."""
    spec, plan = question.model.manifest.action, outcome.plan
    actions = question.bounds.to_physical(plan.actions)
    chunk = schemas.ActionChunk(
        actions=actions,
        action_names=list(spec.names),
        action_units=list(spec.units),
        dt_ms=spec.dt_s * 1e3,
        control_steps=spec.control_steps,
        first_step=question.first_step,
        valid_for_ms=len(actions) * spec.dt_s * 1e3,
    )
    return schemas.PlanResponse(
        request_id=request.request_id or new_request_id(),
        session_id=request.session_id,
        status=outcome.status,
        chunk=chunk,
        predicted_cost=plan.cost,
        goal_distance=outcome.goal_distance,
        planned_goal_distance=outcome.planned_goal_distance,
        iterations_completed=plan.iterations,
        surprise=outcome.surprise,
        warm_started=warm_started,
        costs=list(plan.best_costs) if "costs" in request.include else [],
        latents=plan.latents.float().cpu().numpy() if "latents" in request.include else None,
        timing=timing,
        safety=question.bounds.report(actions),
        provenance=question.model.provenance(question.effective_planner),
    )


def _warm_up_request(model: ServedModel, shade: int, planner: schemas.PlannerConfig) -> schemas.PlanRequest:
    file = io.BytesIO()
    Image.new("L", (64, 64), shade).save(file, format="png")
    image = schemas.Image(encoded=file.getvalue(), format="png")
    frame = schemas.Observation(images={model.manifest.observation.camera: image})
    ref, goals = schemas.ModelRef(name=model.manifest.name), [schemas.Goal(observation=frame)]
    return schemas.PlanRequest(model=ref, context=[frame], goals=goals, planner=planner)
