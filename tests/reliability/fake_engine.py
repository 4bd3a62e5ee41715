"""An engine that does as it is told, hosted in a process like a real one: `python -m tests.reliability.fake_engine FD`.

What it does with a plan request is the first word of its request_id:

- `plan`: max_iterations of PAUSE_S each, costs that fall, and actions of zeros;
- `crash`, `kill`: the process ends, by itself or by SIGKILL;
- `hang`: the event loop stands still; `stuck`: only the computation does;
- `poison`: the device does nothing any more;
- `garble`: what is answered is no plan; `late`: an answer long after the deadline;
- `nan_cost`, `nan_action`, `wild_action`, `nan_variables`: a plan that must not leave.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time

import numpy as np

from server import schemas
from server.benchmark.instant_engine import InstantEngine
from server.engine.channel import Channel
from server.engine.host import host
from server.engine.protocol import EnginePoisonedError, EngineReply, Incumbents, WarmStart
from server.errors import Code, ServiceError

MODEL = "fake"
PAUSE_S = 0.005
COMMAND = (sys.executable, "-P", "-m", "tests.reliability.fake_engine")
CRASHES_AT_START = (sys.executable, "-P", "-c", "import os; os.abort()")
SPEC = schemas.ActionInfo(
    names=["x", "y"], units=["m/s", "m/s"], low=[-1.0, -1.0], high=[1.0, 1.0], dt_ms=100.0, control_steps=5
)
SHA = "f" * 64


class FakeEngine(InstantEngine):
    """Knows one model, without torch."""

    def __init__(self) -> None:
        super().__init__()
        self._stuck_since: float | None = None
        self._ready = False

    @property
    def models(self) -> list[schemas.ModelInfo]:
        return [model(ready=self._ready)]

    def why_not_ready(self) -> list[str]:
        return [] if self._ready else ["fake is being warmed up"]

    def step_s(self) -> float:
        return 0.0 if self._stuck_since is None else time.monotonic() - self._stuck_since

    async def start(self) -> None:
        self._ready = True

    async def stop(self) -> None:
        self._ready = False

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        await self._misbehave(kind := (request.request_id or "plan").split("-")[0], deadline)
        costs: list[float] = []
        for iteration in range(request.planner.max_iterations or 3):
            await asyncio.sleep(PAUSE_S)
            costs.append(1 / (iteration + 1))
            if on_incumbent is not None:
                on_incumbent(planned(request, costs, kind, warm_start))
            if time.monotonic() > deadline:
                break
        return planned(request, costs, kind, warm_start)

    async def anomaly(self, request: schemas.AnomalyRequest) -> schemas.AnomalyResponse:
        raise ServiceError(Code.VALIDATION_FAILED, "a fake scores nothing")

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        raise RuntimeError("a defect")

    async def _misbehave(self, kind: str, deadline: float) -> None:
        match kind:
            case "crash":
                os.abort()
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(1000)
            case "stuck":
                self._stuck_since = time.monotonic()
                await asyncio.sleep(1000)
            case "late":
                await asyncio.sleep(max(0.0, deadline - time.monotonic()) + 1.0)
            case "poison":
                raise EnginePoisonedError("the device failed: device-side assert triggered")


def planned(
    request: schemas.PlanRequest, costs: list[float], kind: str = "plan", warm_start: WarmStart | None = None
) -> EngineReply:
    """A plan of five model steps."""
    first_step = request.context[-1].step or 0
    actions, variables, cost = np.zeros((25, 2)), np.zeros((5, 2), np.float32), costs[-1]
    match kind:
        case "nan_action":
            actions[3, 1] = np.nan
        case "wild_action":
            actions[3, 1] = 1.5
        case "garble":
            actions = np.zeros((24, 3))
        case "nan_variables":
            variables[0, 0] = np.nan
        case "nan_cost":
            cost = np.nan
    chunk = schemas.ActionChunk.model_construct(
        actions=actions,
        action_names=SPEC.names,
        action_units=SPEC.units,
        dt_ms=SPEC.dt_ms,
        control_steps=SPEC.control_steps,
        first_step=first_step,
        valid_for_ms=2500.0,
    )
    response = schemas.PlanResponse.model_construct(
        request_id=request.request_id,
        session_id=request.session_id,
        status="MAX_ITERATIONS",
        chunk=chunk,
        predicted_cost=cost,
        goal_distance=1.0,
        goal_distances=[1.0],
        active_goal=0,
        goal_reached=False,
        planned_goal_distance=0.5,
        iterations_completed=len(costs),
        surprise=None,
        warm_started=warm_start is not None,
        costs=costs,
        latents=None,
        timing=schemas.Timing(decode_us=0, queue_us=0, encode_us=0, plan_us=0, total_us=0, late_us=0),
        safety=schemas.SafetyReport(
            saturated_fraction=0.0, max_step_delta=[0.0, 0.0], start_jump=[], within_limits=True
        ),
        provenance=schemas.Provenance(
            model_name=MODEL,
            model_version="1",
            weights_sha256=SHA,
            manifest_sha256=SHA,
            server_version="0",
            device="none",
            dtype="none",
        ),
    )
    return EngineReply(response, WarmStart(variables, first_step, SHA, "constant", 5))


def model(*, ready: bool) -> schemas.ModelInfo:
    return schemas.ModelInfo(
        name=MODEL,
        version="1",
        recipe="none",
        task="",
        ready=ready,
        device="none",
        dtype="none",
        sensors=[schemas.SensorInfo(name="top", kind="camera", shape=[32, 32, 3])],
        latent_shape=[1, 16],
        action=SPEC,
        context_frames=3,
        horizon=5,
        presets=[],
        surprise_threshold=1.0,
        space_id=SHA,
        weights_sha256=SHA,
        manifest_sha256=SHA,
    )


async def main() -> None:
    await host(FakeEngine(), await Channel.open(socket.socket(fileno=int(sys.argv[-1]))))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
    os._exit(0)
