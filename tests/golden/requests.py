"""Two hundred plan requests of every kind, made from their number: what goldens and parity are asked about."""

from typing import Any

import numpy as np

from tests.server.live import picture, plan_payload

NUMBER = 200


def golden_request(number: int) -> dict[str, Any]:
    """The payload, without a session; images as bytes."""
    draw = np.random.default_rng(number)
    frames, horizon = int(draw.integers(1, 4)), int(draw.integers(3, 7))
    first = int(draw.integers(0, 1000))
    payload = plan_payload(
        request_id=f"golden-{number}",
        context=[_frame(draw, number, first + 5 * index) for index in range(frames)],
        action_history=[draw.uniform(-1, 1, (5, 2)) for _ in range(frames - 1)],
        goals=[
            {"observation": _frame(draw, number, 0), "weight": 2.0, "tolerance": 1e-6} for _ in range(number % 3 + 1)
        ],
        planner={
            "preset": "fast",
            "algorithm": ["cem", "icem", "mppi", "predictive_sampling"][number % 4],
            "search_space": ["constant", "free", "linear_spline", "cubic_spline"][number // 4 % 4],
            "horizon": horizon,
            "max_iterations": 3,
            "seed": number,
        },
        include=["costs", "latents"],
    )
    payload["active_goal"] = number % 3 // 2
    if number % 3 == 1:
        payload["limits"] = {"min": [-0.5, -0.25], "max": [0.5, 1.0]}
    if number % 5 == 1:
        payload["committed_actions"] = draw.uniform(-0.25, 0.5, (3, 2))
        payload["inference_delay_steps"] = int(draw.integers(0, 4))
    if number % 7 == 1:
        payload["cost"] = {"over": "closest", "distance": "absolute", "smoothness": 0.5, "effort": 0.25}
    if number % 11 == 1:
        payload["cost"] = {"over": "last", "effort": 2.0}
    return payload


def _frame(draw: np.random.Generator, number: int, step: int) -> dict[str, Any]:
    image = picture(int(draw.integers(0, 10**6)), int(draw.integers(16, 64)), ["png", "webp", "jpeg"][number % 3])
    return {"images": {"top": image}, "step": step}
