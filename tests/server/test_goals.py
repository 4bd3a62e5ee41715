"""Where a plan leads: goals in order, and what else it is judged by."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.server.live import MODEL, Live, actions_of, ask, picture, plan_payload

NOW = {"observation": {"images": {"top": picture(2)}}, "tolerance": 1e-6}
"""What the last frame of the context shows."""
ELSEWHERE = {"observation": {"images": {"top": picture(3)}}, "tolerance": 1e-6}
FURTHER = {"observation": {"images": {"top": picture(4)}}, "tolerance": 1e-6}


def plan(live: Live, transport: str = "json", **changes: Any) -> dict[str, Any]:
    answer = ask(live, transport)("plan", plan_payload(**changes))
    assert answer.code == "", answer
    return answer.body


@pytest.mark.parametrize("transport", ["json", "multipart", "grpc"])
def test_the_first_goal_that_is_not_reached_is_planned_for(live: Live, transport: str) -> None:
    body = plan(live, transport, goals=[NOW, ELSEWHERE, FURTHER])
    assert (body["active_goal"], body["goal_reached"]) == (1, False)
    assert body["goal_distances"][0] == pytest.approx(0, abs=1e-6)
    assert body["goal_distance"] == body["goal_distances"][1] > 1e-3
    np.testing.assert_array_equal(actions_of(body), actions_of(plan(live, goals=[ELSEWHERE])))


def test_goals_before_the_active_one_are_not_looked_at(live: Live) -> None:
    assert plan(live, goals=[ELSEWHERE, NOW, FURTHER], active_goal=1)["active_goal"] == 2
    assert plan(live, goals=[ELSEWHERE, NOW, FURTHER])["active_goal"] == 0


def test_the_last_goal_stays_active_and_is_said_to_be_reached(live: Live) -> None:
    body = plan(live, goals=[ELSEWHERE, NOW], active_goal=1)
    assert (body["active_goal"], body["goal_reached"]) == (1, True)


def test_each_goal_has_its_own_tolerance(live: Live) -> None:
    goals = [ELSEWHERE | {"tolerance": 100.0}, FURTHER | {"tolerance": 0.0}]
    body = plan(live, goals=goals)
    assert (body["active_goal"], body["goal_reached"]) == (1, False)


def test_effort_is_saved_and_change_smoothed_when_they_cost(live: Live) -> None:
    planner = {"preset": "default", "search_space": "free", "seed": 1}
    free, lazy, smooth = (
        actions_of(plan(live, planner=planner, cost=cost)) for cost in ({}, {"effort": 1e4}, {"smoothness": 1e4})
    )
    assert np.square(lazy).mean() < np.square(free).mean() / 2
    assert np.square(np.diff(smooth, axis=0)).mean() < np.square(np.diff(free, axis=0)).mean() / 2


@pytest.mark.parametrize("cost", [{"distance": "absolute"}, {"over": "last"}, {"over": "closest"}])
def test_the_goal_may_be_measured_otherwise(live: Live, cost: dict[str, Any]) -> None:
    assert plan(live, cost=cost)["predicted_cost"] != plan(live)["predicted_cost"]


def test_the_goals_weight_scales_its_cost(live: Live) -> None:
    once, twice = (plan(live, goals=[ELSEWHERE | {"weight": weight}]) for weight in (1.0, 2.0))
    np.testing.assert_array_equal(actions_of(once), actions_of(twice))
    assert twice["predicted_cost"] == pytest.approx(2 * once["predicted_cost"])


def test_what_to_keep_out_of_costs_within_its_radius_only(live: Live) -> None:
    there = {"model": {"name": MODEL}, "observations": [{"images": {"top": picture(3)}}]}
    encoded = live.json("encode", there).body
    embedding = {"space_id": encoded["space_id"], "latents": encoded["embeddings"] | {"shape": [1, 16]}}
    free, near, wide = (
        plan(
            live,
            cost={"keep_out": [{"embeddings": [embedding] * 2, "radius": radius, "weight": 5.0}]} if radius else {},
        )
        for radius in (None, 1e-6, 1e3)
    )
    assert near["predicted_cost"] == pytest.approx(free["predicted_cost"])
    assert free["predicted_cost"] + 4.5 < wide["predicted_cost"] < free["predicted_cost"] + 5


def test_robots_judged_by_other_terms_get_what_they_would_get_alone(live: Live) -> None:
    costs: list[dict[str, Any]] = [{}, {"effort": 1.0}, {"over": "last"}, {"smoothness": 3.0, "distance": "absolute"}]
    alone = [plan(live, cost=cost) for cost in costs]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda cost: plan(live, cost=cost), costs))
    for one, other in zip(alone, together, strict=True):
        assert other["predicted_cost"] == pytest.approx(one["predicted_cost"], rel=1e-5)
