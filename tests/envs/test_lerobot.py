"""LeRobotDataset v3: a set of others comes in, and a kill loses a shard at most."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from envs.interchange.lerobot_reader import LeRobotDataset
from envs.interchange.opening import open_source
from tests.envs.imported import fit, import_all, psnr_db
from tests.envs.stored import check_store, columns
from tests.lerobot_set import CAMERA, WRIST, LeRobotSet, Recorded, recorded_dot

LENGTHS = (31, 8, 25, 1, 40)


@pytest.fixture(scope="module")
def episodes() -> list[Recorded]:
    return [recorded_dot(seed, steps=length - 1, wrist=True) for seed, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module", params=["libsvtav1", "libx264", "mpeg4", "image"])
def dataset(request: pytest.FixtureRequest, episodes: list[Recorded], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five episodes in three files, as video of some codecs, and as pictures inside the data."""
    as_images = {"video": False} if request.param == "image" else {"codec": request.param}
    return LeRobotSet(episodes, per_file=2, **as_images).write(tmp_path_factory.mktemp("recorded"))


def test_a_recorded_set_becomes_a_store(dataset: Path, episodes: list[Recorded], tmp_path: Path) -> None:
    out = import_all(open_source(dataset, vectors=["observation.state"]), tmp_path / "store")
    check_store(out)
    store = columns(out)
    assert store["lengths"].tolist() == list(LENGTHS) and store["episode_id"].tolist() == [0, 1, 2, 3, 4]
    starts = np.cumsum(LENGTHS) - LENGTHS
    for episode, start, length in zip(episodes, starts, LENGTHS, strict=True):
        span = slice(start, start + length)
        np.testing.assert_array_equal(store["actions"][span][:-1], episode.actions[:-1].astype(np.float32))
        assert np.isnan(store["actions"][span][-1]).all(), "the last frame leads nowhere"
        for name in ("state", "features", "sensors/state"):
            np.testing.assert_array_equal(store[name][span], episode.state.astype(np.float32))
        for name, frames in (("sensors/top", episode.frames), ("sensors/wrist", episode.wrist)):
            assert frames is not None
            wanted = np.stack([fit(frame) for frame in frames])
            assert psnr_db(store[name][span], wanted).min() > 30, "boundaries are exact: a wrong frame is below 20 dB"
    assert {task.decode() for task in store["task"]} == {"push the dot"}


def test_the_store_says_what_its_numbers_mean(dataset: Path, episodes: list[Recorded], tmp_path: Path) -> None:
    out = import_all(open_source(dataset, vectors=["observation.state"]), tmp_path / "store")
    said = json.loads((out / "dataset.json").read_text())
    assert said["dt_s"] == 0.1 and said["env_id"] == ""
    assert [(each["name"], each["kind"], each["shape"]) for each in said["sensors"]] == [
        ("top", "camera", [32, 32, 3]),
        ("wrist", "camera", [32, 32, 3]),
        ("state", "vector", [2]),
    ]
    assert said["action"]["names"] == ["x", "y"] and said["action"]["units"] == ["unstated"] * 2
    actions = np.concatenate([episode.actions[:-1] for episode in episodes]).astype(np.float32).astype(float)
    readings = np.concatenate([episode.state for episode in episodes]).astype(np.float32).astype(float)
    for numbers, edges, share in ((actions, said["action"], 0), (readings, said["sensors"][2], 0.05)):
        margin = share * (numbers.max(0) - numbers.min(0))
        np.testing.assert_allclose(edges["low"], numbers.min(0) - margin)
        np.testing.assert_allclose(edges["high"], numbers.max(0) + margin)
    assert said["sensors"][2]["names"] == ["state_0", "state_1"]
    assert said["origin"]["limits"] == "recorded" and len(said["origin"]["meta_sha256"]) == 64
    assert said["origin"]["ranges"] == {"state": "recorded, widened by 5% a side"}
    assert said["origin"]["cameras"] == [CAMERA, WRIST] and said["origin"]["vectors"] == ["observation.state"]


def test_a_shard_is_a_unit_of_work_and_holds_whole_episodes(dataset: Path, tmp_path: Path) -> None:
    out = import_all(open_source(dataset), tmp_path / "store", episodes_per_shard=2)
    check_store(out)
    ids = []
    for path in sorted(out.glob("shard-*.h5")):
        with h5py.File(path) as shard:
            ids.append(shard["episode_id"][:].tolist())
            assert len(shard["sensors/wrist"]) == len(shard["actions"]) == sum(LENGTHS[number] for number in ids[-1])
    assert ids == [[0, 1], [2, 3], [4]]
    said = json.loads((out / "dataset.json").read_text())["action"]
    actions = columns(out)["actions"]
    assert np.nanmin(actions, 0).tolist() == said["low"] and np.nanmax(actions, 0).tolist() == said["high"]


