"""The engine, in the process that makes it: models, frames, and the threads that work with them."""

import asyncio
import io
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from planner.presets import PRESETS
from server import schemas
from server.engine.actions import past_actions
from server.engine.answer import answer
from server.engine.executor import LAG, Executor
from server.engine.frames import Frame
from server.engine.incumbents import Improvements
from server.engine.loading import load_model, model_refused
from server.engine.planning import Iteration, Outcome, Task, at_once, encode, iterate, score_clip, solve
from server.engine.preparation import Question, check_frames, check_most, prepare
from server.engine.protocol import MOST_STEPS, EnginePoisonedError, Incumbents, Planned, Step, WarmStart, Work
from server.engine.registry import Registry, ServedModel
from server.engine.scheduler import Demand, Place, Steps
from server.errors import Code, ServiceError, refuse
from server.settings import Settings

log = logging.getLogger("telos")

T = TypeVar("T")


class LocalEngine:
    """Plans, scores and encodes with the models of `registry`. Belongs to one event loop."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.registry = registry
        self._steps: deque[Step] = deque(maxlen=MOST_STEPS)
        self._loading = asyncio.Lock()
        self.executor = Executor(
            self._iterate, max_batch_candidates=settings.max_batch_candidates, decode_threads=settings.decode_threads
        )
        self.on_change: Callable[[], None] = lambda: None
        """Called when `models` or `why_not_ready` change."""
        self._settings = settings

    @property
    def models(self) -> list[schemas.ModelInfo]:
        """As they are now."""
        return [model.info() for model in self.registry.models.values()]

    def why_not_ready(self) -> list[str]:
        """Empty when every model can be planned with."""
        return [f"{name} is being warmed up" for name, model in self.registry.models.items() if not model.ready]

    async def start(self) -> None:
        """Make real plans with every model, small ones and a large one, to know what they take; then it is ready."""
        for model in tuple(self.registry.models.values()):
            await self._warm_up(model)
            self.on_change()

    def work(self) -> Work:
        """Each step is told once."""
        return Work(self.executor.waiting, tuple(self._steps.popleft() for _ in range(len(self._steps))))

    async def load(self, folder: str) -> schemas.ModelInfo:
        """Read, checked and warmed up beside what is served; only then does it take the place of its name.

        Who was accepted before is answered by the old one, which is gone with the last of them.
        """
        async with self._loading:
            model = await asyncio.to_thread(load_model, folder, self._settings)
            try:
                await self._warm_up(model)
            except ServiceError as error:
                raise model_refused(f"{model.manifest.name} does not plan: {error.detail}") from error
            self.registry.models = self.registry.models | {model.manifest.name: model}
            self.on_change()
            return model.info()

    async def unload(self, name: str) -> schemas.ModelInfo:
        """What was accepted is finished."""
        model = self.registry.find(schemas.ModelRef(name=name))
        self.registry.models = {other: kept for other, kept in self.registry.models.items() if other != name}
        self.on_change()
        return model.info()

    def step_s(self) -> float:
        """How long what is computed now has been taking, in seconds; 0 when nothing is."""
        return self.executor.step_s()

    async def stop(self) -> None:
        """What is being computed is done, what waits is refused."""
        await asyncio.to_thread(self.executor.close)

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> Planned:
        """Actions from the last frame of the context to the goal."""
        return await self._plan(self._ready_model(request.model), request, deadline, warm_start, on_incumbent)

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        """How surprising each transition of a clip is, against held-out transitions."""
        model = self._ready_model(request.model)
        spec, calibration = model.manifest.action, model.manifest.surprise
        check_frames(request.observations, self._settings.max_clip_frames, spec.control_steps, "/observations")
        actions = past_actions(request.actions, spec, len(request.observations), "/actions")
        demand = Demand(model=model.space_id, arrived=time.monotonic(), frames=len(request.observations))
        with self.executor.admitted(demand) as place:
            frames = await self.executor.decode(lambda: _open(model, request.observations))
            surprise = await self._compute(place, at_once(lambda: score_clip(model, frames, actions)))
        ranks = np.interp(surprise, calibration.quantiles, np.linspace(0, 1, len(calibration.quantiles)))
        rarest = 1 / (calibration.transitions + 1)  # so few held-out transitions cannot show anything rarer
        return schemas.AnomalyResponse(
            request_id=request.request_id or "",
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
        demand = Demand(model=model.space_id, arrived=time.monotonic(), frames=len(request.observations))
        with self.executor.admitted(demand) as place:
            frames = await self.executor.decode(lambda: _open(model, request.observations))
            latents = await self._compute(place, at_once(lambda: encode(model, frames)))
        return schemas.EncodeResponse(
            request_id=request.request_id or "",
            embeddings=latents[0].float().cpu().numpy(),
            space_id=model.space_id,
            provenance=model.provenance(),
        )

    def _iterate(self, iterations: Sequence[Iteration]) -> None:
        """On the torch thread."""
        began = time.monotonic()
        iterate(iterations)
        name = iterations[0].model.manifest.name
        self._steps.append(Step(name, len(iterations), time.monotonic() - began))

    async def _warm_up(self, model: ServedModel) -> None:
        """Real plans, small ones and a large one, to know what they take. Raises ServiceError when it cannot plan."""
        small = schemas.PlannerConfig()
        await self._plan(model, _warm_up_request(model, 64, small))
        await self._plan(model, _warm_up_request(model, 128, self._large_plan(model)))
        planned = await self._plan(model, _warm_up_request(model, 192, small))
        model.ready = True
        name, taken_ms = model.manifest.name, planned.response.timing.total_us // 1000
        log.info("%s version %s is ready; a plan takes %d ms", name, model.manifest.version, taken_ms)

    def _ready_model(self, ref: schemas.ModelRef) -> ServedModel:
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

    async def _plan(
        self,
        model: ServedModel,
        request: schemas.PlanRequest,
        deadline: float = math.inf,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> Planned:
        arrived = time.monotonic()
        question = prepare(model, request, self._settings)
        beginning = _beginning(question, request, warm_start)
        with self.executor.admitted(self._demand(question, request, arrived, deadline)) as place:
            context, goals = await self.executor.decode(lambda: _open_all(question, request))
            queued = time.monotonic()
            task = Task(question=question, context=context, goals=goals, warm_start=beginning, queued=queued)

            def planned(outcome: Outcome) -> Planned:
                return answer(request, task, outcome, arrived)

            if on_incumbent is None:
                return planned(await self._compute(place, solve(task)))
            with Improvements(lambda outcome: on_incumbent(planned(outcome))) as improvements:
                return planned(await self._compute(place, solve(task), improvements))

    async def _compute(self, place: Place, steps: Steps[T], on_best: Callable[[T], None] | None = None) -> T:
        """Raises EnginePoisonedError when the device will do nothing any more in this process."""
        try:
            return await self.executor.compute(place, steps, on_best)
        except torch.AcceleratorError as error:
            raise EnginePoisonedError(f"the device failed: {error}") from error

    def _demand(self, question: Question, request: schemas.PlanRequest, arrived: float, deadline: float) -> Demand:
        # By name: the pace outlives the models that it was learned of, and would keep them.
        how = "gradients" if question.preset.wants_gradients else "plan"
        return Demand(
            model=(how, question.model.space_id),
            arrived=arrived,
            frames=len(request.context) + sum(target.latents is None for target in question.targets),
            candidates=question.preset.imagined,
            horizon=question.preset.horizon,
            first_steps=question.min_iterations,
            deadline=deadline - self.executor.pace.expected(LAG, 1),
        )


def _beginning(question: Question, request: schemas.PlanRequest, given: WarmStart | None) -> Tensor | None:
    """What is left of the given plan after the model steps executed since, [k v]; None when nothing is.

    Raises ServiceError when the request demands a warm start in vain.
    """
    executed = -1
    if given is not None and (given.manifest_sha256, given.search_space, given.horizon) == question.searched:
        executed = (question.first_step - given.first_step) // question.model.manifest.action.control_steps
    if given is not None and 0 <= executed < question.preset.horizon:
        device = question.model.checkpoint.world_model.device
        variables = torch.tensor(given.variables, device=device)
        _, space = question.optimiser(device)
        return space.shift(variables, executed)
    if request.warm_start:
        reason = "nothing is remembered that this plan could start from; leave warm_start out to start afresh"
        raise refuse(Code.SESSION_NOT_FOUND, "/session_id", reason)
    return None


def _open(model: ServedModel, clip: Sequence[schemas.Observation]) -> tuple[Frame, ...]:
    return model.frames.open({f"/observations/{index}": each for index, each in enumerate(clip)})


def _open_all(question: Question, request: schemas.PlanRequest) -> tuple[tuple[Frame, ...], tuple[Frame | Tensor, ...]]:
    """Context and goals."""
    context = {f"/context/{index}": each for index, each in enumerate(request.context)}
    goals = {f"/goals/{index}/observation": goal.observation for index, goal in enumerate(request.goals)}
    images = {pointer: each for pointer, each in goals.items() if each is not None}
    frames = iter(question.model.frames.open(context | images))
    seen = tuple(next(frames) for _ in context)
    return seen, tuple(next(frames) if target.latents is None else target.latents for target in question.targets)


def _warm_up_request(model: ServedModel, shade: int, planner: schemas.PlannerConfig) -> schemas.PlanRequest:
    file = io.BytesIO()
    Image.new("L", (64, 64), shade).save(file, format="png")
    image = schemas.Image(encoded=file.getvalue(), format="png")
    frame = schemas.Observation(images={model.manifest.observation.camera: image})
    ref, goals = schemas.ModelRef(name=model.manifest.name), [schemas.Goal(observation=frame)]
    return schemas.PlanRequest(model=ref, context=[frame], goals=goals, planner=planner)
