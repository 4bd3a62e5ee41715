"""Episodes in worlds that differ: which do, in what, and that the store says so."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from envs import ENVS, MujocoGoalEnv
from envs.collect import collect
from envs.collect_config import CollectConfig
from envs.randomisation import FRAMES_A_TWIN_WORLD, Randomisation
from envs.two_room import TwoRoomVariation

ENV_ID = "telos/TwoRoom-v0"
LIGHT_AND_CAMERA = TwoRoomVariation.factors(["light", "camera"])


def store(folder: Path, randomisation: Randomisation | None) -> h5py.File:
    collect(
        CollectConfig(env_id=ENV_ID, episodes=6, steps=8, seed=3, image_size=16, randomisation=randomisation),
        folder,
        progress=False,
    )
    return h5py.File(folder / "shard-00000.h5")


def test_a_share_of_the_episodes_happens_in_other_worlds_and_nothing_else_changes(tmp_path: Path) -> None:
    half = Randomisation(factors=LIGHT_AND_CAMERA, share=0.5)
    with store(tmp_path / "nominal", None) as nominal, store(tmp_path / "half", half) as varied:
        for name in ("state", "actions", "lengths", "episode_id"):
            assert np.array_equal(nominal[name], varied[name], equal_nan=True), f"{name} is not as in the nominal world"
        looks = [np.array_equal(nominal["sensors/top"][row], varied["sensors/top"][row]) for row in range(0, 54, 9)]
    worlds = [half.variation(TwoRoomVariation, ENV_ID, 3, episode) for episode in range(6)]
    assert looks == [world == TwoRoomVariation() for world in worlds]
    assert {*looks} == {True, False}
    description = json.loads((tmp_path / "half" / "dataset.json").read_text())["collection"]
    assert description["varied_factors"] == list(LIGHT_AND_CAMERA) and description["varied_share"] == 0.5
    assert "varied_factors" not in json.loads((tmp_path / "nominal" / "dataset.json").read_text())["collection"]


def test_twins_show_the_same_states_in_other_worlds(tmp_path: Path) -> None:
    """Nothing else in the store changes; a twin differs from its frame where its world does."""
    twins = (*TwoRoomVariation.looks(), "camera_x_m", "agent_radius_m")
    half = Randomisation(factors=("door_y_m",), twins=twins, share=0.5)
    alone = Randomisation(factors=("door_y_m",), share=0.5)
    with store(tmp_path / "alone", alone) as one, store(tmp_path / "half", half) as other:
        for name in ("sensors/top", "state", "actions", "features"):
            assert np.array_equal(one[name], other[name], equal_nan=True), f"{name} depends on there being twins"
        assert "twins" not in one
        alike = np.array([np.array_equal(a, b) for a, b in zip(other["sensors/top"], other["twins/top"], strict=True)])
    for episode, same in enumerate(alike.reshape(6, 9)):
        world = half.variation(TwoRoomVariation, ENV_ID, 3, episode)
        worlds = half.twin_worlds(TwoRoomVariation, ENV_ID, 3, episode, 9)
        assert {each.door_y_m for each in worlds} == {world.door_y_m}
        assert same.tolist() == [each == world for each in worlds]
    assert half.twin_worlds(TwoRoomVariation, ENV_ID, 3, 1, 9)[:4] == half.twin_worlds(
        TwoRoomVariation, ENV_ID, 3, 1, 4
    )
    description = json.loads((tmp_path / "half" / "dataset.json").read_text())["collection"]
    assert description["twin_factors"] == list(twins)
    assert "twin_factors" not in json.loads((tmp_path / "alone" / "dataset.json").read_text())["collection"]


def test_twins_differ_in_one_factor_in_all_and_in_any_number_between() -> None:
    every = Randomisation(twins=TwoRoomVariation.looks())
    frames = every.twin_worlds(TwoRoomVariation, ENV_ID, 0, 0, 700 * FRAMES_A_TWIN_WORLD)
    worlds = frames[::FRAMES_A_TWIN_WORLD]
    numbers_changed = np.bincount([len(world.changed()) for world in worlds], minlength=7)
    assert (np.abs(numbers_changed - 100) < 40).all()
    assert len({world.floor_rgb for world in worlds}) > 300


def test_a_factor_is_named_once() -> None:
    with pytest.raises(ValueError, match=r"\['light_tilt_x'\] cannot both"):
        Randomisation(factors=("light_tilt_x",), twins=("light_tilt_x",))


@pytest.mark.parametrize("env_id", ENVS)
def test_looks_are_colours_and_lights_alone(env_id: str) -> None:
    env = ENVS[env_id](render_mode=None)
    before = numbers(env)
    env.set_variation(env.variation_class.sample(np.random.default_rng(0), env.variation_class.looks()))
    changed = {name for name, value in numbers(env).items() if not np.array_equal(value, before[name])}
    env.close()
    assert changed and changed <= {"geom_rgba", "light_diffuse", "light_dir", "light_dir0"}


def numbers(env: MujocoGoalEnv) -> dict[str, np.ndarray]:
    """Every array of its compiled model."""
    found = {name: getattr(env._model, name, None) for name in dir(env._model)}
    return {name: value.copy() for name, value in found.items() if isinstance(value, np.ndarray)}


def test_only_what_is_named_varies_and_alike_whatever_else_does() -> None:
    every = TwoRoomVariation.factors(["light", "camera", "agent", "door_y_m", "floor_rgb", "wall_rgb"])
    few, all_ = (
        Randomisation(factors=factors).variation(TwoRoomVariation, ENV_ID, 0, 7) for factors in (("door_y_m",), every)
    )
    assert few == TwoRoomVariation(door_y_m=few.door_y_m) and few.door_y_m != TwoRoomVariation().door_y_m
    assert few.door_y_m == all_.door_y_m and all_.light_intensity != TwoRoomVariation().light_intensity


def test_a_name_stands_for_what_begins_with_it() -> None:
    assert TwoRoomVariation.factors(["camera"]) == ("camera_x_m", "camera_y_m", "camera_height_m")
    assert TwoRoomVariation.factors(["door_y_m", "agent_rgb"]) == ("agent_rgb", "door_y_m")
    with pytest.raises(ValueError, match=r"unknown factors of variation \['lights'\]; TwoRoomVariation has"):
        TwoRoomVariation.factors(["camera", "lights"])


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Randomisation(factors=LIGHT_AND_CAMERA, share=share)


def test_factors_that_would_not_vary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not whole names; give .*camera_x_m"):
        store(tmp_path, Randomisation(factors=("camera",)))
    with pytest.raises(ValueError, match="no factor of variation is named"):
        Randomisation(factors=())
    with pytest.raises(ValueError, match="varies every factor already"):
        every = Randomisation(factors=LIGHT_AND_CAMERA)
        collect(CollectConfig(env_id=ENV_ID, episodes=1, seed=0, variation="random", randomisation=every), tmp_path)
