"""One example of each operation for the OpenAPI document: what a client sends, word by word. Tests send them."""

from typing import Any

from server import schemas

_GREY = "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAEUlEQVR42mNsYEAFTAwjWgAAmZAAoFDIQrAAAAAASUVORK5CYII="
"""A PNG of 16 x 16 px."""
_MODEL = {"name": "tworoom-lewm"}


def _frame(step: int | None = None) -> dict[str, Any]:
    seen = {"images": {"top": {"encoded": _GREY, "format": "png"}}}
    return seen if step is None else seen | {"step": step}


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
            "summary": "Latents of a goal image, to be sent as goals[].embedding later",
            "value": {"model": _MODEL, "observations": [_frame()]},
        }
    },
    schemas.CreateSessionRequest: {
        "careful": {
            "summary": "No plan of this session follows a surprising transition",
            "value": {"session_id": "arm-1", "hold_on_surprise": True},
        },
        "drawn": {"summary": "With an id of the server's", "value": {}},
    },
}
