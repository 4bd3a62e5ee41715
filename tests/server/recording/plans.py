"""Plans to record, as the service makes them."""

from typing import Any

import numpy as np

from server import schemas
from server.validation import validate
from tests.server.live import MODEL, plan_payload

SHA256 = "ab" * 32


def request(**changes: Any) -> schemas.PlanRequest:
    """Two frames of noise and a goal."""
    return validate(schemas.PlanRequest, plan_payload(**changes))


def response(request_id: str = "r-1", **changes: Any) -> schemas.PlanResponse:
    """An answer to it, without a model."""
    fields: dict[str, Any] = {
        "request_id": request_id,
        "session_id": None,
        "status": "MAX_ITERATIONS",
        "chunk": schemas.ActionChunk(
            actions=np.full((5, 2), 0.5),
            action_names=["x", "y"],
            action_units=["m/s", "m/s"],
            dt_ms=100.0,
            control_steps=5,
            first_step=15,
            valid_for_ms=500.0,
        ),
        "predicted_cost": 0.25,
        "goal_distance": 0.5,
        "planned_goal_distance": 0.125,
        "iterations_completed": 3,
        "surprise": 0.1,
        "warm_started": False,
        "costs": [],
        "latents": None,
        "timing": schemas.Timing(decode_us=1, queue_us=2, encode_us=3, plan_us=4, total_us=20_000, late_us=0),
        "safety": schemas.SafetyReport(saturated_fraction=0.0, max_step_delta=[0.0, 0.0], within_limits=True),
        "provenance": schemas.Provenance(
            model_name=MODEL,
            model_version="1",
            weights_sha256=SHA256,
            manifest_sha256=SHA256,
            effective_planner=schemas.PlannerConfig(preset="fast", num_samples=8, max_iterations=6, seed=7),
            server_version="0",
            device="cpu",
            dtype="float32",
        ),
    }
    return schemas.PlanResponse(**fields | changes)
