"""Example request of each operation for the OpenAPI document. Tests send them."""

from typing import Any

from server import schemas

_GREY = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mNsYEAFTAwjWgAAmZAAoFDIQrAAAAAASUVORK5CYII="
"""A PNG of 16 x 16 px."""
_MODEL = {"name": "tworoom-lewm"}
"""A model with one sensor, the camera `top`."""
_ARM = {"name": "arm"}
"""A model of a robot with two cameras and a vector of six joints and a gripper."""


def _frame(step: int | None = None) -> dict[str, Any]:
    seen = {"images": {"top": {"encoded": _GREY, "format": "png"}}}
    return seen if step is None else seen | {"step": step}


def _arm_frame(**when: Any) -> dict[str, Any]:
    cameras = {name: {"encoded": _GREY, "format": "png"} for name in ("wrist", "top")}
    return {"images": cameras, "arrays": {"proprioception": [0.0, -1.2, 1.6, 0.1, 0.8, 0.0, 0.04]}} | when


_PLAN: dict[str, Any] = {
    "request_id": "arm-1.412",
    "model": _MODEL,
    "context": [_frame(407), _frame(412)],
    "action_history": [[[0.1, 0.0]] * 5],
    "goals": [{"observation": _frame(), "tolerance": 0.05}],
    "planner": {"preset": "fast", "seed": 17},
    "cost": {"smoothness": 0.1},
    "planning_budget_ms": 5000,
    "limits": {"min": [-0.5, -0.5], "max": [0.5, 0.5], "max_delta": [0.2, 0.2]},
    "include": ["costs"],
}

EXAMPLES: dict[type[schemas.Wire], dict[str, dict[str, Any]]] = {
    schemas.PlanRequest: {
        "stateless": {"summary": "Everything in the request; safe to repeat", "value": _PLAN},
        "session": {
            "summary": "A robot that moves while it waits: the chunk begins after what it runs meanwhile",
            "value": _PLAN
            | {
                "request_id": "arm-1.417",
                "session_id": "arm-1",
                "inference_delay_steps": 2,
                "committed_actions": [[0.1, 0.0], [0.2, 0.0]],
            },
        },
        "several sensors": {
            "summary": "Every sensor of the model, by name; the wrist camera's image is 12 ms older than the rest",
            "value": {
                "model": _ARM,
                "context": [_arm_frame(capture_time_us=8_120_000, capture_times_us={"wrist": 8_108_000})],
                "goals": [{"observation": _arm_frame()}],
                "planner": {"preset": "fast", "seed": 17},
            },
        },
        "sub-goals": {
            "summary": "Goals in order; the active one is planned for",
            "value": {
                "model": _MODEL,
                "context": [_frame()],
                "goals": [{"observation": _frame(), "tolerance": 0.1}, {"observation": _frame()}],
            },
        },
    },
    schemas.AnomalyRequest: {
        "clip": {
            "summary": "Three frames one model step apart, and what was executed between them",
            "value": {
                "model": _MODEL,
                "observations": [_frame(), _frame(), _frame()],
                "actions": [[[0.1, 0.0]] * 5, [[0.0, 0.0]] * 5],
            },
        }
    },
    schemas.EncodeRequest: {
        "goal": {
            "summary": "Latents of a goal, to be sent as goals[].embedding later",
            "value": {"model": _MODEL, "observations": [_frame()]},
        },
        "several sensors": {
            "summary": "The same for a model with two cameras and a vector",
            "value": {"model": _ARM, "observations": [_arm_frame()]},
        },
    },
    schemas.CreateSessionRequest: {
        "careful": {
            "summary": "No plan of this session follows a surprising transition",
            "value": {"session_id": "arm-1", "hold_on_surprise": True},
        },
        "drawn": {"summary": "With an id of the server's", "value": {}},
    },
}
