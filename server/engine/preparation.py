"""From a valid request to what a given model can do: every check that depends on the model or the deployment."""

import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from planner.optimiser import Optimiser
from planner.presets import PRESETS, Preset, build
from planner.search_space import SearchSpace
from server import schemas
from server.engine.actions import Bounds, bounds, past_actions
from server.engine.cost import CostTerms
from server.engine.motion import motion
from server.engine.presets import as_config
from server.engine.registry import ServedModel
from server.errors import Code, refuse
from server.settings import Settings
from server.validation import shorten


@dataclass(frozen=True, kw_only=True)
class Target:
    """A goal without its image."""

    latents: Tensor | None
    """[n d]; None when the goal is an image"""
    terms: CostTerms
    """What a plan is judged by while this goal is the active one."""
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a plan request asks for, without its images."""

    model: ServedModel
    preset: Preset
    preset_name: str
    bounds: Bounds
    past_actions: Tensor
    """[1 t-1 a], unitless"""
    targets: tuple[Target, ...]
    """In order."""
    active_goal: int
    """When the last plan was made."""
    avoid: tuple[Tensor, ...]
    """[m n d] for each set of latents to keep out of."""
    first_step: int
    """Of the plan, committed actions included."""
    delay_steps: int
    """How many of the plan's first control steps the robot will have run when the answer is there."""
    action_before: np.ndarray | None
    """[actions], physical, run just before the first one of the answer."""
    min_iterations: int
    """Before there is an answer."""
    hold_above: float | None
    """Surprise that no plan is made after."""
    seed: int

    @property
    def searched(self) -> tuple[str, str, int]:
        """Whose search variables these are: those of another model, search space or horizon mean something else."""
        return self.model.checkpoint.manifest_sha256, self.preset.search_space, self.preset.horizon

    def optimiser(self, device: torch.device) -> tuple[Optimiser, SearchSpace]:
        """How to search, and what."""
        low, high = (edge.to(device) for edge in self.bounds.unitless)
        asked = self.bounds.motion
        return build(
            self.preset,
            low=low,
            high=high,
            control_steps=self.model.manifest.action.control_steps,
            constraints=None if asked is None else asked.constraints(device),
        )

    @property
    def effective_planner(self) -> schemas.PlannerConfig:
        """Sent again, it gives the same plan."""
        own = {"min_iterations": self.min_iterations, "seed": self.seed}
        return as_config(self.preset_name, self.preset).model_copy(update=own)


def prepare(model: ServedModel, request: schemas.PlanRequest, settings: Settings) -> Question:
    """Raises ServiceError that names the field."""
    spec, planning, config = model.manifest.action, model.manifest.planning, request.planner
    check_frames(request.context, planning.context_frames, spec.control_steps, "/context")
    if request.session_id is not None and request.context[-1].step is None:
        at = f"/context/{len(request.context) - 1}/step"
        raise refuse(Code.VALIDATION_FAILED, at, "is missing; a session needs the control step that it was seen at")
    check_most(request.planning_budget_ms or 1, settings.max_planning_budget_ms, "/planning_budget_ms")
    name = config.preset or "default"
    preset = choose_preset(name, config, planning.horizon, settings)
    if preset.proposal != "none" and model.checkpoint.inverse_dynamics is None:
        reason = f"{name!r} needs inverse dynamics, which {model.manifest.name} has none of; see its presets"
        raise refuse(Code.VALIDATION_FAILED, "/planner/preset", reason)
    min_iterations = preset.iterations if request.require_complete else config.min_iterations or 1
    check_most(min_iterations, preset.iterations, "/planner/min_iterations", "iterations of max_iterations")
    limits = bounds(spec, request.limits)
    history = past_actions(request.action_history, spec, len(request.context), "/action_history")
    steps = preset.horizon * spec.control_steps
    return Question(
        model=model,
        preset=preset,
        preset_name=name,
        bounds=dataclasses.replace(limits, motion=motion(request, spec, low=limits.low, high=limits.high, steps=steps)),
        past_actions=history,
        targets=_targets(model, request, settings),
        active_goal=_active_goal(request),
        avoid=_avoid(model, request.cost, settings),
        first_step=request.context[-1].step or 0,
        delay_steps=_delay_steps(request, steps),
        action_before=_action_before(request),
        min_iterations=min_iterations,
        hold_above=_hold_above(model, request),
        seed=secrets.randbelow(schemas.MAX_SAFE_INTEGER) if config.seed is None else config.seed,
    )


def _targets(model: ServedModel, request: schemas.PlanRequest, settings: Settings) -> tuple[Target, ...]:
    check_most(len(request.goals), settings.max_goals, "/goals", "goals")
    return tuple(
        Target(
            latents=None
            if goal.embedding is None
            else embedded_latents(model, goal.embedding, f"/goals/{index}/embedding"),
            terms=CostTerms.of(request.cost, goal.weight),
            tolerance=goal.tolerance,
        )
        for index, goal in enumerate(request.goals)
    )


def _active_goal(request: schemas.PlanRequest) -> int:
    active = request.active_goal or 0
    if active >= len(request.goals):
        reason = f"given {active}; wanted the index of one of the {len(request.goals)} goals, from 0"
        raise refuse(Code.VALIDATION_FAILED, "/active_goal", reason)
    return active


