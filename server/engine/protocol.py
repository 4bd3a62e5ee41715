"""The interface between the front and an engine, whether the engine runs in this process or in one of its own.

This module needs no torch: code that knows only this protocol can answer before a model is loaded, and outlives an
engine that crashes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from server import schemas
from server.errors import Code, ServiceError, refuse

MOST_ITERATIONS = 4096
"""Most iterations that are kept until `Engine.activity` is called; older ones are lost."""


class EnginePoisonedError(Exception):
    """Everything that this process computes from now on fails: it must be started again."""


@dataclass(frozen=True)
class WarmStart:
    """A plan's search variables, for the next search to begin with. The caller keeps it: an engine remembers none."""

    variables: np.ndarray
    """[k v], float32"""
    first_step: int
    """The plan's first control step, on the robot's own counter."""
    manifest_sha256: str
    search_space: str
    horizon: int
    """Variables of another model, search space or horizon mean something else."""


@dataclass(frozen=True)
class SharedIteration:
    """One iteration of all the searches that shared a rollout."""

    model: str
    robots: int
    seconds: float


@dataclass(frozen=True)
class EngineActivity:
    """The work of an engine since this was last asked for."""

    waiting: int = 0
    """Requests without a first plan, now."""
    iterations: tuple[SharedIteration, ...] = ()
    restarts: int = 0
    """Restarts of its process since the server started."""


@dataclass(frozen=True)
class EngineReply:
    """A plan, or the best one so far, with what the next search may begin from."""

    response: schemas.PlanResponse
    warm_start: WarmStart


Incumbents = Callable[[EngineReply], None]
"""Called on the event loop with the best plan so far, each time that a better one was found."""


class Engine(Protocol):
    """Remembers nothing but its models. Belongs to one event loop. Every request carries its request_id."""

    @property
    def models(self) -> Sequence[schemas.ModelInfo]:
        """The models known at the moment."""
        ...

    def why_not_ready(self) -> list[str]:
        """Reasons why some model cannot be used yet; empty when all can."""
        ...

    def activity(self) -> EngineActivity:
        """The engine's recent work, for metrics. Each iteration is reported once."""
        ...

    async def load(self, folder: str) -> schemas.ModelInfo:
        """Serve the model of a folder of the checkpoints folder, in place of the one of its name.

        Raises ServiceError (model-refused); then nothing has changed.
        """
        ...

    async def unload(self, name: str) -> schemas.ModelInfo:
        """Stop serving a model; accepted requests are finished. Raises ServiceError (model-not-found)."""
        ...

    async def start(self) -> None:
        """Returns when the engine is ready. Raises SettingsError or CheckpointError when it never will be."""
        ...

    async def stop(self) -> None:
        """Answer nothing any more."""
        ...

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        """Plan by `deadline`, on the monotonic clock in seconds; it may be infinite. Raises ServiceError."""
        ...

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        """Score how surprising each transition of a clip is. Raises ServiceError."""
        ...

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        """Encode observations into latents. Raises ServiceError."""
        ...


def infeasible(why: str) -> ServiceError:
    """The refusal of a request that cannot be answered by its deadline."""
    remedy = "give it more time with planning_budget_ms, search less, or ask again later"
    return ServiceError(Code.DEADLINE_INFEASIBLE, f"no plan can be had by the deadline: {why}; {remedy}")


def no_warm_start() -> ServiceError:
    """The refusal of a request that demands a warm start in vain."""
    reason = "nothing is remembered that this plan could start from; leave warm_start out to start afresh"
    return refuse(Code.SESSION_NOT_FOUND, "/session_id", reason)
