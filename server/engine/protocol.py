"""Interface between the front and an engine, in the same process or in another one.

This module needs no torch, so that the front can answer before a model is loaded and after an engine has crashed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from server import schemas
from server.errors import Code, ServiceError, refuse

MOST_ITERATIONS = 4096
"""Most iterations that are kept for `Engine.activity`; older ones are lost."""


class EnginePoisonedError(Exception):
    """The device has failed for good in this process, which must be started again."""


@dataclass(frozen=True)
class WarmStart:
    """Search variables of a plan, from which the next search begins. The caller keeps them, not the engine."""

    variables: np.ndarray
    """[k v], float32"""
    first_step: int
    """First control step of the plan, on the robot's counter."""
    manifest_sha256: str
    search_space: str
    horizon: int
    """Horizon in model steps. Variables are valid for one model, search space and horizon only."""


@dataclass(frozen=True)
class SharedIteration:
    """One iteration of searches that shared a rollout."""

    model: str
    robots: int
    seconds: float


@dataclass(frozen=True)
class EngineActivity:
    """Work of an engine since the last report."""

    waiting: int = 0
    """Number of requests that have no plan yet."""
    iterations: tuple[SharedIteration, ...] = ()
    restarts: int = 0
    """Number of restarts of the engine process since the server started."""


@dataclass(frozen=True)
class EngineReply:
    """A plan, or the best one so far, with the warm start of the next search."""

    response: schemas.PlanResponse
    warm_start: WarmStart


Incumbents = Callable[[EngineReply], None]
"""Function that is called on the event loop with each better plan."""


class Engine(Protocol):
    """Plans, scores and encodes, with no state but its models. Belongs to one event loop."""

    @property
    def models(self) -> Sequence[schemas.ModelInfo]:
        """Present models."""
        ...

    def why_not_ready(self) -> list[str]:
        """Reasons why some model cannot be used yet; empty when all can."""
        ...

    def activity(self) -> EngineActivity:
        """The engine's recent work, for metrics. Each iteration is reported once."""
        ...

    async def load(self, folder: str) -> schemas.ModelInfo:
        """Serve the model of a checkpoint folder, in place of the one of the same name.

        Raises ServiceError (model-refused), and then changes nothing.
        """
        ...

    async def unload(self, name: str) -> schemas.ModelInfo:
        """Stop serving a model. Accepted requests are finished. Raises ServiceError (model-not-found)."""
        ...

    async def start(self) -> None:
        """Wait until the engine is ready. Raises SettingsError or CheckpointError if it never will be."""
        ...

    async def stop(self) -> None:
        """Stop the engine; open calls fail."""
        ...

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        """Plan by `deadline`, on the monotonic clock in seconds, which may be infinite. Raises ServiceError."""
        ...

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        """Score how surprising each transition of a clip is. Raises ServiceError."""
        ...

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        """Encode observations into latents. Raises ServiceError."""
        ...


def infeasible(why: str) -> ServiceError:
    """Error for a request that cannot be answered by its deadline."""
    remedy = "give it more time with planning_budget_ms, search less, or ask again later"
    return ServiceError(Code.DEADLINE_INFEASIBLE, f"no plan can be had by the deadline: {why}; {remedy}")


def no_warm_start() -> ServiceError:
    """Error for a request that demands a warm start when there is none."""
    reason = "nothing is remembered that this plan could start from; leave warm_start out to start afresh"
    return refuse(Code.SESSION_NOT_FOUND, "/session_id", reason)
