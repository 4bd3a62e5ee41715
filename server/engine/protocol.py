"""What the front asks of whatever plans for it: an engine in this process, or in one of its own.

Without torch: who only knows this protocol can answer before a model is loaded, and outlives one that crashes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from server import schemas


class EnginePoisonedError(Exception):
    """Whatever is computed from now on in this process fails: it must be started again."""


@dataclass(frozen=True)
class WarmStart:
    """A plan's search variables, for the next search to begin with. An engine remembers none: who asks keeps it."""

    variables: np.ndarray
    """[k v], float32"""
    first_step: int
    """On the robot's own counter of control steps."""
    manifest_sha256: str
    search_space: str
    horizon: int
    """Variables of another model, search space or horizon mean something else."""


MOST_STEPS = 4096
"""That are kept for whoever asks next; older ones are lost."""


@dataclass(frozen=True)
class Step:
    """One iteration, of all the robots that shared it."""

    model: str
    robots: int
    seconds: float


@dataclass(frozen=True)
class Work:
    """What an engine has been doing since it was last asked."""

    waiting: int = 0
    """Requests without a first plan, now."""
    steps: tuple[Step, ...] = ()
    restarts: int = 0
    """Of its process, since the server started."""


@dataclass(frozen=True)
class Planned:
    """A plan, or the best one so far."""

    response: schemas.PlanResponse
    warm_start: WarmStart


Incumbents = Callable[[Planned], None]
"""Takes the best plan so far, on the event loop, each time that it has become better."""


class Engine(Protocol):
    """Stateless but for its models. Belongs to one event loop. Every request carries its request_id."""

    @property
    def models(self) -> Sequence[schemas.ModelInfo]:
        """Those known at the moment."""
        ...

    def why_not_ready(self) -> list[str]:
        """Empty when every model can be planned with."""
        ...

    def work(self) -> Work:
        """For who measures. Each step is told once."""
        ...

    async def load(self, folder: str) -> schemas.ModelInfo:
        """Serve the model of a folder of the checkpoints folder, in place of the one of its name.

        Raises ServiceError (model-refused); then everything is as it was.
        """
        ...

    async def unload(self, name: str) -> schemas.ModelInfo:
        """Serve a model no longer; what was accepted is finished. Raises ServiceError (model-not-found)."""
        ...

    async def start(self) -> None:
        """Ready when it returns. Raises SettingsError or CheckpointError when it never will be."""
        ...

    async def stop(self) -> None:
        """Nothing is answered any more."""
        ...

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> Planned:
        """By `deadline`, on the monotonic clock in seconds, may be infinite. Raises ServiceError."""
        ...

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        """How surprising each transition of a clip is. Raises ServiceError."""
        ...

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        """Latents of images. Raises ServiceError."""
        ...
