"""Translates requests into dictionaries of the wire. Keys whose value is None are left out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from telos.images import Format, encode_image
from telos.observations import errors_at, observed
from telos.replies import Embedding, ModelInfo, Session
from telos.requests import Cost, Goal, GoalLike, ObservationLike, PlanOptions, Underway


def observation_payload(seen: ObservationLike, model: ModelInfo, image_format: Format) -> dict[str, Any]:
    """Fields of an Observation. Raises ValueError for readings that do not fit the model's sensors."""
    given = observed(seen, model)
    assert isinstance(given.images, Mapping)  # `observed` names them
    fields = {
        "images": {name: encode_image(image, image_format) for name, image in given.images.items()},
        "arrays": dict(given.arrays),
        "step": given.step,
        "capture_time_us": given.capture_time_us,
        "capture_times_us": given.capture_times_us,
    }
    return without_none(fields)


def goals_payload(goal: GoalLike, model: ModelInfo, image_format: Format) -> list[dict[str, Any]]:
    """One goal, or several in order. Raises ValueError as `observation_payload` does."""
    if not isinstance(goal, list | tuple):
        with errors_at("goal"):
            return [_goal(Goal(goal), model, image_format)]
    payloads = []
    for index, each in enumerate(goal):
        with errors_at(f"goal[{index}]"):
            payloads.append(_goal(each, model, image_format))
    return payloads


def options_payload(options: PlanOptions) -> dict[str, Any]:
    """Fields of a PlanRequest."""
    limits = None if options.limits is None else {key: list(value) for key, value in asdict(options.limits).items()}
    fields = {
        "planner": None if options.config is None else without_none(asdict(options.config)),
        "cost": None if options.cost is None else _cost(options.cost),
        "limits": limits,
        "planning_budget_ms": options.planning_budget_ms,
        "require_complete": options.require_complete,
        "warm_start": options.warm_start,
        "hold_on_surprise": options.hold_on_surprise,
        "include": list(options.include),
    }
    return without_none(fields)


def session_payload(session: str | Session | None) -> dict[str, Any]:
    """Fields of a PlanRequest. A Session adds its epoch, so that the plan is refused when it was reset since."""
    if isinstance(session, Session):
        return {"session_id": session.session_id, "session_epoch": session.epoch}
    return {} if session is None else {"session_id": session}


def underway_payload(underway: Underway | None) -> dict[str, Any]:
    """Fields of a PlanRequest."""
    if underway is None:
        return {}
    actions = np.asarray(underway.actions, dtype=np.float64)
    return without_none({"committed_actions": actions, "inference_delay_steps": underway.delay_steps})


def actions_payload(blocks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Actions executed between frames, each [control_steps, actions] in physical units."""
    return [np.asarray(block, dtype=np.float64) for block in blocks]


def without_none(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without keys whose value is None."""
    return {key: value for key, value in payload.items() if value is not None}


def _goal(goal: Goal, model: ModelInfo, image_format: Format) -> dict[str, Any]:
    if not isinstance(goal, Goal):
        raise ValueError(f"given {type(goal).__name__}; wanted a Goal: several goals are a list of Goal")
    target = _target(goal.target, model, image_format)
    return without_none({**target, "weight": goal.weight, "tolerance": goal.tolerance})


def _target(target: ObservationLike | Embedding, model: ModelInfo, image_format: Format) -> dict[str, Any]:
    if isinstance(target, Embedding):
        return {"embedding": _embedding(target)}
    timeless = replace(observed(target, model), step=None, capture_time_us=None, capture_times_us=None)
    return {"observation": observation_payload(timeless, model, image_format)}


def _embedding(embedding: Embedding) -> dict[str, Any]:
    return {"space_id": embedding.space_id, "latents": embedding.latents}


def _cost(cost: Cost) -> dict[str, Any]:
    areas = [
        without_none(
            {"embeddings": [_embedding(e) for e in area.embeddings], "radius": area.radius, "weight": area.weight}
        )
        for area in cost.keep_out
    ]
    plain = {"distance": cost.distance, "over": cost.over, "smoothness": cost.smoothness, "effort": cost.effort}
    return without_none({**plain, "keep_out": areas or None})
