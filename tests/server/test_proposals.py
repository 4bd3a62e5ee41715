"""Planning from a model's own proposals: with a search, without one, and where there are none."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch

from planner.names import AlgorithmName
from tests.server.live import Live, actions_of, plan_payload, serving, settings_for
from tests.tiny import ACTION, tiny_recipe, write_tiny_checkpoint
from worldmodel.checkpoint import load_checkpoint, save_checkpoint
from worldmodel.heads.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from worldmodel.inference.world_model import LatentWorldModel


@pytest.fixture(scope="module")
def proposing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("proposing")
    with serving(settings_for(write_with_inverse_dynamics(folder).parent)) as running:
        yield running


def write_with_inverse_dynamics(folder: Path) -> Path:
    written = write_tiny_checkpoint(folder)
    loaded = load_checkpoint(written)
    torch.manual_seed(3)
    head = InverseDynamics(InverseDynamicsConfig(width=16), 16, ACTION.width)
    manifest = dataclasses.replace(loaded.manifest, inverse_dynamics={"width": 16})
    assert loaded.steps_to_go is not None
    save_checkpoint(written, manifest, LatentWorldModel(tiny_recipe()), loaded.steps_to_go.head, head)
    return written


def test_a_checkpoint_with_inverse_dynamics_comes_back_as_it_was(tmp_path: Path) -> None:
    written = write_with_inverse_dynamics(tmp_path)
    one, other = (load_checkpoint(written).inverse_dynamics for _ in range(2))
    assert one is not None and other is not None
    latents = torch.randn(3, 1, 16)
    assert torch.equal(one(latents, latents.flip(0)), other(latents, latents.flip(0)))
    assert load_checkpoint(write_tiny_checkpoint(tmp_path, "without")).inverse_dynamics is None


def test_without_a_search_the_plan_is_the_proposal(proposing: Live) -> None:
    seeds = [
        proposing.json("plan", plan_payload(planner={"preset": "reactive", "seed": seed}, include=["costs"])).body
        for seed in (1, 2)
    ]
    assert seeds[0]["chunk"] == seeds[1]["chunk"], "a controller without a search draws nothing"
    assert seeds[0]["iterations_completed"] == 1 and len(seeds[0]["costs"]) == 1
    actions = actions_of(seeds[0])
    assert actions.shape == (25, 2) and (abs(actions) <= 1).all() and actions.std() > 0


def test_without_a_search_one_plan_is_imagined_and_said_to_be(proposing: Live) -> None:
    body = proposing.json("plan", plan_payload(planner={"preset": "reactive", "seed": 1})).body
    used = body["provenance"]["effective_planner"]
    assert used["num_samples"] == 1 and used.get("num_elites") is used.get("init_std") is None
    models = json.loads(proposing.http("GET", "/v1/models")[2])["models"]
    (listed,) = (preset for preset in models[0]["presets"] if preset["preset"] == "reactive")
    assert used == listed | {"min_iterations": 1, "seed": 1}
    assert proposing.json("plan", plan_payload(planner=used)).body["chunk"] == body["chunk"]


@pytest.mark.parametrize("given", [{"num_samples": 3}, {"num_elites": 2}, {"init_std": 0.5}])
def test_without_a_search_there_is_nothing_to_sample(proposing: Live, given: dict[str, float]) -> None:
    answer = proposing.json("plan", plan_payload(planner={"preset": "reactive", **given}))
    assert (answer.code, answer.pointers) == ("validation-failed", tuple(f"/planner/{field}" for field in given))
    assert "samples none" in answer.text


@pytest.mark.parametrize("algorithm", get_args(AlgorithmName))
def test_without_a_search_no_algorithm_changes_the_plan(proposing: Live, algorithm: str) -> None:
    plain, named = (
        proposing.json("plan", plan_payload(planner={"preset": "reactive", "seed": 1, **more})).body["chunk"]
        for more in ({}, {"algorithm": algorithm, "max_iterations": 3})
    )
    assert plain == named


def test_a_guided_search_is_at_least_as_good_as_its_proposal(proposing: Live) -> None:
    reactive, guided = (
        proposing.json("plan", plan_payload(planner={"preset": preset, "seed": 1})).body["predicted_cost"]
        for preset in ("reactive", "guided")
    )
    assert guided <= reactive


def test_models_say_whether_they_propose(proposing: Live, live: Live) -> None:
    names = [
        {preset["preset"] for preset in json.loads(running.http("GET", "/v1/models")[2])["models"][0]["presets"]}
        for running in (proposing, live)
    ]
    assert names[0] - names[1] == {"guided", "reactive"}


@pytest.mark.parametrize("preset", ["guided", "reactive"])
def test_a_model_that_proposes_nothing_refuses(live: Live, preset: str) -> None:
    answer = live.json("plan", plan_payload(planner={"preset": preset, "seed": 1}))
    assert (answer.code, answer.pointers) == ("validation-failed", ("/planner/preset",))
    assert "needs inverse dynamics" in answer.text
