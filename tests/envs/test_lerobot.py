"""LeRobotDataset v3: a set of others comes in, a store goes out and comes back, and a kill loses a shard at most."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from envs.collect import collect
from envs.interchange.importing import import_episodes
from envs.interchange.lerobot_reader import LeRobotDataset
from envs.interchange.lerobot_writer import write_lerobot
from envs.interchange.opening import open_source
from envs.interchange.source import Frame, Source
from envs.interchange.stored_episodes import StoredEpisodes
from tests.envs.stored import (
    ARM,
    BLUE,
    SENSORS,
    arm_readings,
    check_store,
    columns,
    counting_frames,
    write_counting_store,
)
from tests.lerobot_set import CAMERA, WRIST, LeRobotSet, Recorded, recorded_dot

LENGTHS = (31, 8, 25, 1, 40)
LEAST_PSNR_DB = 35.0
"""Of any exported picture of TwoRoom at 64 px; 37 was measured."""


def fit(frame: Frame) -> Frame:
    return np.asarray(Image.fromarray(frame).resize((32, 32), Image.Resampling.BOX))


def import_all(source: Source, out: Path, **changes: object) -> Path:
    arguments = {"description": source.description, "limits": None, "fit": fit, "image_size": 32, **changes}
    import_episodes(source, out, **arguments)
    return out


def psnr_db(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of each frame."""
    error = ((one.astype(float) - other.astype(float)) ** 2).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-9))


