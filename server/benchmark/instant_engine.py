"""An engine that imagines nothing, to measure the cost of everything around the planner.

`python -m server.benchmark.instant_engine PLAN_S FD` runs one in a process of its own, as the front starts it.
"""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from server import schemas
from server.engine.channel import Channel
from server.engine.host import host
from server.engine.protocol import EngineActivity, EngineReply, Incumbents, WarmStart
from server.errors import Code, ServiceError
from server.process import run_loop
from telos import __version__

NAME = "instant"
SHA256 = "0" * 64
HORIZON = 5
CONFIG = schemas.PlannerConfig(algorithm="cem", search_space="constant", horizon=HORIZON, seed=0)
ACTION = schemas.ActionInfo(
    names=["x", "y"], units=["m/s", "m/s"], low=[-1.0, -1.0], high=[1.0, 1.0], dt_ms=100.0, control_steps=5
)
PROVENANCE = schemas.Provenance(
    model_name=NAME,
    model_version="1",
    weights_sha256=SHA256,
    manifest_sha256=SHA256,
    effective_planner=CONFIG,
    server_version=__version__,
    device="none",
    dtype="none",
)

Script = Callable[[schemas.PlanRequest], np.ndarray]
"""Function that makes a request's actions: [steps, actions] in physical units, whole model steps within limits."""


def zeros(request: schemas.PlanRequest) -> np.ndarray:
    return np.zeros((HORIZON * ACTION.control_steps, len(ACTION.names)))


class InstantEngine:
    """Serves one model, `instant`, with scripted plans. Each occupies a device for `plan_s`, one plan at a time."""

    def __init__(self, plan_s: float = 0.0, script: Script = zeros, action: schemas.ActionInfo = ACTION) -> None:
        self._plan_s = plan_s
        self._script = script
        self._action = action
        self.on_change: Callable[[], None] = lambda: None
        self._free = 0.0
        """Time at which the device will be free, on the monotonic clock."""

    @property
    def models(self) -> Sequence[schemas.ModelInfo]:
        info = schemas.ModelInfo(
            name=NAME,
            version="1",
            recipe="none",
            task="",
            ready=True,
            sensors=[schemas.SensorInfo(name="top", kind="camera", shape=[64, 64, 3])],
            latent_shape=[1, 1],
            action=self._action,
            context_frames=3,
            horizon=HORIZON,
            presets=[],
            surprise_threshold=1.0,
            space_id=NAME,
            weights_sha256=SHA256,
            manifest_sha256=SHA256,
            device="cpu",
            dtype="float32",
        )
        return [info]

    def why_not_ready(self) -> list[str]:
        return []

    def step_s(self) -> float:
        """Always 0: it never computes."""
        return 0.0

    def activity(self) -> EngineActivity:
        """Always empty: nothing is measured."""
        return EngineActivity()

    async def load(self, folder: str) -> schemas.ModelInfo:
        """Always raises ServiceError."""
        raise ServiceError(Code.MODEL_REFUSED, "this engine has the one model")

    async def unload(self, name: str) -> schemas.ModelInfo:
        """Always raises ServiceError."""
        raise ServiceError(Code.MODEL_REFUSED, "this engine has the one model")

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        """A scripted plan. Raises ServiceError (deadline-infeasible) at once if the device cannot make it in time."""
        queue_s = await self._use_device(deadline)
        first_step = request.context[-1].step or 0
        actions = self._script(request)
        response = schemas.PlanResponse(
            request_id=request.request_id or "",
            session_id=request.session_id,
            status="MAX_ITERATIONS",
            chunk=self._chunk(actions, first_step),
            predicted_cost=0.0,
            goal_distance=1.0,
            planned_goal_distance=1.0,
            goal_distances=[1.0] * len(request.goals),
            active_goal=0,
            goal_reached=False,
            iterations_completed=1,
            warm_started=warm_start is not None,
            costs=[0.0] if "costs" in request.include else [],
            timing=schemas.Timing(
                decode_us=0, queue_us=round(queue_s * 1e6), encode_us=0, plan_us=0, total_us=0, late_us=0
            ),
            safety=schemas.SafetyReport(saturated_fraction=0.0, max_step_delta=[], start_jump=[], within_limits=True),
            provenance=PROVENANCE,
        )
        return EngineReply(response, WarmStart(np.zeros((1, 1), np.float32), first_step, SHA256, "constant", HORIZON))

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        calm = [0.0] * len(request.actions)
        return schemas.AnomalyResponse(
            request_id=request.request_id or "",
            surprise=calm,
            p_value=[1.0] * len(calm),
            threshold=1.0,
            is_anomalous=False,
            provenance=PROVENANCE,
        )

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        return schemas.EncodeResponse(
            request_id=request.request_id or "",
            embeddings=np.zeros((len(request.observations), 1, 1), np.float32),
            space_id=NAME,
            provenance=PROVENANCE,
        )

    def _chunk(self, actions: np.ndarray, first_step: int) -> schemas.ActionChunk:
        spec = self._action
        return schemas.ActionChunk(
            actions=actions,
            action_names=spec.names,
            action_units=spec.units,
            dt_ms=spec.dt_ms,
            control_steps=spec.control_steps,
            first_step=first_step,
            valid_for_ms=len(actions) * spec.dt_ms,
        )

    async def _use_device(self, deadline: float) -> float:
        """Wait for the device and use it; returns the seconds waited. Requests are served in the order of arrival."""
        now = time.monotonic()
        begin = max(now, self._free)
        if begin + self._plan_s > deadline:
            raise ServiceError(Code.DEADLINE_INFEASIBLE, "the device is taken until the deadline is over")
        if self._plan_s:
            self._free = begin + self._plan_s
            await asyncio.sleep(self._free - now)
        return begin - now


async def _main() -> None:
    await host(InstantEngine(float(sys.argv[1])), await Channel.open(socket.socket(fileno=int(sys.argv[-1]))))


if __name__ == "__main__":
    run_loop(_main())
    os._exit(0)
