"""Episodes that somebody else drives: which those are, that nothing else changes, and that the store says so."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from envs.collect import collect
from envs.collect_config import CollectConfig
from envs.driver import Driver
from envs.mujoco_env import Action, MujocoGoalEnv, State

ENV_ID = "telos/TwoRoom-v0"
EPISODES, STEPS = 8, 12


class AlwaysRight:
    name = "always right"

    def __init__(self, env: MujocoGoalEnv, rng: np.random.Generator) -> None:
        self._action = np.array([env.action_high[0], 0.0], np.float32)

    def act(self, state: State) -> Action:
        return self._action


def store(folder: Path, driver: Driver | None, workers: int = 1) -> h5py.File:
    collect(
        CollectConfig(env_id=ENV_ID, episodes=EPISODES, steps=STEPS, seed=3, image_size=16, lapses=0.3, driver=driver),
        folder,
        progress=False,
        workers=workers,
    )
    return h5py.File(folder / "shard-00000.h5")


def test_a_share_of_the_episodes_is_driven_and_the_others_are_as_they_were(tmp_path: Path) -> None:
    half = Driver(name="one that keeps right", policies=AlwaysRight, share=0.5)
    driven = [half.drives(ENV_ID, 3, episode) for episode in range(EPISODES)]
    assert {*driven} == {True, False}
    with store(tmp_path / "usual", None) as usual, store(tmp_path / "half", half) as mixed:
        for episode, other in enumerate(driven):
            rows = slice(episode * (STEPS + 1), (episode + 1) * (STEPS + 1))
            start, actions = mixed["state"][rows.start], mixed["actions"][rows][:-1]
            assert np.array_equal(start, usual["state"][rows.start]), "the start depends on who drives"
            assert (mixed["policy"][episode] == b"always right") == other
            if other:
                assert np.array_equal(actions, np.tile([1.0, 0.0], (STEPS, 1))), "a driver has no lapses"
            else:
                assert np.array_equal(mixed["sensors/top"][rows], usual["sensors/top"][rows])
                assert np.array_equal(actions, usual["actions"][rows][:-1])
    described, plain = (
        json.loads((tmp_path / name / "dataset.json").read_text())["collection"] for name in ("half", "usual")
    )
    assert described == plain | {"driver": "one that keeps right", "driven_share": 0.5}


def test_a_driver_is_sent_to_the_processes_that_collect(tmp_path: Path) -> None:
    everything = Driver(name="one that keeps right", policies=AlwaysRight, share=1.0)
    with store(tmp_path / "two", everything, workers=2) as driven:
        assert {*driven["policy"]} == {b"always right"}


def test_a_store_is_not_gone_on_with_by_another_driver(tmp_path: Path) -> None:
    store(tmp_path / "store", Driver(name="one", policies=AlwaysRight, share=0.5)).close()
    with pytest.raises(ValueError, match="holds another data set"):
        store(tmp_path / "store", Driver(name="another", policies=AlwaysRight, share=0.5))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="give more than 0 and at most 1"):
        Driver(name="one", policies=AlwaysRight, share=share)
