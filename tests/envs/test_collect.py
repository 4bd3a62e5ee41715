"""The episode store: readable, the same however it was made, and never torn."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import h5py
import numpy as np
import pytest

from envs.collect import collect
from envs.collect_config import CollectConfig
from envs.cube import CubeEnv, CubeVariation
from envs.episodes import EpisodeWriter
from envs.randomisation import Randomisation
from envs.rollout import rollout_states
from envs.sensors import camera_sensor
from envs.two_room import TwoRoomEnv
from tests.envs.stored import check_store, columns

ENV_ID = "telos/TwoRoom-v0"
PARAMETERS = {"episodes": 10, "steps": 12, "seed": 3, "image_size": 16, "episodes_per_shard": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collect(
        CollectConfig(env_id=ENV_ID, **PARAMETERS), tmp_path_factory.mktemp("store"), workers=1, progress=False
    )


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_store_holds_what_the_format_says(store: Path) -> None:
    check_store(store)
    description = json.loads((store / "dataset.json").read_text())
    assert description["format"] == 2 and description["env_id"] == ENV_ID and description["dt_s"] == 0.1
    lists = {"names": [], "units": [], "low": [], "high": []}
    assert description["sensors"] == [{"name": "top", "kind": "camera", "shape": [16, 16, 3], **lists}]
    assert description["action"]["low"] == [-1.0, -1.0] and description["action"]["units"] == ["m/s", "m/s"]
    shards = sorted(store.glob("shard-*.h5"))
    assert [path.name for path in shards] == [f"shard-{k:05d}.h5" for k in range(5)]
    ids = []
    for path in shards:
        with h5py.File(path) as shard:
            lengths = shard["lengths"][:]
            assert lengths.tolist() == [13, 13]
            assert shard["sensors/top"].shape == (26, 16, 16, 3) and shard["sensors/top"].chunks == (1, 16, 16, 3)
            last = np.isnan(shard["actions"][:]).all(axis=1)
            assert np.flatnonzero(last).tolist() == (np.cumsum(lengths) - 1).tolist()
            assert np.isnan(shard["actions"][:]).any(axis=1).sum() == 2
            assert shard["state"].dtype == np.float64 and shard["features"].dtype == np.float32
            assert all(isinstance(name, str) for name in shard["policy"].asstr()[:])
            ids += shard["episode_id"][:].tolist()
    assert ids == list(range(10))


def test_frames_actions_and_states_belong_together(store: Path) -> None:
    """Replaying a stored episode in the simulator gives its states and pixels, to the bit."""
    env = TwoRoomEnv(image_size=16)
    with h5py.File(store / "shard-00001.h5") as shard:
        frames, actions, state = shard["sensors/top"][:13], shard["actions"][:13], shard["state"][:13]
        features = shard["features"][:13]
    env.set_state(state[0])
    for step in range(12):
        assert np.array_equal(env.render(), frames[step])
        assert np.array_equal(env.advance(actions[step]), state[step + 1])
    assert np.array_equal(env.state_features(state).astype(np.float32), features)
    trajectory = rollout_states(ENV_ID, 3, 2, 12, namespace="collect")
    assert np.array_equal(trajectory.states, state) and np.array_equal(trajectory.actions, actions[:-1])
    env.close()


def test_content_does_not_depend_on_the_workers(store: Path, tmp_path: Path) -> None:
    collect(CollectConfig(env_id=ENV_ID, **PARAMETERS), tmp_path, workers=2, progress=False)
    assert content(tmp_path) == content(store)


def test_kill_leaves_a_readable_store_and_resuming_completes_it(tmp_path: Path) -> None:
    parameters = PARAMETERS | {"episodes": 100, "steps": 100}
    whole = collect(CollectConfig(env_id=ENV_ID, **parameters), tmp_path / "whole", workers=1, progress=False)
    killed = tmp_path / "killed"
    imports = "from envs.collect import collect; from envs.collect_config import CollectConfig"
    call = f"{imports}; collect(CollectConfig(env_id={ENV_ID!r}, **{parameters!r}), {str(killed)!r}, workers=2)"
    process = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not list(killed.glob("shard-*.h5")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    survivors = sorted(killed.glob("shard-*.h5"))
    assert 0 < len(survivors) < 50, "the collection was to be killed in the middle"
    for path in survivors:
        with h5py.File(path) as shard:
            assert len(shard["sensors/top"]) == 202
    collect(CollectConfig(env_id=ENV_ID, **parameters), killed, workers=1, progress=False)
    assert content(killed) == content(whole)


def test_running_again_changes_nothing(store: Path) -> None:
    before = content(store)
    collect(CollectConfig(env_id=ENV_ID, **PARAMETERS), store, workers=2, progress=False)
    assert content(store) == before


@pytest.mark.parametrize("change", [{"seed": 4}, {"episodes": 12}, {"image_size": 32}, {"steps": 13}, {"lapses": 0.1}])
def test_a_store_of_other_parameters_is_refused(store: Path, change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="holds another data set"):
        collect(CollectConfig(env_id=ENV_ID, **PARAMETERS | change), store, progress=False)


@pytest.mark.parametrize(
    "change",
    [
        {"episodes": 0},
        {"steps": 0},
        {"seed": -1},
        {"variation": "some"},
        {"image_size": 4},
        {"lapses": 1.0},
        {"lapses": -0.1},
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        collect(CollectConfig(env_id=ENV_ID, **PARAMETERS | change), tmp_path, progress=False)


def test_no_worker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers"):
        collect(CollectConfig(env_id=ENV_ID, **PARAMETERS), tmp_path, workers=0, progress=False)


def test_random_variation_shows_in_the_frames(tmp_path: Path) -> None:
    collect(CollectConfig(env_id=ENV_ID, variation="random", **PARAMETERS | {"episodes": 2}), tmp_path, progress=False)
    with h5py.File(tmp_path / "shard-00000.h5") as shard:
        assert not np.array_equal(shard["sensors/top"][0, 0, 0], shard["sensors/top"][13, 0, 0])


def test_an_expert_that_lapses_holds_random_actions_and_goes_on_from_there(tmp_path: Path) -> None:
    collect(
        CollectConfig(env_id=ENV_ID, lapses=0.2, **PARAMETERS | {"episodes": 8, "steps": 60}), tmp_path, progress=False
    )
    assert json.loads((tmp_path / "dataset.json").read_text())["collection"]["lapses"] == 0.2
    plain = [rollout_states(ENV_ID, 3, index, 60, namespace="collect") for index in range(8)]
    index = [each.policy for each in plain].index("expert")
    with h5py.File(tmp_path / f"shard-{index // 2:05}.h5") as shard:
        assert shard["policy"].asstr()[index % 2] == "expert"
        actions, states = (shard[name][(index % 2) * rows :][:rows] for name, rows in (("actions", 60), ("state", 61)))
    first = int(np.flatnonzero((actions != plain[index].actions).any(1))[0])
    assert np.array_equal(states[: first + 1], plain[index].states[: first + 1])  # until then nothing differs
    held = (actions[1:] == actions[:-1]).all(1)
    assert 0.2 < held.mean() < 0.9  # an expert's noise never repeats an action, lapses do


def test_every_sensor_is_stored_as_it_is_observed(tmp_path: Path) -> None:
    """And every camera's twin, in the world of the frame's twins."""
    env_id, names = "telos/Cube-v0", ["proprioception", "wrist", "front"]
    twins = Randomisation(twins=("cube_rgb", "table_rgb"))
    parameters = {"episodes": 2, "steps": 5, "seed": 1, "image_size": 32}
    collect(
        CollectConfig(env_id=env_id, sensor_names=tuple(names), randomisation=twins, **parameters),
        tmp_path,
        progress=False,
    )
    check_store(tmp_path)
    stored, env = columns(tmp_path), CubeEnv(image_size=32, sensors=names)
    described = json.loads((tmp_path / "dataset.json").read_text())["sensors"]
    assert described == [sensor.to_json() for sensor in env.sensors] and described[0]["name"] == "front"
    worlds = [world for episode in range(2) for world in twins.twin_worlds(CubeVariation, env_id, 1, episode, 6)]
    for row, state in enumerate(stored["state"]):
        for name, reading in env.observe(state).items():
            assert np.array_equal(stored[f"sensors/{name}"][row], reading)
        env.set_variation(worlds[row])
        for camera in ("front", "wrist"):
            assert np.array_equal(stored[f"twins/{camera}"][row], env.render_state(state, camera))
        env.set_variation(CubeVariation())
    env.close()
    with pytest.raises(ValueError, match="holds another data set"):
        collect(
            CollectConfig(env_id=env_id, sensor_names=("front",), randomisation=twins, **parameters),
            tmp_path,
            progress=False,
        )


def test_other_sensors_change_nothing_else(store: Path, tmp_path: Path) -> None:
    collect(CollectConfig(env_id=ENV_ID, sensor_names=("top", "position"), **PARAMETERS), tmp_path, progress=False)
    one, other = columns(store), columns(tmp_path)
    assert other.keys() - one.keys() == {"sensors/position"}
    assert all(np.array_equal(one[name], other[name], equal_nan=name == "actions") for name in one)
    assert np.array_equal(other["sensors/position"], other["state"][:, :2].astype(np.float32))


@pytest.mark.parametrize(
    ("sensors", "says"),
    [
        (["position"], "needs a camera"),
        (["left"], "give one or more of"),
        (["top", "top"], "each once"),
        ([], "give one"),
    ],
)
def test_sensors_that_make_no_store_are_refused(tmp_path: Path, sensors: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        collect(
            CollectConfig(env_id=ENV_ID, sensor_names=tuple(sensors), **PARAMETERS), tmp_path / "store", progress=False
        )
    assert not (tmp_path / "store").exists()


def test_an_error_publishes_nothing(tmp_path: Path) -> None:
    widths = {"sensors": [camera_sensor("top", 16)], "action_width": 2, "state_width": 4, "feature_width": 2}
    with pytest.raises(KeyError), EpisodeWriter(tmp_path / "shard-00000.h5", **widths):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
