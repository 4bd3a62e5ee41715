"""What a plan is judged by: the terms that a request names, over the goal and the latents to keep out of."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from planner.costs import (
    ControlEffort,
    DistanceName,
    KeepOut,
    Over,
    Smoothness,
    SquaredDistance,
    WeightedSum,
    goal_cost,
)
from planner.protocols import Cost
from server import schemas
from server.engine.registry import ServedModel
from worldmodel.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class CostTerms:
    """All but the latents. Robots whose terms are equal are scored together."""

    distance: DistanceName
    over: Over
    goal_weight: float
    smoothness: float
    effort: float
    keep_out: tuple[tuple[float, float, int], ...]
    """Weight, radius, and how many latents, of each."""

    @classmethod
    def of(cls, asked: schemas.Cost, goal_weight: float) -> "CostTerms":
        return cls(
            distance=asked.distance,
            over=asked.over,
            goal_weight=goal_weight,
            smoothness=asked.smoothness,
            effort=asked.effort,
            keep_out=tuple((each.weight, each.radius, len(each.embeddings)) for each in asked.keep_out),
        )


def cost_to_goal(
    checkpoint: Checkpoint, goals: Tensor, *, over: Over = "mean", distance: DistanceName = "squared"
) -> Cost:
    """Of goals [b n d], with every distance that the model has."""
    return goal_cost(
        goals,
        scale=checkpoint.manifest.planning.goal_distance_scale,
        steps_to_go=checkpoint.steps_to_go,
        task_distance=checkpoint.task_distance,
        over=over,
        distance=distance,
    )


def cost_of(model: ServedModel, terms: CostTerms, goals: Tensor, avoid: Sequence[Tensor]) -> Cost:
    """For robots whose goals are [b n d], and which keep out of each of `avoid`, [b m n d]."""
    to_goal = cost_to_goal(model.checkpoint, goals, over=terms.over, distance=terms.distance)
    distance = SquaredDistance(model.manifest.planning.goal_distance_scale)
    weighted: list[tuple[float, Cost]] = [
        (terms.goal_weight, to_goal),
        (terms.smoothness, Smoothness(model.manifest.action.control_steps)),
        (terms.effort, ControlEffort()),
        *(
            (weight, KeepOut(distance, latents, radius))
            for (weight, radius, _), latents in zip(terms.keep_out, avoid, strict=True)
        ),
    ]
    wanted = tuple((weight, cost) for weight, cost in weighted if weight)
    return to_goal if wanted == ((1.0, to_goal),) or not wanted else WeightedSum(wanted)
