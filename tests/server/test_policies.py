"""Plans of a model's policy: alone, verified by its world model, and as the proposal of a search."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from planner.names import SearchAlgorithmName
from tests.server.live import Live, actions_of, ask, picture, plan_payload, serving, settings_for
from tests.tiny import HEADS, INVERSE_DYNAMICS, write_tiny_checkpoint, write_tiny_policy_checkpoint


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A model with a world model and a policy."""
    folder = tmp_path_factory.mktemp("both")
    write_tiny_checkpoint(folder, heads={**HEADS, "inverse_dynamics": INVERSE_DYNAMICS})
    with serving(settings_for(folder)) as running:
        yield running


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A policy without a world model."""
    folder = tmp_path_factory.mktemp("alone")
    write_tiny_policy_checkpoint(folder)
    with serving(settings_for(folder)) as running:
        yield running


def reactive(**changes: Any) -> dict[str, Any]:
    return plan_payload(**{"planner": {"preset": "reactive", "seed": 1}, "include": ["costs", "latents"], **changes})


def policy_payload(**changes: Any) -> dict[str, Any]:
    """For the policy without a world model, which sees one frame."""
    context = [{"images": {"top": picture(2)}, "step": 15}]
    return plan_payload(
        **{"model": {"name": "tiny-gcbc"}, "context": context, "action_history": [], "planner": {}, **changes}
    )


def presets_of(running: Live) -> dict[str, dict[str, Any]]:
    (model,) = json.loads(running.http("GET", "/v1/models")[2])["models"]
    return {preset["preset"]: preset for preset in model["presets"]}


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_a_policys_plan_runs_no_search_and_says_so(both: Live, transport: str) -> None:
    body = ask(both, transport)("plan", reactive()).body
    assert (body["status"], body["iterations_completed"], body.get("costs", [])) == ("POLICY", 0, [])
    actions = actions_of(body)
    assert actions.shape == (25, 2) and (abs(actions) <= 1).all() and actions.std() > 0


def test_a_policy_draws_nothing(both: Live) -> None:
    one, other = (both.json("plan", reactive(planner={"preset": "reactive", "seed": seed})).body for seed in (1, 2))
    assert one["chunk"] == other["chunk"]


def test_a_world_model_verifies_the_policys_actions(both: Live) -> None:
    body = both.json("plan", reactive()).body
    assert body["predicted_cost"] > 0 and body["planned_goal_distance"] > 0
    assert body["latents"]["shape"] == [5, 1, 16]


def test_a_policys_planner_can_be_sent_again(both: Live) -> None:
    body = both.json("plan", reactive()).body
    used = body["provenance"]["effective_planner"]
    assert used == presets_of(both)["reactive"] | {"seed": 1}
    assert used["algorithm"] == "policy"
    searched = ("num_samples", "num_elites", "max_iterations", "min_iterations", "init_std")
    assert all(used.get(field) is None for field in searched)
    assert both.json("plan", plan_payload(planner=used)).body["chunk"] == body["chunk"]


@pytest.mark.parametrize("named", [{"preset": "reactive"}, {"algorithm": "policy"}], ids=["preset", "algorithm"])
@pytest.mark.parametrize(
    "given",
    [{"num_samples": 3}, {"num_elites": 2}, {"init_std": 0.5}, {"max_iterations": 2}, {"min_iterations": 1}],
    ids=lambda given: next(iter(given)),
)
def test_settings_of_a_search_are_refused_where_none_runs(
    both: Live, given: dict[str, float], named: dict[str, str]
) -> None:
    answer = both.json("plan", plan_payload(planner={**named, **given}))
    assert (answer.code, answer.pointers) == ("validation-failed", tuple(f"/planner/{field}" for field in given))
    assert "a policy runs none" in answer.text


@pytest.mark.parametrize("algorithm", get_args(SearchAlgorithmName))
def test_the_preset_of_a_policy_takes_no_algorithm_that_searches(both: Live, algorithm: str) -> None:
    answer = both.json("plan", plan_payload(planner={"preset": "reactive", "algorithm": algorithm}))
    assert (answer.code, answer.pointers) == ("validation-failed", ("/planner/algorithm",))
    assert "runs no search" in answer.text


def test_the_algorithm_policy_is_the_same_under_any_preset(both: Live) -> None:
    plain, named = (
        both.json("plan", plan_payload(planner=planner)).body
        for planner in ({"preset": "reactive"}, {"preset": "thorough", "algorithm": "policy"})
    )
    assert plain["chunk"] == named["chunk"] and named["status"] == "POLICY"


def test_a_policy_obeys_limits_and_committed_actions(both: Live) -> None:
    limits = {"min": [-0.05, -0.05], "max": [0.05, 0.05], "max_delta": [0.01, 0.01]}
    committed = [[0.02, -0.02], [0.03, -0.03]]
    frame = plan_payload()["context"][1:]
    body = both.json(
        "plan", reactive(limits=limits, committed_actions=committed, context=frame, action_history=[])
    ).body
    actions = actions_of(body)
    assert (abs(actions) <= 0.05).all() and abs(actions[:2] - committed).max() < 1e-6
    assert max(body["safety"]["max_step_delta"]) <= 0.01 + 1e-6


def test_a_policys_plan_starts_from_no_earlier_one(both: Live) -> None:
    first = reactive(session_id="arm")
    both.json("plan", first)
    assert not both.json("plan", reactive(session_id="arm", request_id="again")).body["warm_started"]
    refused = both.json("plan", reactive(session_id="arm", warm_start=True, request_id="demanded"))
    assert (refused.code, refused.pointers) == ("session-not-found", ("/session_id",))


def test_a_search_may_start_from_a_policys_plan(both: Live) -> None:
    both.json("plan", reactive(session_id="leg"))
    context = [frame | {"step": frame["step"] + 5} for frame in plan_payload()["context"]]
    assert both.json("plan", plan_payload(session_id="leg", context=context)).body["warm_started"]


def test_a_complete_plan_of_a_policy_is_its_answer(both: Live) -> None:
    assert both.json("plan", reactive(require_complete=True, planning_budget_ms=10_000)).body["status"] == "POLICY"


def test_a_guided_search_is_at_least_as_good_as_its_proposal(both: Live) -> None:
    proposed, guided = (
        both.json("plan", plan_payload(planner={"preset": preset, "seed": 1})).body["predicted_cost"]
        for preset in ("reactive", "guided")
    )
    assert guided <= proposed


def test_models_list_only_the_presets_that_they_can_run(both: Live, live: Live, alone: Live) -> None:
    assert set(presets_of(both)) - set(presets_of(live)) == {"guided", "reactive"}
    assert set(presets_of(alone)) == {"reactive"}


@pytest.mark.parametrize("preset", ["guided", "reactive"])
def test_a_model_without_a_policy_refuses_its_presets(live: Live, preset: str) -> None:
    answer = live.json("plan", plan_payload(planner={"preset": preset, "seed": 1}))
    assert (answer.code, answer.pointers) == ("validation-failed", ("/planner/preset",))
    assert "needs a policy" in answer.text


class TestWithoutAWorldModel:
    def test_the_default_preset_is_the_policy(self, alone: Live) -> None:
        body = alone.json("plan", policy_payload(include=["costs", "latents"])).body
        assert (body["status"], body["iterations_completed"]) == ("POLICY", 0)
        assert actions_of(body).shape == (5, 2), "one chunk of the policy"
        assert body.get("predicted_cost") is body.get("planned_goal_distance") is body.get("latents") is None
        assert body.get("surprise") is None and body["goal_distance"] > 0

    @pytest.mark.parametrize("transport", ["json", "grpc"])
    def test_every_transport_leaves_out_what_nothing_verified(self, alone: Live, transport: str) -> None:
        body = ask(alone, transport)("plan", policy_payload()).body
        assert "predicted_cost" not in body or body["predicted_cost"] is None
        assert body["status"] == "POLICY"

    @pytest.mark.parametrize("preset", ["default", "fast", "thorough", "guided"])
    def test_searches_are_refused(self, alone: Live, preset: str) -> None:
        answer = alone.json("plan", policy_payload(planner={"preset": preset}))
        assert (answer.code, answer.pointers) == ("validation-failed", ("/planner/preset",))
        assert "needs a world model" in answer.text

    @pytest.mark.parametrize(
        ("changes", "pointer", "says"),
        [
            ({"planner": {"horizon": 3}}, "/planner/horizon", "1 model steps at once"),
            ({"cost": {"effort": 0.5}}, "/cost", "no world model"),
            ({"hold_on_surprise": True}, "/hold_on_surprise", "has no world model"),
        ],
    )
    def test_what_wants_imagination_is_refused(
        self, alone: Live, changes: dict[str, Any], pointer: str, says: str
    ) -> None:
        answer = alone.json("plan", policy_payload(**changes))
        assert (answer.code, answer.pointers) == ("validation-failed", (pointer,))
        assert says in answer.text

    def test_nothing_surprises_it(self, alone: Live) -> None:
        observations = [{"images": {"top": picture(seed)}} for seed in (1, 2)]
        payload = {"model": {"name": "tiny-gcbc"}, "observations": observations, "actions": [[[0.0, 0.0]] * 5]}
        answer = alone.json("anomaly", payload)
        assert (answer.code, answer.pointers) == ("validation-failed", ("/model/name",))

    def test_its_latents_are_a_goal(self, alone: Live) -> None:
        image = {"images": {"top": picture(3)}}
        encoded = alone.json("encode", {"model": {"name": "tiny-gcbc"}, "observations": [image]}).body
        latents = {"shape": encoded["embeddings"]["shape"][1:]} | {
            key: value for key, value in encoded["embeddings"].items() if key != "shape"
        }
        goals = [{"embedding": {"space_id": encoded["space_id"], "latents": latents}}]
        one, other = (alone.json("plan", policy_payload(**changes)).body for changes in ({}, {"goals": goals}))
        assert one["chunk"] == other["chunk"]


def test_a_policy_that_gives_what_is_not_finite_is_not_obeyed(both: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = both.running.service.engine.registry.models["tiny-lewm"].checkpoint.policy
    sound = policy.forward
    monkeypatch.setattr(policy, "forward", lambda *given: sound(*given) * float("nan"))
    assert both.json("plan", reactive()).code == "non-finite-plan"
