"""A question: all that decides a plan but what the robot sees, checked, and with what its search needs."""

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
"""The latent distance to a goal that counts as reached, unless a request says otherwise."""


@dataclass(frozen=True, kw_only=True)
class CostTerms:
    """The terms of a plan's cost, without the latents. Robots whose terms are equal are scored together."""

    distance: DistanceName = "squared"
    over: Over = "mean"
    goal_weight: float = 1.0
    smoothness: float = 0.0
    effort: float = 0.0
    keep_out: tuple[tuple[float, float, int], ...] = ()
    """Weight, radius and number of latents of each set to keep out of."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A goal without its observation."""

    latents: Tensor | None = None
    """[n d]; None when the goal is an observation."""
    terms: CostTerms = CostTerms()
    """The cost of a plan while this goal is the active one."""
    tolerance: float = GOAL_TOLERANCE


@dataclass(frozen=True, kw_only=True)
class Question:
    """A plan to make, and how to make it. It holds no observation."""

    checkpoint: Checkpoint
    preset: Preset
    preset_name: str = "default"
    bounds: Bounds
    space: SearchSpace
    past_actions: Tensor
    """[1 t-1 a], unitless, between the frames of the context."""
    targets: tuple[Target, ...] = (Target(),)
    """The goals in order."""
    active_goal: int = 0
    """The goal that was active when the last plan was made."""
    avoid: tuple[Tensor, ...] = ()
    """[1 m n d] for each set of latents to keep out of."""
    warm_start: Tensor | None = None
    """[k v], what is left of the last plan."""
    seed: int
    min_iterations: int = 1
    """Iterations that a plan needs before it may be an answer."""
    hold_above: float | None = None
    """The surprise above which no plan is made; None: any."""
    first_step: int = 0
    """The plan's first control step on the robot's counter, committed actions included."""
    delay_steps: int = 0
    """How many of the plan's first control steps the robot will have run when the reply arrives."""
    action_before: np.ndarray | None = None
    """[actions], physical, run just before the first action of the reply; None when it is not known."""

    @property
    def action(self) -> ActionSpec:
        """The model's actions."""
        return action_spec(self.checkpoint)

    @property
    def planning(self) -> PlanningSpec:
        """How the model plans."""
        return planning_spec(self.checkpoint)

    @property
    def searched(self) -> tuple[str, str, int]:
        """The things that give search variables their meaning: the model, the search space and the horizon."""
        return self.checkpoint.manifest_sha256, self.preset.search_space, self.preset.horizon


def action_spec(checkpoint: Checkpoint) -> ActionSpec:
    """The actions of a model that plans or scores."""
    assert checkpoint.manifest.action is not None  # a request for anything else was refused
    return checkpoint.manifest.action


def planning_spec(checkpoint: Checkpoint) -> PlanningSpec:
    """The planning section of a model that plans."""
    assert checkpoint.manifest.planning is not None  # a request to plan with another was refused
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
    """A question of so many goals within the model's own limits, with the default cost.

    `past_actions` [1 t-1 a] are none for a single frame; `warm_start` is [k v].
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
    """The space of all actions that obey the limits. Raises ValueError when there are none."""
    low, high = (edge.to(checkpoint.device) for edge in limits.unitless)
    return build_space(
        preset,
        low=low,
        high=high,
        control_steps=limits.spec.control_steps,
        constraints=None if limits.motion is None else limits.motion.constraints(checkpoint.device),
    )


def cost_of(checkpoint: Checkpoint, terms: CostTerms, goals: Tensor, avoid: Sequence[Tensor] = ()) -> CostFunction:
    """The cost for robots whose goals are [b n d], and which keep out of each of `avoid`, [b m n d]."""
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
