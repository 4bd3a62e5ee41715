"""Every request that must be refused, on every transport: which code, and which field it names."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.server.live import MODEL, Live, anomaly_payload, ask, encoded, picture, plan_payload

Change = Callable[[], dict[str, Any]]

GREY = Image.new("RGB", (32, 32), "grey")
SHA = "0" * 64
STRANGER: dict[str, Any] = {"space_id": "x", "latents": np.zeros((1, 16))}


def frame(image: Any, step: int = 0) -> dict[str, Any]:
    return {"images": {"top": image}, "step": step}


def context(*frames: dict[str, Any]) -> dict[str, Any]:
    return plan_payload(context=list(frames), action_history=[np.zeros((5, 2))] * (len(frames) - 1))


def with_image(data: bytes, declared: str = "png") -> dict[str, Any]:
    return context(frame({"encoded": data, "format": declared}))


def with_planner(**config: Any) -> dict[str, Any]:
    return plan_payload(planner={"preset": "fast", **config})


def with_max_delta(most: list[float], **changes: Any) -> dict[str, Any]:
    return plan_payload(limits={"min": [-1.0, -1.0], "max": [1.0, 1.0], "max_delta": most}, **changes)


def with_start_jump(most: list[float], **changes: Any) -> dict[str, Any]:
    return plan_payload(limits={"min": [-1.0, -1.0], "max": [1.0, 1.0], "max_start_jump": most}, **changes)


def animated() -> bytes:
    return encoded(GREY, "webp", save_all=True, append_images=[Image.new("RGB", (32, 32), "red")])


PLANS: dict[str, tuple[Change, str, str]] = {
    "no model": (lambda: _without("model"), "validation-failed", "/model"),
    "unknown model": (lambda: plan_payload(model={"name": "nobody"}), "model-not-found", "/model/name"),
    "unknown version": (
        lambda: plan_payload(model={"name": MODEL, "version": "9"}),
        "model-not-found",
        "/model/version",
    ),
    "other weights": (
        lambda: plan_payload(model={"name": MODEL, "expect_sha256": SHA}),
        "model-mismatch",
        "/model/expect_sha256",
    ),
    "no context": (lambda: plan_payload(context=[], action_history=[]), "validation-failed", "/context"),
    "too much context": (
        lambda: context(*(frame(picture(i), 5 * i) for i in range(4))),
        "validation-failed",
        "/context",
    ),
    "frames not one model step apart": (
        lambda: context(frame(picture(1), 0), frame(picture(2), 4)),
        "validation-failed",
        "/context/1/step",
    ),
    "negative step": (lambda: context(frame(picture(1), -1)), "validation-failed", "/context/0/step"),
    "a camera too many": (
        lambda: context({"images": {"top": picture(1), "front": picture(1)}}),
        "validation-failed",
        "/context/0/images/front",
    ),
    "no camera": (lambda: context({"images": {}}), "validation-failed", "/context/0/images/top"),
    "history too short": (lambda: plan_payload(action_history=[]), "validation-failed", "/action_history"),
    "history of a wrong shape": (
        lambda: plan_payload(action_history=[np.zeros((5, 3))]),
        "validation-failed",
        "/action_history/0",
    ),
    "history beyond the limits": (
        lambda: plan_payload(action_history=[np.full((5, 2), 1.5)]),
        "validation-failed",
        "/action_history/0",
    ),
    "NaN in the history": (
        lambda: plan_payload(action_history=[np.full((5, 2), np.nan)]),
        "non-finite-input",
        "/action_history/0",
    ),
    "no goal": (lambda: plan_payload(goals=[]), "validation-failed", "/goals"),
    "empty goal": (lambda: plan_payload(goals=[{}]), "validation-failed", "/goals/0"),
    "too many goals": (
        lambda: plan_payload(goals=[{"observation": frame(picture(1))}] * 17),
        "validation-failed",
        "/goals",
    ),
    "an active goal that is none": (lambda: plan_payload(active_goal=1), "validation-failed", "/active_goal"),
    "a goal of negative weight": (
        lambda: plan_payload(goals=[{"observation": frame(picture(1)), "weight": -1.0}]),
        "validation-failed",
        "/goals/0/weight",
    ),
    "a tolerance that is no number": (
        lambda: plan_payload(goals=[{"observation": frame(picture(1)), "tolerance": float("nan")}]),
        "non-finite-input",
        "/goals/0/tolerance",
    ),
    "an unknown distance": (lambda: plan_payload(cost={"distance": "cosine"}), "validation-failed", "/cost/distance"),
    "negative effort": (lambda: plan_payload(cost={"effort": -0.1}), "validation-failed", "/cost/effort"),
    "infinite smoothness": (
        lambda: plan_payload(cost={"smoothness": float("inf")}),
        "non-finite-input",
        "/cost/smoothness",
    ),
    "keep out of nothing": (
        lambda: plan_payload(cost={"keep_out": [{"embeddings": [], "radius": 1.0}]}),
        "validation-failed",
        "/cost/keep_out/0/embeddings",
    ),
    "keep out of no radius": (
        lambda: plan_payload(cost={"keep_out": [{"embeddings": [STRANGER], "radius": 0.0}]}),
        "validation-failed",
        "/cost/keep_out/0/radius",
    ),
    "keep out of another model's latents": (
        lambda: plan_payload(cost={"keep_out": [{"embeddings": [STRANGER], "radius": 1.0}]}),
        "model-mismatch",
        "/cost/keep_out/0/embeddings/0/space_id",
    ),
    "keep out of too much": (
        lambda: plan_payload(cost={"keep_out": [{"embeddings": [STRANGER] * 9, "radius": 1.0}] * 2}),
        "validation-failed",
        "/cost/keep_out",
    ),
    "more iterations at least than at most": (
        lambda: with_planner(min_iterations=7),
        "validation-failed",
        "/planner/min_iterations",
    ),
    "a delay of which nothing is known": (
        lambda: plan_payload(inference_delay_steps=2),
        "validation-failed",
        "/inference_delay_steps",
    ),
    "a delay longer than what is committed": (
        lambda: plan_payload(inference_delay_steps=3, committed_actions=np.zeros((2, 2))),
        "validation-failed",
        "/inference_delay_steps",
    ),
    "a delay as long as the plan": (
        lambda: plan_payload(inference_delay_steps=25, committed_actions=np.zeros((25, 2))),
        "validation-failed",
        "/inference_delay_steps",
    ),
    "a start jump from nowhere": (
        lambda: with_start_jump([0.1, 0.1], context=[frame(picture(1))], action_history=[]),
        "validation-failed",
        "/limits/max_start_jump",
    ),
    "a start jump of too few actions": (
        lambda: with_start_jump([0.1]),
        "validation-failed",
        "/limits/max_start_jump",
    ),
    "a negative start jump": (lambda: with_start_jump([0.1, -0.1]), "validation-failed", "/limits/max_start_jump/1"),
    "limits out of reach of the first action": (
        lambda: plan_payload(limits={"min": [-1.0, -1.0], "max": [0.1, 1.0], "max_start_jump": [0.1, 0.1]}),
        "validation-failed",
        "/limits/max_start_jump",
    ),
    "goal of another model": (
        lambda: plan_payload(goals=[{"embedding": {"space_id": "x", "latents": np.zeros((1, 16))}}]),
        "model-mismatch",
        "/goals/0/embedding/space_id",
    ),
    "infinite goal": (
        lambda: plan_payload(goals=[{"embedding": {"space_id": "x", "latents": np.full((1, 16), np.inf)}}]),
        "non-finite-input",
        "/goals/0/embedding/latents",
    ),
    "unknown preset": (lambda: with_planner(preset="best"), "validation-failed", "/planner/preset"),
    "zero samples": (lambda: with_planner(num_samples=0), "validation-failed", "/planner/num_samples"),
    "too many samples": (lambda: with_planner(num_samples=5000), "validation-failed", "/planner/num_samples"),
    "too many iterations": (lambda: with_planner(max_iterations=101), "validation-failed", "/planner/max_iterations"),
    "too long a horizon": (lambda: with_planner(horizon=65), "validation-failed", "/planner/horizon"),
    "too much in all": (
        lambda: with_planner(num_samples=4096, max_iterations=100, horizon=64),
        "validation-failed",
        "/planner",
    ),
    "unknown algorithm": (lambda: with_planner(algorithm="sgd"), "validation-failed", "/planner/algorithm"),
    "unknown search space": (lambda: with_planner(search_space="cube"), "validation-failed", "/planner/search_space"),
    "elites of an algorithm without": (
        lambda: with_planner(algorithm="mppi", num_elites=8),
        "validation-failed",
        "/planner/num_elites",
    ),
    "too few samples for an algorithm": (
        lambda: with_planner(algorithm="mppi", num_samples=2),
        "validation-failed",
        "/planner",
    ),
    "more elites than samples": (lambda: with_planner(num_samples=8, num_elites=9), "validation-failed", "/planner"),
    "infinite std": (lambda: with_planner(init_std=float("inf")), "non-finite-input", "/planner/init_std"),
    "NaN std": (lambda: with_planner(init_std=float("nan")), "non-finite-input", "/planner/init_std"),
    "no std": (lambda: with_planner(init_std=0.0), "validation-failed", "/planner/init_std"),
    "seed that JSON cannot carry": (lambda: with_planner(seed=2**53), "validation-failed", "/planner/seed"),
    "no budget": (lambda: plan_payload(planning_budget_ms=0), "validation-failed", "/planning_budget_ms"),
    "too large a budget": (lambda: plan_payload(planning_budget_ms=10**6), "validation-failed", "/planning_budget_ms"),
    "looser limits": (
        lambda: plan_payload(limits={"min": [-2.0, -1.0], "max": [1.0, 1.0]}),
        "validation-failed",
        "/limits/min/0",
    ),
    "crossed limits": (
        lambda: plan_payload(limits={"min": [-1.0, 0.5], "max": [1.0, 0.0]}),
        "validation-failed",
        "/limits/min/1",
    ),
    "limits of too few actions": (
        lambda: plan_payload(limits={"min": [-1.0], "max": [1.0, 1.0]}),
        "validation-failed",
        "/limits/min",
    ),
    "max_delta of too few actions": (
        lambda: with_max_delta([0.1]),
        "validation-failed",
        "/limits/max_delta",
    ),
    "negative max_delta": (lambda: with_max_delta([0.1, -0.1]), "validation-failed", "/limits/max_delta/1"),
    "NaN in max_delta": (
        lambda: with_max_delta([0.1, float("nan")]),
        "non-finite-input",
        "/limits/max_delta/1",
    ),
    "limits out of reach": (
        lambda: plan_payload(limits={"min": [-1.0, -1.0], "max": [0.1, 1.0], "max_delta": [0.1, 0.1]}),
        "validation-failed",
        "/limits/max_delta",
    ),
    "committed actions of a wrong shape": (
        lambda: plan_payload(committed_actions=np.zeros((2, 3))),
        "validation-failed",
        "/committed_actions",
    ),
    "committed actions without steps": (
        lambda: plan_payload(committed_actions=np.zeros(2)),
        "validation-failed",
        "/committed_actions",
    ),
    "no committed actions": (
        lambda: plan_payload(committed_actions=np.zeros((0, 2))),
        "validation-failed",
        "/committed_actions",
    ),
    "more committed actions than a plan": (
        lambda: plan_payload(committed_actions=np.zeros((26, 2))),
        "validation-failed",
        "/committed_actions",
    ),
    "committed actions beyond the limits": (
        lambda: plan_payload(committed_actions=np.full((2, 2), 1.5)),
        "validation-failed",
        "/committed_actions",
    ),
    "NaN in the committed actions": (
        lambda: plan_payload(committed_actions=np.full((2, 2), np.nan)),
        "non-finite-input",
        "/committed_actions",
    ),
    "committed actions that change too fast": (
        lambda: with_max_delta([0.1, 0.1], committed_actions=np.array([[0.3, 0.3], [0.5, 0.3]])),
        "validation-failed",
        "/committed_actions",
    ),
    "committed actions that jump at once": (
        lambda: with_max_delta([0.1, 0.1], committed_actions=np.array([[0.4, 0.3]])),
        "validation-failed",
        "/committed_actions",
    ),
    "NaN limits": (
        lambda: plan_payload(limits={"min": [-1.0, float("nan")], "max": [1.0, 1.0]}),
        "non-finite-input",
        "/limits/min/1",
    ),
    "unknown part to include": (lambda: plan_payload(include=["samples"]), "validation-failed", "/include/0"),
    "unknown session": (
        lambda: plan_payload(session_id="nobody", warm_start=True),
        "session-not-found",
        "/session_id",
    ),
    "warm start without a session": (lambda: plan_payload(warm_start=True), "session-not-found", "/session_id"),
    "session without a step": (
        lambda: plan_payload(session_id="arm", context=[{"images": {"top": picture(1)}}], action_history=[]),
        "validation-failed",
        "/context/0/step",
    ),
    "bad session id": (lambda: plan_payload(session_id="a b"), "validation-failed", "/session_id"),
    "bad request id": (lambda: plan_payload(request_id="ä"), "validation-failed", "/request_id"),
    "empty image": (lambda: with_image(b""), "image-rejected", "/context/0/images/top"),
    "not an image": (lambda: with_image(b"GIF89a" * 40), "image-rejected", "/context/0/images/top"),
    "one pixel": (lambda: with_image(picture(1, side=1)["encoded"]), "image-rejected", "/context/0/images/top"),
    "lying format": (lambda: with_image(picture(1)["encoded"], "jpeg"), "image-rejected", "/context/0/images/top"),
    "unknown format": (lambda: with_image(b"BM", "bmp"), "validation-failed", "/context/0/images/top/format"),
    "truncated image": (
        lambda: with_image(picture(1)["encoded"][:200]),
        "image-rejected",
        "/context/0/images/top",
    ),
    "animated image": (lambda: with_image(animated(), "webp"), "image-rejected", "/context/0/images/top"),
    "image with alpha": (
        lambda: with_image(encoded(GREY.convert("RGBA"), "png")),
        "image-rejected",
        "/context/0/images/top",
    ),
    "image bomb": (
        lambda: with_image(encoded(Image.new("L", (12000, 12000)), "png")),
        "image-rejected",
        "/context/0/images/top",
    ),
    "goal is not an image": (
        lambda: plan_payload(goals=[{"observation": frame({"encoded": b"?" * 50, "format": "png"})}]),
        "image-rejected",
        "/goals/0/observation/images/top",
    ),
}

CLIPS: dict[str, tuple[Change, str, str]] = {
    "one frame": (
        lambda: anomaly_payload(observations=[frame(picture(1))], actions=[np.zeros((5, 2))]),
        "validation-failed",
        "/observations",
    ),
    "too many frames": (
        lambda: anomaly_payload(observations=[{"images": {"top": picture(1)}}] * 65, actions=[np.zeros((5, 2))] * 64),
        "validation-failed",
        "/observations",
    ),
    "actions of another length": (lambda: anomaly_payload(actions=[np.zeros((5, 2))]), "validation-failed", "/actions"),
    "not an image": (
        lambda: anomaly_payload(
            observations=[frame(picture(1), 0), frame({"encoded": b"", "format": "png"}, 5)], actions=[np.zeros((5, 2))]
        ),
        "image-rejected",
        "/observations/1/images/top",
    ),
}

HTTP_STATUS = {"model-not-found": 404, "session-not-found": 404, "model-mismatch": 412}
GRPC_STATUS = {
    "model-not-found": "NOT_FOUND",
    "session-not-found": "NOT_FOUND",
    "model-mismatch": "FAILED_PRECONDITION",
}


def _without(field: str) -> dict[str, Any]:
    return {key: value for key, value in plan_payload().items() if key != field}


@pytest.mark.parametrize("transport", ["json", "multipart", "grpc"])
@pytest.mark.parametrize("case", PLANS)
def test_plan_refuses(live: Live, case: str, transport: str) -> None:
    _check(live, transport, "plan", *PLANS[case])


@pytest.mark.parametrize("transport", ["json", "multipart", "grpc"])
@pytest.mark.parametrize("case", CLIPS)
def test_anomaly_refuses(live: Live, case: str, transport: str) -> None:
    _check(live, transport, "anomaly", *CLIPS[case])


def _check(live: Live, transport: str, method: str, change: Change, code: str, pointer: str) -> None:
    answer = ask(live, transport)(method, change())
    assert (answer.code, answer.pointers) == (code, (pointer,))
    wanted = GRPC_STATUS.get(code, "INVALID_ARGUMENT") if transport == "grpc" else HTTP_STATUS.get(code, 422)
    assert answer.status == wanted
    assert not answer.retryable
    assert not any(word in answer.text for word in ("Traceback", "File ", ".py", "nan", "NaN", "inf,"))
