"""Requests to a planner. The server decides on fields that are None."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from telos.images import ImageLike
from telos.replies import Embedding, PlannerConfig


@dataclass(frozen=True, eq=False)
class Observation:
    """Readings of all sensors of a model, and of no other sensor, at one time."""

    images: ImageLike | Mapping[str, ImageLike] = field(default_factory=dict)
    """Images by camera name. For a model with one camera, the image alone will do."""
    arrays: Mapping[str, ArrayLike] = field(default_factory=dict)
    """Readings by sensor name: [entries] of a vector, in the units of `ModelInfo.sensors`."""
    step: int | None = None
    """Number of control steps by the robot's own counter. Ignored in a goal."""
    capture_time_us: int | None = None
    """Time of capture on the robot's own clock. Ignored in a goal."""
    capture_times_us: Mapping[str, int] | None = None
    """Times of sensors that were captured at another time; the server refuses more than one control step."""

    @classmethod
    def of_readings(cls, readings: Mapping[str, np.ndarray]) -> "Observation":
        """Observation from one array for each sensor, as in Gymnasium. A uint8 array [height, width, 3] is an image."""
        images = {name: each for name, each in readings.items() if each.dtype == np.uint8 and each.ndim == 3}
        return cls(images, {name: each for name, each in readings.items() if name not in images})


ObservationLike = ImageLike | Mapping[str, ImageLike] | Observation


@dataclass(frozen=True, eq=False)
class Goal:
    """One of several goals, to be reached in order."""

    target: ObservationLike | Embedding
    weight: float | None = None
    """Weight against the other terms of the cost."""
    tolerance: float | None = None
    """Largest goal distance that counts as reached; 1 is the distance of unrelated frames."""


GoalLike = ObservationLike | Embedding | list[Goal] | tuple[Goal, ...]


@dataclass(frozen=True, kw_only=True)
class ActionLimits:
    """Limits in physical units, one entry for each action. They may only tighten those of the model."""

    min: tuple[float, ...]
    max: tuple[float, ...]
    max_delta: tuple[float, ...] = ()
    """Largest change from one control step to the next, the last action of the history included; empty for no limit."""
    max_start_jump: tuple[float, ...] = ()
    """Largest change from the action before the plan to its first; empty for no limit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class KeepOut:
    """Latents to stay away from."""

    embeddings: tuple[Embedding, ...]
    radius: float
    """Radius in units of goal distance; 1 is the distance of unrelated frames."""
    weight: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Cost:
    """Terms of a plan's cost beside the goal. Weights are relative to the goal's cost."""

    distance: Literal["squared", "absolute"] | None = None
    over: Literal["mean", "last", "closest"] | None = None
    """Imagined steps that count."""
    smoothness: float | None = None
    effort: float | None = None
    keep_out: tuple[KeepOut, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanOptions:
    """Options that stay the same from one plan of a robot to the next."""

    config: PlannerConfig | None = None
    """Settings of the search."""
    cost: Cost | None = None
    limits: ActionLimits | None = None
    planning_budget_ms: int | None = None
    """Time from arrival to reply, when the server returns the best plan so far."""
    require_complete: bool | None = None
    """Refuse rather than return a plan cut off by its deadline, or the rest of the last plan."""
    warm_start: bool | None = None
    """None: start from the session's last plan if there is one. True: refuse if there is none."""
    hold_on_surprise: bool | None = None
    """Refuse after a transition that is more surprising than the calibrated threshold."""
    include: tuple[Literal["costs", "latents"], ...] = ("costs",)


@dataclass(frozen=True, kw_only=True, eq=False)
class Underway:
    """Actions that the robot executes while it waits for a plan."""

    actions: np.ndarray
    """[steps, actions] in physical units. The plan begins with them."""
    delay_steps: int | None = None
    """Control steps that the reply leaves out, since the robot has executed them when it arrives."""
