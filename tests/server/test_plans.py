"""What a plan promises, whatever it was asked for."""

import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from planner.constraints import Constraints
from tests.server.live import (
    MODEL,
    Answer,
    Live,
    actions_of,
    anomaly_payload,
    ask,
    picture,
    plan_payload,
    serving,
    settings_for,
)
from worldmodel import Latents, ObservationBatch

HEAVY = {"preset": "fast", "num_samples": 4096, "num_elites": 4000, "max_iterations": 90, "seed": 1}
"""About ten seconds when it is let: with that many elites it does not converge."""


def test_a_plan_says_all_that_a_robot_needs(live: Live) -> None:
    body = live.json("plan", plan_payload(request_id="r-1", session_id="all", include=["costs", "latents"])).body
    chunk = body["chunk"]
    assert (body["request_id"], body["session_id"]) == ("r-1", "all")
    assert actions_of(body).shape == (25, 2)
    assert (chunk["action_names"], chunk["action_units"]) == (["x", "y"], ["m/s", "m/s"])
    assert (chunk["dt_ms"], chunk["control_steps"], chunk["first_step"], chunk["valid_for_ms"]) == (100, 5, 15, 2500)
    assert body["costs"] == sorted(body["costs"], reverse=True) and len(body["costs"]) == body["iterations_completed"]
    assert body["predicted_cost"] == body["costs"][-1]
    assert body["latents"]["shape"] == [5, 1, 16]
    assert body["timing"]["total_us"] >= body["timing"]["plan_us"] > 0
    assert body["safety"]["within_limits"] and len(body["safety"]["max_step_delta"]) == 2
    assert body["provenance"]["effective_planner"]["seed"] == 7
    assert len(body["provenance"]["weights_sha256"]) == 64


def test_what_is_not_included_is_not_sent(live: Live) -> None:
    body = live.json("plan", plan_payload()).body
    assert body["costs"] == [] and body["latents"] is None


def test_one_frame_is_context_enough(live: Live) -> None:
    body = live.json("plan", plan_payload(context=[{"images": {"top": picture(1)}}], action_history=[])).body
    assert body["surprise"] is None and body["chunk"]["first_step"] == 0


def test_the_surprise_of_a_plan_is_that_of_its_last_transition(live: Live) -> None:
    plan = live.json("plan", plan_payload()).body
    clip = {"observations": plan_payload()["context"], "actions": plan_payload()["action_history"]}
    assert plan["surprise"] == live.json("anomaly", anomaly_payload(**clip)).body["surprise"][-1]


@pytest.mark.parametrize("search_space", ["constant", "free", "linear_spline", "cubic_spline"])
def test_gradients_through_the_model_lower_the_cost_and_keep_the_limits(live: Live, search_space: str) -> None:
    planner = {"algorithm": "gradient_descent", "search_space": search_space, "num_samples": 4, "max_iterations": 6}
    limits = {"min": [-0.5, -0.2], "max": [0.3, 0.9], "max_delta": [0.1, 0.1]}
    asked = plan_payload(planner=planner | {"seed": 3}, limits=limits, include=["costs"])
    body = live.json("plan", asked).body
    assert body["iterations_completed"] == 6 and body["costs"][-1] < body["costs"][0]
    actions = actions_of(body)
    assert (actions >= [-0.5, -0.2]).all() and (actions <= [0.3, 0.9]).all()
    assert np.abs(np.diff(actions, axis=0)).max() <= 0.1 + 1e-6
    assert np.array_equal(actions_of(live.json("plan", asked).body), actions), "the same request, another plan"


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_the_best_plan_so_far_is_returned_at_the_deadline(live: Live, transport: str) -> None:
    payload = plan_payload(planner=HEAVY, planning_budget_ms=1000, include=["costs"])
    body = getattr(live, transport)("plan", payload).body
    assert body["status"] == "BUDGET_EXHAUSTED"
    assert 1 <= body["iterations_completed"] < 90
    assert np.isfinite(actions_of(body)).all() and np.abs(actions_of(body)).max() <= 1
    assert body["costs"] == sorted(body["costs"], reverse=True)


@pytest.mark.parametrize(("transport", "status"), [("json", 504), ("grpc", "DEADLINE_EXCEEDED")])
def test_a_budget_that_is_no_time_at_all_is_refused(live: Live, transport: str, status: int | str) -> None:
    live.json("plan", plan_payload())
    answer = getattr(live, transport)("plan", plan_payload(planning_budget_ms=1))
    assert (answer.code, answer.status, answer.retryable) == ("deadline-infeasible", status, False)


def test_an_answer_in_time_says_so(live: Live) -> None:
    assert live.json("plan", plan_payload(planning_budget_ms=20_000)).body["timing"]["late_us"] == 0
    assert live.json("plan", plan_payload()).body["timing"]["late_us"] == 0


