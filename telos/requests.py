"""What a planner is asked with. What is None is left to the server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from telos.images import ImageLike
from telos.replies import Embedding, PlannerConfig


@dataclass(frozen=True, eq=False)
class Observation:
    """What all of a model's sensors gave at one time, and no other sensor."""

    images: ImageLike | Mapping[str, ImageLike] = field(default_factory=dict)
    """By camera; one image alone is that of the model's only camera."""
    arrays: Mapping[str, ArrayLike] = field(default_factory=dict)
    """By sensor: a vector's [entries], in the units of `ModelInfo.sensors`."""
    step: int | None = None
    """The robot's own counter, in control steps. Has no meaning in a goal."""
    capture_time_us: int | None = None
    """On the robot's own clock. Has no meaning in a goal."""
    capture_times_us: Mapping[str, int] | None = None
    """By sensor, of those that were captured at another time; more than a control step apart is refused."""

    @classmethod
    def of_readings(cls, readings: Mapping[str, np.ndarray]) -> "Observation":
        """From one array a sensor, as Gymnasium gives them: uint8 [height, width, 3] is an image, others vectors."""
        images = {name: each for name, each in readings.items() if each.dtype == np.uint8 and each.ndim == 3}
        return cls(images, {name: each for name, each in readings.items() if name not in images})


ObservationLike = ImageLike | Mapping[str, ImageLike] | Observation


@dataclass(frozen=True, eq=False)
class Goal:
    """One of several goals, to be reached in order."""

    target: ObservationLike | Embedding
    weight: float | None = None
    """Against the other terms of the cost."""
    tolerance: float | None = None
    """Goal distance that counts as reached; 1 is that of unrelated frames."""


GoalLike = ObservationLike | Embedding | list[Goal] | tuple[Goal, ...]


@dataclass(frozen=True, kw_only=True)
class ActionLimits:
    """Physical units, one entry for each action. May only tighten the limits of the model."""

    min: tuple[float, ...]
    max: tuple[float, ...]
    max_delta: tuple[float, ...] = ()
    """Largest change from one control step to the next, also from the last action of the history; empty: any."""
    max_start_jump: tuple[float, ...] = ()
    """Largest change from the action before the plan to its first; empty: any."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KeepOut:
    """Latents to stay away from."""

    embeddings: tuple[Embedding, ...]
    radius: float
    """Goal distance; 1 is that of unrelated frames."""
    weight: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Cost:
    """What a plan is judged by, on top of the goal. Weights count against the goal's cost."""

    distance: Literal["squared", "absolute"] | None = None
    over: Literal["mean", "last", "closest"] | None = None
    """Which imagined steps count."""
    smoothness: float | None = None
    effort: float | None = None
    keep_out: tuple[KeepOut, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanOptions:
    """How to plan: what stays the same from one plan of a robot to the next."""

    config: PlannerConfig | None = None
    """How to search."""
    cost: Cost | None = None
    limits: ActionLimits | None = None
    planning_budget_ms: int | None = None
    """From arrival to reply; the best plan so far is returned then."""
    require_complete: bool | None = None
    """No plan rather than one cut off by its deadline, or the rest of the last one."""
    warm_start: bool | None = None
    """None: from the session's last plan when it has one; True: refuse when it has none."""
    hold_on_surprise: bool | None = None
    """No plan after a transition that is more surprising than the calibrated threshold."""
    include: tuple[Literal["costs", "latents"], ...] = ("costs",)


@dataclass(frozen=True, kw_only=True, eq=False)
class Underway:
    """What the robot runs while it waits for a plan."""

    actions: np.ndarray
    """[steps, actions], physical units: the plan begins with them and takes them into account."""
    delay_steps: int | None = None
    """Control steps that the reply leaves out, since the robot has run them when it comes."""
