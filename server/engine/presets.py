"""Which of the planner's presets a model can run, how they are described, and which one a request means."""

import dataclasses
from typing import Any

from planner.presets import PRESETS, Preset
from server.engine.question import planning_spec
from server.errors import Code, refuse
from server.schemas import PlannerConfig
from server.settings import Settings
from server.validation import check_most, shorten
from worldmodel import Checkpoint

SEARCHING, POLICY = "default", "reactive"
"""The presets that a search, and a policy, are made with by default."""


def as_config(name: str, preset: Preset) -> PlannerConfig:
    """The preset in the words of a request, without the settings that it ignores. A request may send it as it is."""
    searched: dict[str, Any] = {}
    if not preset.is_policy:
        searched = {
            "num_samples": preset.candidates,
            "num_elites": preset.elites if preset.has_elites else None,
            "max_iterations": preset.iterations,
            "init_std": preset.std,
        }
    return PlannerConfig(
        preset=name,
        algorithm=preset.algorithm,
        search_space=preset.search_space,
        horizon=preset.horizon,
        **searched,
    )


def presets_of(checkpoint: Checkpoint) -> list[PlannerConfig]:
    """The presets that a model can run, with its own horizon."""
    planning = checkpoint.manifest.planning
    if planning is None:
        return []
    return [
        as_config(name, dataclasses.replace(preset, horizon=planning.horizon))
        for name, preset in PRESETS.items()
        if not _lacks(checkpoint, preset)
    ]


def default_preset(checkpoint: Checkpoint) -> str:
    """The name of the preset that a request means when it names none."""
    return POLICY if checkpoint.world_model is None else SEARCHING


def choose_preset(checkpoint: Checkpoint, config: PlannerConfig, settings: Settings) -> tuple[str, Preset]:
    """The preset that a request names, and the same with the request's changes. Raises ServiceError."""
    name = config.preset or default_preset(checkpoint)
    if name not in PRESETS:
        reason = f"given '{shorten(name)}'; wanted one of {', '.join(PRESETS)}"
        raise refuse(Code.VALIDATION_FAILED, "/planner/preset", reason)
    check_most(config.num_samples or 1, settings.max_samples, "/planner/num_samples")
    check_most(config.max_iterations or 1, settings.max_iterations, "/planner/max_iterations")
    check_most(config.horizon or 1, settings.max_horizon, "/planner/horizon")
    preset = _changed(name, config, planning_spec(checkpoint).horizon)
    if lack := _lacks(checkpoint, preset):
        field = "algorithm" if preset.algorithm != PRESETS[name].algorithm else "preset"
        given = config.algorithm if field == "algorithm" else name
        reason = f"{given!r} needs a {lack}, and {checkpoint.manifest.name} has none; choose one of its presets"
        raise refuse(Code.VALIDATION_FAILED, f"/planner/{field}", reason)
    _check_chunk(checkpoint, preset)
    imagined = preset.candidates * preset.iterations * preset.horizon
    check_most(imagined, settings.max_imagined_steps, "/planner", "samples x iterations x horizon")
    return name, preset


def _lacks(checkpoint: Checkpoint, preset: Preset) -> str:
    """The part that a model would need to run the preset; empty when it has all."""
    if checkpoint.world_model is None and not preset.is_policy:
        return "world model"
    return "policy" if checkpoint.policy is None and (preset.is_policy or preset.proposal) else ""


def _changed(name: str, config: PlannerConfig, horizon: int) -> Preset:
    """The named preset with the request's changes. Raises ServiceError."""
    preset = PRESETS[name]
    if preset.is_policy and config.algorithm not in (None, "policy"):
        reason = f"{name!r} runs no search; name a preset that does, or leave the algorithm out"
        raise refuse(Code.VALIDATION_FAILED, "/planner/algorithm", reason)
    if config.algorithm == "policy":
        preset = PRESETS[POLICY]
    if preset.is_policy:
        _check_nothing_searched(config)
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
        preset = dataclasses.replace(preset, **given)
    except ValueError as error:
        raise refuse(Code.VALIDATION_FAILED, "/planner", str(error)) from error
    if config.num_elites is not None and not preset.has_elites:
        raise refuse(Code.VALIDATION_FAILED, "/planner/num_elites", f"{preset.algorithm} has no elites; leave it out")
    return preset


def _check_nothing_searched(config: PlannerConfig) -> None:
    """Raises ServiceError for settings of a search that a policy does not run."""
    for field in ("num_samples", "num_elites", "max_iterations", "min_iterations", "init_std"):
        if getattr(config, field) is not None:
            reason = "is a setting of a search, and a policy runs none; leave it out"
            raise refuse(Code.VALIDATION_FAILED, f"/planner/{field}", reason)


def _check_chunk(checkpoint: Checkpoint, preset: Preset) -> None:
    """Without a world model to go on in, a policy's plan is as long as its own answer. Raises ServiceError."""
    chunk = planning_spec(checkpoint).horizon
    if checkpoint.world_model is None and preset.horizon != chunk:
        reason = f"given {preset.horizon}; this model's policy answers {chunk} model steps at once: leave horizon out"
        raise refuse(Code.VALIDATION_FAILED, "/planner/horizon", reason)