@pytest.fixture(scope="module")
def episodes() -> list[Recorded]:
    return [recorded_dot(seed, steps=length - 1, wrist=True) for seed, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module", params=["libsvtav1", "libx264", "mpeg4", "image"])
def dataset(request: pytest.FixtureRequest, episodes: list[Recorded], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five episodes in three files, as video of some codecs, and as pictures inside the data."""
    as_images = {"video": False} if request.param == "image" else {"codec": request.param}
    return LeRobotSet(episodes, per_file=2, **as_images).write(tmp_path_factory.mktemp("recorded"))


def test_a_recorded_set_becomes_a_store(dataset: Path, episodes: list[Recorded], tmp_path: Path) -> None:
    out = import_all(open_source(dataset), tmp_path / "store")
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
    out = import_all(open_source(dataset), tmp_path / "store")
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
    for numbers, edges in ((actions, said["action"]), (readings, said["sensors"][2])):
        margin = 0.05 * (numbers.max(0) - numbers.min(0))
        np.testing.assert_allclose(edges["low"], numbers.min(0) - margin)
        np.testing.assert_allclose(edges["high"], numbers.max(0) + margin)
    assert said["sensors"][2]["names"] == ["state_0", "state_1"]
    assert said["origin"]["limits"] == "recorded, widened by 5% a side" and len(said["origin"]["meta_sha256"]) == 64
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
    assert (np.nanmin(actions, 0) > said["low"]).all() and (np.nanmax(actions, 0) < said["high"]).all()


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
    out = import_all(open_source(LeRobotSet([still]).write(tmp_path / "set")), tmp_path / "store")
    sensor = json.loads((out / "dataset.json").read_text())["sensors"][1]
    np.testing.assert_allclose((sensor["low"][1], sensor["high"][1]), (2.95, 3.05))


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven episodes of 24 frames."""
    out = tmp_path_factory.mktemp("collected") / "store"
    sensors = ["top", "position"]
    return collect(
        "telos/TwoRoom-v0", out, episodes=7, steps=23, seed=2, episodes_per_shard=4, progress=False, sensors=sensors
    )


@pytest.fixture(scope="module")
def exported(collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven episodes, three to a file."""
    out = tmp_path_factory.mktemp("exported") / "set"
    write_lerobot(StoredEpisodes(collected), out, episodes_per_file=3)
    return out


def test_out_and_back(collected: Path, exported: Path, tmp_path: Path) -> None:
    kept = {"fit": lambda frame: frame, "image_size": 64}
    back = import_all(open_source(exported), tmp_path / "back", episodes_per_shard=3, **kept)
    before, after = columns(collected), columns(back)
    np.testing.assert_array_equal(after["actions"], before["actions"])
    np.testing.assert_array_equal(after["state"], before["state"].astype(np.float32))
    assert after["lengths"].tolist() == before["lengths"].tolist()
    assert psnr_db(after["sensors/top"], before["sensors/top"]).min() > LEAST_PSNR_DB
    np.testing.assert_array_equal(after["sensors/position"], before["sensors/position"])
    words = ("action", "state", "dt_s", "env_id", "sensors")
    said, says = (json.loads((store / "dataset.json").read_text()) for store in (collected, back))
    assert {word: said[word] for word in words} == {word: says[word] for word in words}


def test_frames_stay_in_their_places(tmp_path: Path) -> None:
    """Each frame says its number, its episode's and its camera: none is early, late, or of a neighbour."""
    store = write_counting_store(tmp_path / "store", [9 + number for number in range(5)])
    write_lerobot(StoredEpisodes(store), tmp_path / "set", episodes_per_file=2)
    source = open_source(tmp_path / "set")
    for number in (0, 1, 3, 4):
        for camera in BLUE:
            frames = np.stack(list(source.frames(number, camera))).astype(float).mean(axis=(1, 2))
            wanted = counting_frames(camera, number, 10 + number)[:, 0, 0].astype(float)
            assert len(frames) == 10 + number
            assert np.abs(frames[:, [0, 2]] - wanted[:, [0, 2]]).max() < 20
            assert np.argsort(frames[:, 1]).tolist() == list(range(10 + number))
    for number, rows in enumerate(source.rows()):
        np.testing.assert_array_equal(rows.vectors["arm"], arm_readings(number, 10 + number))


def test_every_sensor_comes_back_in_its_words(tmp_path: Path) -> None:
    store = write_counting_store(tmp_path / "store", [9, 5])
    write_lerobot(StoredEpisodes(store), tmp_path / "set")
    back = import_all(open_source(tmp_path / "set"), tmp_path / "back", image_size=16, fit=lambda frame: frame)
    said = json.loads((back / "dataset.json").read_text())
    assert said["sensors"] == [sensor.to_json() for sensor in SENSORS]
    assert said["origin"]["ranges"] == {"arm": "the data set's"}
    chosen = open_source(tmp_path / "set", cameras=["wrist"], vectors=["observation.arm"]).description
    assert chosen.cameras == ["wrist"] and [each.sensor() for each in chosen.vectors] == [ARM]


def test_a_reading_beyond_the_range_that_the_set_says_is_refused(tmp_path: Path) -> None:
    store = write_counting_store(tmp_path / "store", [9])
    write_lerobot(StoredEpisodes(store), tmp_path / "set")
    path = tmp_path / "set/meta/telos.json"
    said = json.loads(path.read_text())
    said["vectors"][0]["high"] = [0.05, 3.0]
    path.write_text(json.dumps(said))
    with pytest.raises(ValueError, match=r"'bend' of the sensor 'arm' was recorded from 0 to 0.09, beyond the range"):
        import_all(open_source(tmp_path / "set"), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_sensor_called_state_leaves_the_truth_a_name_of_its_own(dataset: Path, tmp_path: Path) -> None:
    """A robot's own readings are `observation.state`; what else is known is the state of its surroundings."""
    store = import_all(open_source(dataset, cameras=["top"]), tmp_path / "store", limits=None)
    keep = [number for number, length in enumerate(LENGTHS) if length > 1]
    assert len(keep) == 4, "LeRobot has no words for an episode of one frame, which is left out below"

    class WithoutStills(StoredEpisodes):
        @property
        def lengths(self):
            return [length for length in super().lengths if length > 1]

        @property
        def tasks(self):
            return [super(WithoutStills, self).tasks[number] for number in keep]

        def rows(self):
            return (rows for rows in super().rows() if len(rows.state) > 1)

        def frames(self, episode: int, camera: str):
            return super().frames(keep[episode], camera)

    write_lerobot(WithoutStills(store), tmp_path / "set")
    source = open_source(tmp_path / "set")
    assert source.origin["state"] == "observation.environment_state"
    assert source.origin["vectors"] == ["observation.state"]
    for rows in source.rows():
        np.testing.assert_array_equal(rows.vectors["state"], rows.state.astype(np.float32))


def test_an_export_is_laid_out_as_lerobot_wants(collected: Path, exported: Path) -> None:
    """From the format's description, by other means than our reader."""
    info = json.loads((exported / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 10 and info["total_frames"] == 7 * 24
    assert (
        info["splits"] == {"train": "0:7"}
        and info["features"]["action"]["names"] == StoredEpisodes(collected).description.action_names
    )
    entries = pq.read_table(exported / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [entry["data/file_index"] for entry in entries] == [0, 0, 0, 1, 1, 1, 2]
    assert [entry["dataset_from_index"] for entry in entries] == [24 * number for number in range(7)]
    assert [entry[f"videos/{CAMERA}/from_timestamp"] for entry in entries] == [0, 2.4, 4.8, 0, 2.4, 4.8, 0]
    for entry in entries:
        name = f"chunk-{entry['data/chunk_index']:03d}/file-{entry['data/file_index']:03d}"
        rows = pq.read_table(exported / f"data/{name}.parquet")
        mine = rows.filter(pa.compute.equal(rows["episode_index"], entry["episode_index"]))
        assert mine["frame_index"].to_pylist() == list(range(24))
        assert mine["index"].to_pylist() == list(range(entry["dataset_from_index"], entry["dataset_to_index"]))
        assert np.isfinite(np.stack(mine["action"].to_numpy(zero_copy_only=False))).all()
        assert (exported / f"videos/{CAMERA}/{name}.mp4").is_file()
    tasks = pq.read_table(exported / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.to_pylist() == [{"task_index": 0, "task": "telos/TwoRoom-v0"}]


def test_statistics_are_those_of_the_numbers(collected: Path, exported: Path) -> None:
    statistics = json.loads((exported / "meta/stats.json").read_text())
    source = StoredEpisodes(collected)
    actions = np.concatenate([np.concatenate([r.actions, r.actions[-1:]]) for r in source.rows()]).astype(float)
    pixels = np.concatenate([np.stack(list(source.frames(e, "top"))) for e in range(7)]).reshape(-1, 3) / 255
    for key, values, shape in (("action", actions, (2,)), (CAMERA, pixels, (3, 1, 1))):
        for name, wanted in (("mean", values.mean(0)), ("std", values.std(0)), ("min", values.min(0))):
            np.testing.assert_allclose(statistics[key][name], wanted.reshape(shape), rtol=1e-5, atol=1e-7)
        assert statistics[key]["count"] == [len(values)]


@pytest.mark.parametrize("killed_at", [1, 3])
def test_a_killed_import_goes_on(episodes: list[Recorded], tmp_path: Path, killed_at: int) -> None:
    dataset = LeRobotSet(episodes).write(tmp_path / "set")
    whole = columns(import_all(open_source(dataset), tmp_path / "whole", episodes_per_shard=2))
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.envs.test_lerobot import import_all, open_source\n"
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
    with pytest.raises(ValueError, match="holds another dataset"):
        import_all(open_source(other), tmp_path / "store")


def test_a_killed_export_leaves_nothing(collected: Path, tmp_path: Path) -> None:
    class Broken(StoredEpisodes):
        def frames(self, episode: int, camera: str):
            if episode == 4:
                raise KeyboardInterrupt
            return super().frames(episode, camera)

    with pytest.raises(KeyboardInterrupt):
        write_lerobot(Broken(collected), tmp_path / "out", episodes_per_file=2)
    assert list(tmp_path.iterdir()) == []


def test_episodes_may_be_left_out(dataset: Path, episodes: list[Recorded]) -> None:
    """A preview reads the first and the last; what is between is passed over."""
    source = LeRobotDataset(dataset)
    for number in (0, 4):
        for camera, seen in (("top", episodes[number].frames), ("wrist", episodes[number].wrist)):
            assert seen is not None
            assert psnr_db(np.stack(list(source.frames(number, camera))), seen).min() > 30