def test_without_a_state_there_is_nothing_to_probe(episodes: list[Recorded], tmp_path: Path) -> None:
    dataset = LeRobotSet(episodes[:2]).write(tmp_path / "set")
    out = import_all(open_source(dataset, state="none", vectors=["none"]), tmp_path / "store")
    check_store(out)
    store = columns(out)
    assert store["state"].shape == (39, 0) and store["features"].shape == (39, 0)
    assert not any(name.startswith("sensors/state") for name in store)


@pytest.mark.parametrize("names", [["wrist", "top"], [WRIST, CAMERA], ["top"]])
def test_cameras_are_chosen_by_name_and_the_first_is_the_main_one(
    episodes: list[Recorded], tmp_path: Path, names: list[str]
) -> None:
    dataset = LeRobotSet(episodes[:2]).write(tmp_path / "set")
    out = import_all(open_source(dataset, cameras=names, vectors=["observation.state"]), tmp_path / "store")
    sensors = [each["name"] for each in json.loads((out / "dataset.json").read_text())["sensors"]]
    assert sensors == [name.removeprefix("observation.images.") for name in names] + ["state"]
    check_store(out)


def test_a_reading_that_never_changes_has_a_range_all_the_same(tmp_path: Path) -> None:
    still = recorded_dot(0, steps=9)
    still.state[:, 1] = 3.0
    recorded = LeRobotSet([still]).write(tmp_path / "set")
    out = import_all(open_source(recorded, vectors=["observation.state"]), tmp_path / "store")
    sensor = json.loads((out / "dataset.json").read_text())["sensors"][1]
    np.testing.assert_allclose((sensor["low"][1], sensor["high"][1]), (2.95, 3.05))


def test_numbers_are_no_sensor_unless_they_are_named(dataset: Path) -> None:
    """A robot that cannot send them would have no use for the model."""
    assert open_source(dataset).description.vectors == []


@pytest.mark.parametrize("killed_at", [1, 3])
def test_a_killed_import_goes_on(episodes: list[Recorded], tmp_path: Path, killed_at: int) -> None:
    dataset = LeRobotSet(episodes).write(tmp_path / "set")
    whole = columns(import_all(open_source(dataset), tmp_path / "whole", episodes_per_shard=2))
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from envs.interchange.opening import open_source\n"
        "from tests.envs.imported import import_all\n"
        "done = []\n"
        "def report(): done.append(1); len(done) == int(sys.argv[3]) and os.kill(os.getpid(), signal.SIGKILL)\n"
        "import_all(open_source(Path(sys.argv[1])), Path(sys.argv[2]), episodes_per_shard=2, report=report)\n"
    )
    out = tmp_path / "killed"
    command = [sys.executable, "-c", script, str(dataset), str(out), str(killed_at)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], env={**os.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(out.glob("shard-*.h5"))) == killed_at // 2, "finished shards are there, unfinished ones are not"
    if killed_at > 1:
        check_store(out)
        assert columns(out)["episode_id"].tolist() == [0, 1]
    import_all(open_source(dataset), out, episodes_per_shard=2)
    again = columns(out)
    assert not list(out.glob("*.tmp"))
    for name, values in whole.items():
        np.testing.assert_array_equal(again[name], values)


def test_an_import_does_not_go_on_with_another_set(episodes: list[Recorded], tmp_path: Path) -> None:
    one, other = (LeRobotSet(part).write(tmp_path / f"{len(part)}") for part in (episodes[:2], episodes[:3]))
    import_all(open_source(one), tmp_path / "store")
    with pytest.raises(ValueError, match="holds another data set"):
        import_all(open_source(other), tmp_path / "store")


def test_episodes_may_be_left_out(dataset: Path, episodes: list[Recorded]) -> None:
    """A preview reads the first and the last; what is between is passed over."""
    source = LeRobotDataset(dataset)
    for number in (0, 4):
        for camera, seen in (("top", episodes[number].frames), ("wrist", episodes[number].wrist)):
            assert seen is not None
            assert psnr_db(np.stack(list(source.frames(number, camera))), seen).min() > 30