def test_a_late_answer_says_so(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = live.running.service.engine.executor.compute

    async def held_up(place: Any, steps: Any, on_best: Any) -> Any:
        answer = await compute(place, steps, on_best)
        time.sleep(1.1)
        return answer

    monkeypatch.setattr(live.running.service.engine.executor, "compute", held_up)
    timing = live.json("plan", plan_payload(planning_budget_ms=1000)).body["timing"]
    assert timing["late_us"] == timing["total_us"] - 1_000_000 > 0


def test_an_iteration_that_takes_too_long_is_not_waited_for(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than any before it: that could not be foreseen, but there is a plan to answer with."""
    with serving(settings_for(checkpoints)) as live:
        model = live.running.service.engine.registry.models[MODEL].checkpoint.world_model
        rollout, calls = model.rollout, iter(range(10))

        def slow(state: Any, actions: torch.Tensor) -> torch.Tensor:
            time.sleep(2.0 * (next(calls) == 1))
            return rollout(state, actions)

        monkeypatch.setattr(model, "rollout", slow)
        started = time.monotonic()
        body = live.json("plan", plan_payload(planning_budget_ms=1000)).body
        assert time.monotonic() - started < 1.5
        assert (body["iterations_completed"], body["status"]) == (1, "BUDGET_EXHAUSTED")


def test_who_has_no_plan_at_the_deadline_is_refused_then(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(settings_for(checkpoints)) as live:
        model = live.running.service.engine.registry.models[MODEL].checkpoint.world_model
        rollout = model.rollout
        monkeypatch.setattr(model, "rollout", lambda *given: time.sleep(2.0) or rollout(*given))
        started = time.monotonic()
        assert live.json("plan", plan_payload(planning_budget_ms=1000)).code == "deadline-infeasible"
        assert time.monotonic() - started < 1.5


def test_tightened_limits_hold_for_every_action(live: Live) -> None:
    limits = {"min": [-0.3, 0.1], "max": [-0.1, 0.1]}
    actions = actions_of(live.json("plan", plan_payload(limits=limits)).body)
    assert (actions >= limits["min"]).all() and (actions <= limits["max"]).all()


class TestMotion:
    WIDE: ClassVar = {"min": [-1.0, -1.0], "max": [1.0, 1.0]}
    LAST = 0.25
    """Of the history."""

    @pytest.mark.parametrize("transport", ["json", "multipart", "grpc"])
    @pytest.mark.parametrize("search_space", ["constant", "free", "cubic_spline"])
    def test_actions_change_no_faster_than_allowed_also_from_the_last_one(
        self, live: Live, search_space: str, transport: str
    ) -> None:
        planner = {"preset": "fast", "search_space": search_space, "seed": 1}
        payload = plan_payload(limits=self.WIDE | {"max_delta": [0.01, 0.2]}, planner=planner)
        answer = ask(live, transport)("plan", payload)
        assert answer.code == "", answer
        actions = np.concatenate([[[self.LAST] * 2], actions_of(answer.body)])
        changes = np.abs(np.diff(actions, axis=0)).max(axis=0)
        assert (changes <= [0.01, 0.2]).all() and (changes > 0.005).all()

    def test_what_may_not_change_does_not(self, live: Live) -> None:
        body = live.json("plan", plan_payload(limits=self.WIDE | {"max_delta": [0.0, 0.0]})).body
        np.testing.assert_allclose(actions_of(body), self.LAST, atol=1e-6)

    @pytest.mark.parametrize("transport", ["json", "multipart", "grpc"])
    def test_a_plan_begins_with_what_is_settled_and_takes_it_into_account(self, live: Live, transport: str) -> None:
        settled = np.array([[0.5, -0.5], [0.7, -1.0], [1.0, -0.25]])
        answer = ask(live, transport)("plan", plan_payload(committed_actions=settled))
        assert answer.code == "", answer
        np.testing.assert_allclose(actions_of(answer.body)[:3], settled, atol=1e-6)
        free = live.json("plan", plan_payload()).body
        assert answer.body["predicted_cost"] != free["predicted_cost"]

    @pytest.mark.parametrize("algorithm", ["cem", "gradient_descent"])
    def test_a_plan_that_is_settled_altogether_is_only_scored(self, live: Live, algorithm: str) -> None:
        asked = plan_payload(committed_actions=np.full((25, 2), 0.1), planner={"algorithm": algorithm})
        body = live.json("plan", asked).body
        np.testing.assert_allclose(actions_of(body), 0.1, atol=1e-6)

    def test_a_plan_that_breaks_them_never_leaves(self, live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Constraints, "apply", lambda _, actions: actions)
        payload = plan_payload(limits=self.WIDE | {"max_delta": [0.01, 0.01]})
        failed(live.json("plan", payload), "action-limit-violation")


class TestSessions:
    def plan(self, live: Live, session: str, step: int, **changes: Any) -> dict[str, Any]:
        context = [{"images": {"top": picture(1)}, "step": step}]
        payload = plan_payload(session_id=session, context=context, action_history=[], **changes)
        answer = live.json("plan", payload)
        assert answer.code == "", answer
        return answer.body

    def test_the_second_plan_starts_from_what_is_left_of_the_first(self, live: Live) -> None:
        assert not self.plan(live, "s1", 0)["warm_started"]
        warm = self.plan(live, "s1", 5)
        assert warm["warm_started"]
        assert not np.array_equal(actions_of(warm), actions_of(self.plan(live, "s1", 5, warm_start=False)))

    @pytest.mark.parametrize("step", [3, 20])
    def test_a_plan_that_is_partly_executed_is_a_warm_start(self, live: Live, step: int) -> None:
        self.plan(live, f"partly{step}", 0)
        assert self.plan(live, f"partly{step}", step, warm_start=True)["warm_started"]

    @pytest.mark.parametrize("step", [90, 125])
    def test_a_plan_that_lies_ahead_or_is_used_up_is_none(self, live: Live, step: int) -> None:
        self.plan(live, f"other{step}", 100)
        assert not self.plan(live, f"other{step}", step)["warm_started"]

    def test_a_plan_of_another_horizon_is_none(self, live: Live) -> None:
        self.plan(live, "s4", 0)
        assert not self.plan(live, "s4", 5, planner={"preset": "fast", "horizon": 3, "seed": 1})["warm_started"]

    def test_a_plan_of_another_search_space_is_none(self, live: Live) -> None:
        self.plan(live, "s7", 0)
        planner = {"preset": "fast", "search_space": "linear_spline", "seed": 1}
        assert not self.plan(live, "s7", 5, planner=planner)["warm_started"]

    @pytest.mark.parametrize("search_space", ["free", "linear_spline", "cubic_spline"])
    def test_every_search_space_has_warm_starts(self, live: Live, search_space: str) -> None:
        planner = {"preset": "fast", "search_space": search_space, "seed": 1}
        self.plan(live, search_space, 0, planner=planner)
        assert self.plan(live, search_space, 5, planner=planner, warm_start=True)["warm_started"]

    def test_sessions_share_nothing(self, live: Live) -> None:
        self.plan(live, "s5", 0)
        assert not self.plan(live, "s6", 5)["warm_started"]


def test_a_frame_is_encoded_once_ever(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = live.running.service.engine.registry.models[MODEL].checkpoint.encoder
    encode, seen = encoder.encode, []

    def counting(observation: ObservationBatch) -> Latents:
        seen.append(len(observation.values["top"]))
        return encode(observation)

    monkeypatch.setattr(encoder, "encode", counting)
    goals = [{"observation": {"images": {"top": picture(101)}}}]
    frames = [{"images": {"top": picture(100)}, "step": 0}]
    for _ in range(2):
        live.json("plan", plan_payload(context=frames, action_history=[], goals=goals))
    assert seen == [1, 1]


@pytest.mark.parametrize("transport", ["json", "grpc"])
@pytest.mark.parametrize("method", ["rollout", "predictions"])
def test_nothing_that_is_not_finite_leaves(
    live: Live, monkeypatch: pytest.MonkeyPatch, method: str, transport: str
) -> None:
    """What the world model imagines, and its surprise, which comes from its predictions."""
    model = live.running.service.engine.registry.models[MODEL].checkpoint.world_model
    sound = getattr(model, method)
    monkeypatch.setattr(model, method, lambda *given: sound(*given) * torch.nan)
    failed(getattr(live, transport)("plan", plan_payload()), "non-finite-plan")


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_a_defect_of_ours_is_not_told_to_the_client(
    live: Live, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret of /etc/passwd")

    monkeypatch.setattr(live.running.service.engine.registry.models[MODEL].checkpoint.world_model, "begin", broken)
    answer = getattr(live, transport)("plan", plan_payload())
    failed(answer, "internal")
    assert "secret" not in answer.text


class TestAnomaly:
    def test_each_transition_has_a_surprise_and_its_rank(self, live: Live) -> None:
        body = live.json("anomaly", anomaly_payload()).body
        assert len(body["surprise"]) == len(body["p_value"]) == 4
        assert all(1 / 1001 <= p <= 1 for p in body["p_value"])
        by_surprise = sorted(zip(body["surprise"], body["p_value"], strict=True))
        assert [p for _, p in by_surprise] == sorted(body["p_value"], reverse=True)
        assert body["is_anomalous"] == (max(body["surprise"]) > body["threshold"])


def failed(answer: Answer, code: str) -> None:
    assert answer.code == code
    assert answer.status in (500, "INTERNAL")
    assert answer.body == {}
