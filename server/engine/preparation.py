"""Turns a valid request into a question, with all checks that depend on the model or the deployment."""

import dataclasses
import secrets
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from planner.presets import Preset
from server import schemas
from server.engine.actions import Bounds, bounds, past_actions
from server.engine.motion import motion
from server.engine.presets import choose_preset
from server.engine.protocol import WarmStart, no_warm_start
from server.engine.question import CostTerms, Question, Target, action_spec, planning_spec, space_of
from server.engine.registry import ServedModel
from server.errors import Code, refuse
from server.settings import Settings
from server.validation import check_most

LARGEST_LATENT = 1e6
"""Largest entry of an embedding: squared distances of larger ones leave 32-bit floats."""


def prepare(
    model: ServedModel, request: schemas.PlanRequest, settings: Settings, warm_start: WarmStart | None = None
) -> Question:
    """Question of a request; `warm_start` is the session's last plan. Raises ServiceError that names the field."""
    model.check_plans()
    checkpoint, config = model.checkpoint, request.planner
    spec = action_spec(checkpoint)
    _check_context(request, planning_spec(checkpoint).context_frames, spec.control_steps)
    check_most(request.planning_budget_ms or 1, settings.max_planning_budget_ms, "/planning_budget_ms")
    name, preset = choose_preset(checkpoint, config, settings)
    limits = _limits(request, preset, model)
    history = past_actions(request.action_history, spec, len(request.context), "/action_history")
    question = Question(
        checkpoint=checkpoint,
        preset=preset,
        preset_name=name,
        bounds=limits,
        space=space_of(preset, limits, checkpoint),
        past_actions=history.to(checkpoint.device),
        targets=_targets(model, request, settings),
        active_goal=_active_goal(request),
        avoid=_avoid(model, request.cost, settings),
        first_step=request.context[-1].step or 0,
        delay_steps=_delay_steps(request, preset.horizon * spec.control_steps),
        action_before=_action_before(request),
        min_iterations=_min_iterations(request, preset),
        hold_above=_hold_above(model, request),
        seed=secrets.randbelow(schemas.MAX_SAFE_INTEGER) if config.seed is None else config.seed,
    )
    return dataclasses.replace(question, warm_start=_warm_start(question, request, warm_start))


def _check_context(request: schemas.PlanRequest, most_frames: int, control_steps: int) -> None:
    check_frames(request.context, most_frames, control_steps, "/context")
    if request.session_id is not None and request.context[-1].step is None:
        at = f"/context/{len(request.context) - 1}/step"
        raise refuse(Code.VALIDATION_FAILED, at, "is missing; a session needs the control step that it was seen at")


def _min_iterations(request: schemas.PlanRequest, preset: Preset) -> int:
    """Iterations that a plan needs before it may be returned; 0 for a policy's plan."""
    if preset.is_policy:
        return 0
    wanted = preset.iterations if request.require_complete else request.planner.min_iterations or 1
    check_most(wanted, preset.iterations, "/planner/min_iterations", "iterations of max_iterations")
    return wanted


def _limits(request: schemas.PlanRequest, preset: Preset, model: ServedModel) -> Bounds:
    spec = action_spec(model.checkpoint)
    limits, steps = bounds(spec, request.limits), preset.horizon * spec.control_steps
    return dataclasses.replace(limits, motion=motion(request, spec, low=limits.low, high=limits.high, steps=steps))


def _warm_start(question: Question, request: schemas.PlanRequest, last: WarmStart | None) -> Tensor | None:
    """Rest of the last plan after the model steps executed since, [k v]; None if there is none.

    Raises ServiceError if the request demands a warm start and there is none.
    """
    executed = -1
    if last is not None and (last.manifest_sha256, last.search_space, last.horizon) == question.searched:
        executed = (question.first_step - last.first_step) // question.action.control_steps
    if last is not None and 0 <= executed < question.preset.horizon and not question.preset.is_policy:
        return question.space.shift(torch.tensor(last.variables, device=question.checkpoint.device), executed)
    if request.warm_start:
        raise no_warm_start()
    return None


def _targets(model: ServedModel, request: schemas.PlanRequest, settings: Settings) -> tuple[Target, ...]:
    check_most(len(request.goals), settings.max_goals, "/goals", "goals")
    return tuple(
        Target(
            latents=None
            if goal.embedding is None
            else embedded_latents(model, goal.embedding, f"/goals/{index}/embedding"),
            terms=_terms(request.cost, goal.weight),
            tolerance=goal.tolerance,
        )
        for index, goal in enumerate(request.goals)
    )


