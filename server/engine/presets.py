"""Presets of the planner: those that a model can run, and the one that a request names."""

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
"""Default presets of a search and of a policy."""


def as_config(name: str, preset: Preset) -> PlannerConfig:
    """The preset as settings that a request may send, without those that it ignores."""
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
    """Presets that a model can run, with its own horizon."""
    planning = checkpoint.manifest.planning
    if planning is None:
        return []
    return [
        as_config(name, dataclasses.replace(preset, horizon=planning.horizon))
        for name, preset in PRESETS.items()
        if not _lacks(checkpoint, preset)
    ]


def default_preset(checkpoint: Checkpoint) -> str:
    """Name of the preset for requests that name none."""
    return POLICY if checkpoint.world_model is None else SEARCHING


def choose_preset(checkpoint: Checkpoint, config: PlannerConfig, settings: Settings) -> tuple[str, Preset]:
    """Name of a request's preset, and the preset with the request's changes. Raises ServiceError."""
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
        reason = (
            f"{given!r} needs a {lack}, and {checkpoint.manifest.name} has none; choose one of {_listed(checkpoint)}"
        )
        raise refuse(Code.VALIDATION_FAILED, f"/planner/{field}", reason)
    _check_chunk(checkpoint, preset)
    imagined = preset.candidates * preset.iterations * preset.horizon
    check_most(imagined, settings.max_imagined_steps, "/planner", "samples x iterations x horizon")
    return name, preset


def _listed(checkpoint: Checkpoint) -> str:
    """Names of the presets that a model can run, for error messages."""
    return ", ".join(str(preset.preset) for preset in presets_of(checkpoint))


def _lacks(checkpoint: Checkpoint, preset: Preset) -> str:
    """Name of the part that a model lacks for the preset; empty if it has all parts."""
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
    """Raises ServiceError for another horizon than the policy's own, if no world model can extend it."""
    chunk = planning_spec(checkpoint).horizon
    if checkpoint.world_model is None and preset.horizon != chunk:
        reason = f"given {preset.horizon}; this model's policy answers {chunk} model steps at once: leave horizon out"
        raise refuse(Code.VALIDATION_FAILED, "/planner/horizon", reason)
