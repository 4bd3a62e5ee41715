"""An engine without a model, in this process: it plans at once, or when it is told to, or refuses."""

import asyncio

import numpy as np

from server import schemas
from server.benchmark.instant_engine import InstantEngine
from server.engine.protocol import EngineReply, Incumbents, WarmStart
from server.errors import ServiceError
from tests.server.live import MODEL

STEPS, CONTROL_STEPS = 25, 5
ACTION = schemas.ActionInfo(
    names=["x", "y"], units=["m/s", "m/s"], low=[-1.0, -1.0], high=[1.0, 1.0], dt_ms=100.0, control_steps=CONTROL_STEPS
)
SHA = "f" * 64


class ScriptedEngine(InstantEngine):
    """Its plans are recognised: the action of control step s is (s / 1000, seed / 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[schemas.PlanRequest, WarmStart | None]] = []
        self.refusal: ServiceError | None = None
        self.go = asyncio.Event()
        """Plans wait for it."""
        self.go.set()
        self.cancelled = 0
        self.incumbents: list[float] = []
        """Costs of those that are told before the plan."""

    @property
    def models(self) -> list[schemas.ModelInfo]:
        return [model_info()]

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        self.asked.append((request, warm_start))
        try:
            for cost in self.incumbents:
                if on_incumbent is not None:
                    on_incumbent(planned(request, warm_start, cost))
                await asyncio.sleep(0)
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.refusal is not None:
            raise self.refusal
        return planned(request, warm_start, 0.5)


def planned(request: schemas.PlanRequest, warm_start: WarmStart | None, cost: float) -> EngineReply:
    """Begins with what is committed, and leaves out what runs meanwhile."""
    first, delay = request.context[-1].step or 0, request.inference_delay_steps or 0
    actions = np.stack([np.arange(first, first + STEPS) / 1000, np.full(STEPS, (request.planner.seed or 0) / 1000)], 1)
    if request.committed_actions is not None:
        actions[: len(request.committed_actions)] = request.committed_actions
    response = schemas.PlanResponse(
        request_id=request.request_id or "",
        session_id=request.session_id,
        status="CONVERGED",
        chunk=schemas.ActionChunk(
            actions=actions[delay:],
            action_names=ACTION.names,
            action_units=ACTION.units,
            dt_ms=ACTION.dt_ms,
            control_steps=CONTROL_STEPS,
            first_step=first + delay,
            valid_for_ms=(STEPS - delay) * ACTION.dt_ms,
        ),
        predicted_cost=cost,
        goal_distance=1.0,
        goal_distances=[1.0] * len(request.goals),
        active_goal=request.active_goal or 0,
        goal_reached=False,
        planned_goal_distance=0.5,
        iterations_completed=3,
        warm_started=warm_start is not None,
        costs=[],
        timing=schemas.Timing(decode_us=0, queue_us=0, encode_us=0, plan_us=0, total_us=0, late_us=0),
        safety=schemas.SafetyReport(
            saturated_fraction=0.0, max_step_delta=[0.0, 0.0], start_jump=[], within_limits=True
        ),
        provenance=schemas.Provenance(
            model_name=MODEL,
            model_version="1",
            weights_sha256=SHA,
            manifest_sha256=SHA,
            server_version="",
            device="none",
            dtype="none",
        ),
    )
    return EngineReply(
        response, WarmStart(np.full((5, 2), request.planner.seed or 0, np.float32), first, SHA, "constant", 5)
    )


def model_info() -> schemas.ModelInfo:
    return schemas.ModelInfo(
        name=MODEL,
        version="1",
        recipe="lewm",
        task="",
        ready=True,
        sensors=[schemas.SensorInfo(name="top", kind="camera", shape=[32, 32, 3])],
        latent_shape=[1, 16],
        action=ACTION,
        context_frames=3,
        horizon=STEPS // CONTROL_STEPS,
        presets=[],
        surprise_threshold=1.0,
        space_id=SHA,
        weights_sha256=SHA,
        manifest_sha256=SHA,
        device="cpu",
        dtype="float32",
    )
