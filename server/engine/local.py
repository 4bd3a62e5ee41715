"""The engine in the present process: its models and its threads."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from server import schemas
from server.engine.actions import past_actions
from server.engine.executor import LAG, Executor, at_once
from server.engine.planning import Seen, SharedSearch, advance_together, solve, surprise_of
from server.engine.preparation import check_frames, prepare
from server.engine.protocol import (
    MOST_ITERATIONS,
    EngineActivity,
    EnginePoisonedError,
    EngineReply,
    Incumbents,
    SharedIteration,
    WarmStart,
)
from server.engine.question import Question, action_spec
from server.engine.registry import Registry, ServedModel, load_model, model_refused
from server.engine.replies import Improvements, Replier
from server.engine.scheduler import QueuedRequest, Steps
from server.engine.warm_up import warm_up_clips, warm_up_plans
from server.errors import Code, ServiceError
from server.settings import Settings
from server.validation import check_most
from worldmodel import Latents

log = logging.getLogger("telos")

T = TypeVar("T")


class LocalEngine:
    """Plans, scores and encodes with the models of `registry`. Belongs to one event loop."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.registry = registry
        self._iterations: deque[SharedIteration] = deque(maxlen=MOST_ITERATIONS)
        self._loading = asyncio.Lock()
        self.executor = Executor(
            self._advance, max_batch_candidates=settings.max_batch_candidates, decode_threads=settings.decode_threads
        )
        self.on_change: Callable[[], None] = lambda: None
        """Called when `models` or `why_not_ready` change."""
        self._settings = settings

    @property
    def models(self) -> list[schemas.ModelInfo]:
        """Present state of the models."""
        return [model.info() for model in self.registry.models.values()]

    def why_not_ready(self) -> list[str]:
        """Reasons why some model cannot be used yet; empty when all can."""
        return [f"{name} is being warmed up" for name, model in self.registry.models.items() if not model.ready]

    async def start(self) -> None:
        """Warm up every model. The engine is ready when this returns."""
        for model in tuple(self.registry.models.values()):
            await self._warm_up(model)
            self.on_change()

    def activity(self) -> EngineActivity:
        """Activity since the last call. Each iteration is reported once."""
        done = tuple(self._iterations.popleft() for _ in range(len(self._iterations)))
        return EngineActivity(self.executor.waiting, done)

    async def load(self, folder: str) -> schemas.ModelInfo:
        """Read, check and warm up a model, and only then put it in place of the one of its name.

        The old model still answers requests that were accepted before. Raises ServiceError (model-refused).
        """
        async with self._loading:
            model = await asyncio.to_thread(load_model, folder, self._settings)
            try:
                await self._warm_up(model)
            except ServiceError as error:
                raise model_refused(f"{model.manifest.name} does not work: {error.detail}") from error
            self.registry.models = self.registry.models | {model.manifest.name: model}
            self.on_change()
            return model.info()

    async def unload(self, name: str) -> schemas.ModelInfo:
        """Stop serving a model. Accepted requests are finished. Raises ServiceError (model-not-found)."""
        model = self.registry.find(schemas.ModelRef(name=name))
        self.registry.models = {other: kept for other, kept in self.registry.models.items() if other != name}
        self.on_change()
        return model.info()

    def step_s(self) -> float:
        """Seconds since the present computation began; 0 when there is none."""
        return self.executor.step_s()

    async def stop(self) -> None:
        """Finish the step in progress and refuse all waiting requests."""
        await asyncio.to_thread(self.executor.close)

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        """Actions from the last frame of the context to the goal. Raises ServiceError."""
        return await self._plan(self._ready_model(request.model), request, deadline, warm_start, on_incumbent)

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        """Surprise of each transition of a clip, compared with held-out transitions. Raises ServiceError."""
        model = self._ready_model(request.model)
        calibration, spec = model.surprise_calibration("/model/name"), action_spec(model.checkpoint)
        check_frames(request.observations, self._settings.max_clip_frames, spec.control_steps, "/observations")
        actions = past_actions(request.actions, spec, len(request.observations), "/actions")
        past = actions.to(model.checkpoint.device)
        surprise = await self._on_clip(
            model, request.observations, lambda clip: surprise_of(model.checkpoint, clip, past)
        )
        ranks = np.interp(surprise, calibration.quantiles, np.linspace(0, 1, len(calibration.quantiles)))
        rarest = 1 / (calibration.transitions + 1)  # the held-out transitions cannot show a smaller p-value
        return schemas.AnomalyResponse(
            request_id=request.request_id or "",
            surprise=surprise,
            p_value=np.maximum(1 - ranks, rarest).tolist(),
            threshold=calibration.threshold,
            is_anomalous=max(surprise) > calibration.threshold,
            provenance=model.provenance(),
        )

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        """Latents of observations, each of which can be a goal later. Raises ServiceError."""
        return await self._encode(self._ready_model(request.model), request)

    def _advance(self, searches: Sequence[SharedSearch]) -> None:
        """One iteration, on the torch thread."""
        began = time.monotonic()
        advance_together(searches)
        name = searches[0].checkpoint.manifest.name
        self._iterations.append(SharedIteration(name, len(searches), time.monotonic() - began))

    async def _warm_up(self, model: ServedModel) -> None:
        """Run real requests to learn how long they take. Raises ServiceError if the model fails."""
        began = time.monotonic()
        for plan in warm_up_plans(model, self._settings):
            began = time.monotonic()
            await self._plan(model, plan)
        for clip in warm_up_clips(model):
            began = time.monotonic()
            await self._encode(model, clip)
        model.ready = True
        name, taken_ms = model.manifest.name, round(1e3 * (time.monotonic() - began))
        log.info("%s version %s is ready; a request takes %d ms", name, model.manifest.version, taken_ms)

    def _ready_model(self, ref: schemas.ModelRef) -> ServedModel:
        model = self.registry.find(ref)
        if not model.ready:
            detail = f"{model.manifest.name} is being warmed up; ask again when /readyz says so"
            raise ServiceError(Code.NOT_READY, detail, retry_after_ms=1000)
        return model

    async def _plan(
        self,
        model: ServedModel,
        request: schemas.PlanRequest,
        deadline: float = math.inf,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        arrived = time.monotonic()
        question = prepare(model, request, self._settings, warm_start)
        with self.executor.admitted(self._queued(question, request, arrived, deadline)) as queued:
            see = await self.executor.decode(lambda: _open(model, question, request))
            replier = Replier(model=model, request=request, question=question, arrived=arrived, queued=time.monotonic())
            if on_incumbent is None:
                return replier.reply(await self._compute(queued, solve(question, see)))
            with Improvements(lambda found: on_incumbent(replier.reply(found))) as improvements:
                return replier.reply(await self._compute(queued, solve(question, see), improvements))

    async def _encode(self, model: ServedModel, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        check_most(len(request.observations), self._settings.max_clip_frames, "/observations", "observations")
        latents = await self._on_clip(model, request.observations, lambda clip: clip.tokens[0])
        return schemas.EncodeResponse(
            request_id=request.request_id or "",
            embeddings=latents.float().cpu().numpy(),
            space_id=model.space_id,
            provenance=model.provenance(),
        )

    async def _on_clip(
        self, model: ServedModel, clip: Sequence[schemas.Observation], compute: Callable[[Latents], T]
    ) -> T:
        """Result of `compute` for the clip's latents [1 t n d], on the torch thread."""
        queued = QueuedRequest(model=model.space_id, arrived=time.monotonic(), frames=len(clip))
        observations = {f"/observations/{index}": each for index, each in enumerate(clip)}

        @torch.inference_mode()
        def encoded() -> T:
            return compute(model.frames.clip(frames))

        with self.executor.admitted(queued):
            frames = await self.executor.decode(lambda: model.frames.open(observations))
            return await self._compute(queued, at_once(encoded))

    async def _compute(self, queued: QueuedRequest, steps: Steps[T], on_best: Callable[[T], None] | None = None) -> T:
        """Result of the request's steps. Raises EnginePoisonedError if the device has failed for good."""
        try:
            return await self.executor.compute(queued, steps, on_best)
        except torch.AcceleratorError as error:
            raise EnginePoisonedError(f"the device failed: {error}") from error

    def _queued(
        self, question: Question, request: schemas.PlanRequest, arrived: float, deadline: float
    ) -> QueuedRequest:
        preset = question.preset
        how = "policy" if preset.is_policy else "gradients" if preset.wants_gradients else "plan"
        return QueuedRequest(
            # The pace outlives models, and a reference would keep them in memory: so it uses their names.
            model=(how, question.checkpoint.manifest_sha256),
            arrived=arrived,
            frames=len(request.context) + sum(target.latents is None for target in question.targets),
            candidates=preset.candidates,
            horizon=preset.horizon,
            steps_left=max(1, question.min_iterations),
            deadline=deadline - self.executor.pace.expected(LAG, 1),
        )


def _open(model: ServedModel, question: Question, request: schemas.PlanRequest) -> Callable[[], Seen]:
    """Decode context and goals. Returns a function that encodes them, for the torch thread."""
    context = {f"/context/{index}": each for index, each in enumerate(request.context)}
    goals = _goal_observations(request)
    frames = model.frames.open({**context, **goals})
    seen, shown = frames[: len(context)], iter(frames[len(context) :])
    wanted = [next(shown) if target.latents is None else target.latents for target in question.targets]
    reader, judged = model.frames, (seen[-1], *frames[len(context) :])

    def see() -> Seen:
        goals = [each if isinstance(each, torch.Tensor) else reader.latents(each).tokens for each in wanted]
        return Seen(
            context=reader.clip(seen),
            goals=torch.stack(goals),
            novelty=reader.novelty(seen[-1]),
            goal_novelty=tuple(None if isinstance(each, torch.Tensor) else reader.novelty(each) for each in wanted),
            warnings=tuple(warning for frame in judged for warning in reader.warnings(frame)),
        )

    return see


def _goal_observations(request: schemas.PlanRequest) -> dict[str, schemas.Observation]:
    goals = {f"/goals/{index}/observation": goal.observation for index, goal in enumerate(request.goals)}
    return {pointer: each for pointer, each in goals.items() if each is not None}