def _terms(asked: schemas.Cost, goal_weight: float) -> CostTerms:
    return CostTerms(
        distance=asked.distance,
        over=asked.over,
        goal_weight=goal_weight,
        smoothness=asked.smoothness,
        effort=asked.effort,
        keep_out=tuple((each.weight, each.radius, len(each.embeddings)) for each in asked.keep_out),
    )


def _active_goal(request: schemas.PlanRequest) -> int:
    active = request.active_goal or 0
    if active >= len(request.goals):
        reason = f"given {active}; wanted the index of one of the {len(request.goals)} goals, from 0"
        raise refuse(Code.VALIDATION_FAILED, "/active_goal", reason)
    return active


def _avoid(model: ServedModel, cost: schemas.Cost, settings: Settings) -> tuple[Tensor, ...]:
    """Latents of each set to stay away from, [1 m n d]."""
    if model.checkpoint.world_model is None and cost != schemas.Cost():
        reason = f"{model.manifest.name} has no world model that imagines where a plan leads, so no cost can judge it"
        raise refuse(Code.VALIDATION_FAILED, "/cost", f"{reason}; leave it out")
    given = sum(len(each.embeddings) for each in cost.keep_out)
    check_most(given, settings.max_keep_out, "/cost/keep_out", "embeddings to keep out of")
    return tuple(
        torch.stack(
            [
                embedded_latents(model, embedding, f"/cost/keep_out/{index}/embeddings/{at}")
                for at, embedding in enumerate(each.embeddings)
            ]
        )[None]
        for index, each in enumerate(cost.keep_out)
    )


def _delay_steps(request: schemas.PlanRequest, steps: int) -> int:
    delay = request.inference_delay_steps or 0
    committed = 0 if request.committed_actions is None else len(request.committed_actions)
    if delay > committed:
        known = f"what the robot runs meanwhile is known for {committed}"
        remedy = "send it as committed_actions, or plan in a session whose last plan covers it"
        raise refuse(Code.VALIDATION_FAILED, "/inference_delay_steps", f"given {delay}; {known}: {remedy}")
    if delay >= steps:
        reason = f"given {delay}; the plan has {steps} control steps, so none would be left; plan further ahead"
        raise refuse(Code.VALIDATION_FAILED, "/inference_delay_steps", reason)
    return delay


def _action_before(request: schemas.PlanRequest) -> np.ndarray | None:
    """Action before the first one of the reply, [actions], from the committed actions or the history, both checked."""
    if request.inference_delay_steps and request.committed_actions is not None:
        return request.committed_actions[request.inference_delay_steps - 1]
    return request.action_history[-1][-1] if request.action_history else None


def _hold_above(model: ServedModel, request: schemas.PlanRequest) -> float | None:
    return model.surprise_calibration("/hold_on_surprise").threshold if request.hold_on_surprise else None


def embedded_latents(model: ServedModel, embedding: schemas.Embedding, pointer: str) -> Tensor:
    """Latents of an embedding, [n d]. Raises ServiceError for those of another model."""
    if embedding.space_id != model.space_id:
        reason = f"the embedding is not of {model.manifest.name} as served now; encode its observation again"
        raise refuse(Code.MODEL_MISMATCH, f"{pointer}/space_id", reason)
    if embedding.latents.shape != model.latent_shape:
        reason = f"given shape {list(embedding.latents.shape)}; wanted {list(model.latent_shape)}, as /v1/encode gives"
        raise refuse(Code.VALIDATION_FAILED, f"{pointer}/latents", reason)
    latents = torch.tensor(embedding.latents, dtype=torch.float32, device=model.checkpoint.device)
    if not latents.isfinite().all():
        raise refuse(Code.NON_FINITE_INPUT, f"{pointer}/latents", "holds a number beyond 32-bit floats")
    if bool((latents.abs() > LARGEST_LATENT).any()):
        reason = f"holds a number beyond {LARGEST_LATENT:g}, which no encoder gives; encode the image again"
        raise refuse(Code.VALIDATION_FAILED, f"{pointer}/latents", reason)
    return latents


def check_frames(frames: Sequence[schemas.Observation], most: int, control_steps: int, pointer: str) -> None:
    """Check that there are at most `most` frames, one model step apart by their steps. Raises ServiceError."""
    check_most(len(frames), most, pointer, "frames")
    steps = [frame.step for frame in frames]
    if all(step is None for step in steps):
        return
    for index, (before, step) in enumerate(pairwise(steps), start=1):
        if before is None or step is None or step - before != control_steps:
            wanted = f"wanted frames one model step apart, that is {control_steps} control steps, or no step at all"
            given = " after ".join("none" if s is None else str(s) for s in (step, before))
            raise refuse(Code.VALIDATION_FAILED, f"{pointer}/{index}/step", f"given {given}; {wanted}")
