"""From a valid request to what a given model can do: every check that depends on the model or the deployment."""

import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from planner.optimiser import Optimiser
from planner.presets import PRESETS, Preset, build
from planner.search_space import SearchSpace
from server import schemas
from server.engine.actions import Bounds, bounds, past_actions
from server.engine.motion import motion
from server.engine.registry import ServedModel
from server.errors import Code, refuse
from server.settings import Settings
from server.validation import shorten


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a plan request asks for, without its images."""

    model: ServedModel
    preset: Preset
    preset_name: str
    bounds: Bounds
    past_actions: Tensor
    """[1 t-1 a], unitless"""
    goal_latents: Tensor | None
    """[n d]; None when the goal is an image"""
    first_step: int
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
        return schemas.PlannerConfig(
            preset=self.preset_name,
            algorithm=self.preset.algorithm,
            search_space=self.preset.search_space,
            num_samples=self.preset.candidates,
            num_elites=self.preset.elites if self.preset.has_elites else None,
            max_iterations=self.preset.iterations,
            init_std=self.preset.std,
            horizon=self.preset.horizon,
            seed=self.seed,
        )


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
    limits = bounds(spec, request.limits)
    history = past_actions(request.action_history, spec, len(request.context), "/action_history")
    steps = preset.horizon * spec.control_steps
    return Question(
        model=model,
        preset=preset,
        preset_name=name,
        bounds=dataclasses.replace(limits, motion=motion(request, spec, low=limits.low, high=limits.high, steps=steps)),
        past_actions=history,
        goal_latents=None if request.goals[0].embedding is None else goal_latents(model, request.goals[0].embedding),
        first_step=request.context[-1].step or 0,
        seed=secrets.randbelow(schemas.MAX_SAFE_INTEGER) if config.seed is None else config.seed,
    )


def choose_preset(name: str, config: schemas.PlannerConfig, horizon: int, settings: Settings) -> Preset:
    """The named preset with what the request changes in it. Raises ServiceError."""
    if name not in PRESETS:
        reason = f"given '{shorten(name)}'; wanted one of {', '.join(PRESETS)}"
        raise refuse(Code.VALIDATION_FAILED, "/planner/preset", reason)
    check_most(config.num_samples or 1, settings.max_samples, "/planner/num_samples")
    check_most(config.max_iterations or 1, settings.max_iterations, "/planner/max_iterations")
    check_most(config.horizon or 1, settings.max_horizon, "/planner/horizon")
    changed = {
        "algorithm": config.algorithm,
        "search_space": config.search_space,
        "candidates": config.num_samples,
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
    imagined = preset.candidates * preset.iterations * preset.horizon
    check_most(imagined, settings.max_imagined_steps, "/planner", "samples x iterations x horizon")
    return preset


def goal_latents(model: ServedModel, embedding: schemas.Embedding) -> Tensor:
    """[n d]. Raises ServiceError for latents of another model."""
    if embedding.space_id != model.space_id:
        reason = f"the embedding is not of {model.manifest.name} as served now; encode the goal image again"
        raise refuse(Code.MODEL_MISMATCH, "/goals/0/embedding/space_id", reason)
    if embedding.latents.shape != model.latent_shape:
        reason = f"given shape {list(embedding.latents.shape)}; wanted {list(model.latent_shape)}, as /v1/encode gives"
        raise refuse(Code.VALIDATION_FAILED, "/goals/0/embedding/latents", reason)
    latents = torch.tensor(embedding.latents, dtype=torch.float32, device=model.checkpoint.world_model.device)
    if not latents.isfinite().all():
        raise refuse(Code.NON_FINITE_INPUT, "/goals/0/embedding/latents", "holds a number beyond 32-bit floats")
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
