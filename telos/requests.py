"""What a planner is asked with. What is None is left to the server."""

from dataclasses import dataclass
from typing import Literal

from telos.images import ImageLike
from telos.replies import Embedding


@dataclass(frozen=True, eq=False)
class Observation:
    """One frame of the model's camera. `step` is the robot's own counter, in control steps."""

    image: ImageLike
    step: int | None = None


@dataclass(frozen=True, eq=False)
class Goal:
    """One of several goals, to be reached in order."""

    target: ImageLike | Embedding
    weight: float | None = None
    """Against the other terms of the cost."""
    tolerance: float | None = None
    """Goal distance that counts as reached; 1 is that of unrelated frames."""


GoalLike = ImageLike | Embedding | list[Goal] | tuple[Goal, ...]


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