def _avoid(model: ServedModel, cost: schemas.Cost, settings: Settings) -> tuple[Tensor, ...]:
    """[m n d] each."""
    given = sum(len(each.embeddings) for each in cost.keep_out)
    check_most(given, settings.max_keep_out, "/cost/keep_out", "embeddings to keep out of")
    return tuple(
        torch.stack(
            [
                embedded_latents(model, embedding, f"/cost/keep_out/{index}/embeddings/{at}")
                for at, embedding in enumerate(each.embeddings)
            ]
        )
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
    """Both sources were checked before."""
    if request.inference_delay_steps and request.committed_actions is not None:
        return request.committed_actions[request.inference_delay_steps - 1]
    return request.action_history[-1][-1] if request.action_history else None


def _hold_above(model: ServedModel, request: schemas.PlanRequest) -> float | None:
    if not request.hold_on_surprise:
        return None
    if not model.manifest.surprise.transitions:
        reason = (
            f"{model.manifest.name} was not calibrated, so nothing would surprise it; calibrate it or leave this out"
        )
        raise refuse(Code.VALIDATION_FAILED, "/hold_on_surprise", reason)
    return model.manifest.surprise.threshold


def choose_preset(name: str, config: schemas.PlannerConfig, horizon: int, settings: Settings) -> Preset:
    """The named preset with what the request changes in it. Raises ServiceError."""
    if name not in PRESETS:
        reason = f"given '{shorten(name)}'; wanted one of {', '.join(PRESETS)}"
        raise refuse(Code.VALIDATION_FAILED, "/planner/preset", reason)
    check_most(config.num_samples or 1, settings.max_samples, "/planner/num_samples")
    check_most(config.max_iterations or 1, settings.max_iterations, "/planner/max_iterations")
    check_most(config.horizon or 1, settings.max_horizon, "/planner/horizon")
    samples = PRESETS[name].samples
    if not samples:
        _check_nothing_sampled(name, config)
    changed = {
        "algorithm": config.algorithm,
        "search_space": config.search_space,
        "candidates": config.num_samples if samples else None,
        "elites": config.num_elites,
        "iterations": config.max_iterations,
        "std": config.init_std,
        "horizon": config.horizon or horizon,
    }
    given = {key: value for key, value in changed.items() if value is not None}
    try:
        preset = dataclasses.replace(PRESETS[name], **given)
    except ValueError as error:
        raise refuse(Code.VALIDATION_FAILED, "/planner", str(error)) from error
    if config.num_elites is not None and not preset.has_elites:
        raise refuse(Code.VALIDATION_FAILED, "/planner/num_elites", f"{preset.algorithm} has no elites; leave it out")
    imagined = preset.imagined * preset.iterations * preset.horizon
    check_most(imagined, settings.max_imagined_steps, "/planner", "samples x iterations x horizon")
    return preset


def _check_nothing_sampled(name: str, config: schemas.PlannerConfig) -> None:
    """Raises ServiceError for settings of samples that are never drawn."""
    useless = {
        "num_samples": config.num_samples not in (None, 1),
        "num_elites": config.num_elites is not None,
        "init_std": config.init_std is not None,
    }
    for field, given in useless.items():
        if given:
            reason = f"{name!r} imagines one plan, what the model proposes, and samples none; leave it out"
            raise refuse(Code.VALIDATION_FAILED, f"/planner/{field}", reason)


def embedded_latents(model: ServedModel, embedding: schemas.Embedding, pointer: str) -> Tensor:
    """[n d]. Raises ServiceError for latents of another model."""
    if embedding.space_id != model.space_id:
        reason = f"the embedding is not of {model.manifest.name} as served now; encode its image again"
        raise refuse(Code.MODEL_MISMATCH, f"{pointer}/space_id", reason)
    if embedding.latents.shape != model.latent_shape:
        reason = f"given shape {list(embedding.latents.shape)}; wanted {list(model.latent_shape)}, as /v1/encode gives"
        raise refuse(Code.VALIDATION_FAILED, f"{pointer}/latents", reason)
    latents = torch.tensor(embedding.latents, dtype=torch.float32, device=model.checkpoint.world_model.device)
    if not latents.isfinite().all():
        raise refuse(Code.NON_FINITE_INPUT, f"{pointer}/latents", "holds a number beyond 32-bit floats")
    return latents


def check_frames(frames: Sequence[schemas.Observation], most: int, control_steps: int, pointer: str) -> None:
    """Not too many, and one model step apart if they say when they were seen. Raises ServiceError."""
    check_most(len(frames), most, pointer, "frames")
    steps = [frame.step for frame in frames]
    if all(step is None for step in steps):
        return
    for index, (before, step) in enumerate(pairwise(steps), start=1):
        if before is None or step is None or step - before != control_steps:
            wanted = f"wanted frames one model step apart, that is {control_steps} control steps, or no step at all"
            given = " after ".join("none" if s is None else str(s) for s in (step, before))
            raise refuse(Code.VALIDATION_FAILED, f"{pointer}/{index}/step", f"given {given}; {wanted}")


def check_most(given: int, most: int, pointer: str, noun: str = "") -> None:
    """Raises ServiceError when more is asked for than this server gives to one request."""
    if given > most:
        reason = f"given {given} {noun}".rstrip() + f"; at most {most} are allowed here"
        raise refuse(Code.VALIDATION_FAILED, pointer, reason)
