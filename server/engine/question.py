"""Question: everything that determines a plan except the observations, checked and ready for the search."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from planner.costs import (
    ControlEffort,
    DistanceName,
    KeepOutCost,
    Over,
    Smoothness,
    SquaredDistance,
    WeightedSum,
    goal_cost,
)
from planner.presets import Preset, build_space
from planner.protocols import CostFunction
from planner.search_space import SearchSpace
from server.engine.actions import Bounds, bounds
from worldmodel import ActionSpec, Checkpoint, PlanningSpec

GOAL_TOLERANCE = 0.05
"""Default of the largest latent distance at which a goal counts as reached."""


@dataclass(frozen=True, kw_only=True)
class CostTerms:
    """Terms of a plan's cost, without the latents. Robots with equal terms are scored together."""

    distance: DistanceName = "squared"
    over: Over = "mean"
    goal_weight: float = 1.0
    smoothness: float = 0.0
    effort: float = 0.0
    keep_out: tuple[tuple[float, float, int], ...] = ()
    """Weight, radius and number of latents of each set to stay away from."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A goal without its observation."""

    latents: Tensor | None = None
    """Latents of the goal, [n d]; None if the goal is an observation."""
    terms: CostTerms = CostTerms()
    """Terms of the cost while this goal is active."""
    tolerance: float = GOAL_TOLERANCE


@dataclass(frozen=True, kw_only=True)
class Question:
    """A plan to make, without the observations."""

    checkpoint: Checkpoint
    preset: Preset
    preset_name: str = "default"
    bounds: Bounds
    space: SearchSpace
    past_actions: Tensor
    """Unitless actions between the frames of the context, [1 t-1 a]."""
    targets: tuple[Target, ...] = (Target(),)
    """Goals in order."""
    active_goal: int = 0
    """Index of the goal that was active in the last plan."""
    avoid: tuple[Tensor, ...] = ()
    """Latents of each set to stay away from, [1 m n d]."""
    warm_start: Tensor | None = None
    """Search variables that are left of the last plan, [k v]."""
    seed: int
    min_iterations: int = 1
    """Iterations that a plan needs before it may be returned."""
    hold_above: float | None = None
    """Surprise above which no plan is made; None for no threshold."""
    first_step: int = 0
    """First control step of the plan on the robot's counter, committed actions included."""
    delay_steps: int = 0
    """Control steps of the plan that the robot will have executed when the reply arrives."""
    action_before: np.ndarray | None = None
    """Action before the first one of the reply, [actions] in physical units; None if unknown."""

    @property
    def action(self) -> ActionSpec:
        """Actions of the model."""
        return action_spec(self.checkpoint)

    @property
    def planning(self) -> PlanningSpec:
        """Planning section of the model."""
        return planning_spec(self.checkpoint)

    @property
    def searched(self) -> tuple[str, str, int]:
        """Model, search space and horizon, for which alone search variables are valid."""
        return self.checkpoint.manifest_sha256, self.preset.search_space, self.preset.horizon


def action_spec(checkpoint: Checkpoint) -> ActionSpec:
    """Actions of a model that plans or scores."""
    assert checkpoint.manifest.action is not None  # requests for other models were refused
    return checkpoint.manifest.action


def planning_spec(checkpoint: Checkpoint) -> PlanningSpec:
    """Planning section of a model that plans."""
    assert checkpoint.manifest.planning is not None  # requests for other models were refused
    return checkpoint.manifest.planning


def plain_question(
    checkpoint: Checkpoint,
    preset: Preset,
    seed: int,
    *,
    goals: int = 1,
    past_actions: Tensor | None = None,
    warm_start: Tensor | None = None,
) -> Question:
    """Question with `goals` goals, the model's own limits and the default cost.

    `past_actions` [1 t-1 a] may be left out for a single frame; `warm_start` is [k v].
    """
    action = action_spec(checkpoint)
    limits = bounds(action, None)
    if past_actions is None:
        past_actions = torch.zeros(1, 0, action.width, device=checkpoint.device)
    return Question(
        checkpoint=checkpoint,
        preset=preset,
        bounds=limits,
        space=space_of(preset, limits, checkpoint),
        past_actions=past_actions,
        targets=(Target(),) * goals,
        warm_start=warm_start,
        seed=seed,
    )


def space_of(preset: Preset, limits: Bounds, checkpoint: Checkpoint) -> SearchSpace:
    """Search space of the actions that obey the limits. Raises ValueError if there are none."""
    low, high = (edge.to(checkpoint.device) for edge in limits.unitless)
    return build_space(
        preset,
        low=low,
        high=high,
        control_steps=limits.spec.control_steps,
        constraints=None if limits.motion is None else limits.motion.constraints(checkpoint.device),
    )


def cost_of(checkpoint: Checkpoint, terms: CostTerms, goals: Tensor, avoid: Sequence[Tensor] = ()) -> CostFunction:
    """Cost for robots with goals [b n d] that stay away from each of `avoid`, [b m n d]."""
    scale = planning_spec(checkpoint).goal_distance_scale
    learned = tuple(checkpoint.distances.values())
    to_goal = goal_cost(goals, scale=scale, learned=learned, over=terms.over, distance=terms.distance)
    distance = SquaredDistance(scale)
    weighted: list[tuple[float, CostFunction]] = [
        (terms.goal_weight, to_goal),
        (terms.smoothness, Smoothness(action_spec(checkpoint).control_steps)),
        (terms.effort, ControlEffort()),
        *(
            (weight, KeepOutCost(distance, latents, radius))
            for (weight, radius, _), latents in zip(terms.keep_out, avoid, strict=True)
        ),
    ]
    wanted = tuple((weight, cost) for weight, cost in weighted if weight)
    return to_goal if wanted == ((1.0, to_goal),) or not wanted else WeightedSum(wanted)
