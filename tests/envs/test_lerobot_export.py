"""LeRobotDataset v3: a store goes out and comes back, laid out as LeRobot wants, and a kill leaves nothing."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.collect import collect
from envs.collect_config import CollectConfig
from envs.interchange.lerobot_writer import write_lerobot
from envs.interchange.opening import open_source
from envs.interchange.stored_episodes import StoredEpisodes
from tests.envs.imported import import_all, psnr_db
from tests.envs.stored import (
    ARM,
    BLUE,
    SENSORS,
    arm_readings,
    columns,
    counting_frames,
    write_counting_store,
)
from tests.lerobot_set import CAMERA, LeRobotSet, recorded_dot

LEAST_PSNR_DB = 35.0
"""Of any exported picture of TwoRoom at 64 px; 37 was measured."""


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven episodes of 24 frames."""
    out = tmp_path_factory.mktemp("collected") / "store"
    sensors = ["top", "position"]
    return collect(
        CollectConfig(
            env_id="telos/TwoRoom-v0", episodes=7, steps=23, seed=2, episodes_per_shard=4, sensor_names=tuple(sensors)
        ),
        out,
        progress=False,
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
    with pytest.raises(ValueError, match=r"'bend' of the sensor 'arm' was recorded from 0 to 0.09, beyond the data"):
        import_all(open_source(tmp_path / "set"), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_sensor_called_state_leaves_the_truth_a_name_of_its_own(tmp_path: Path) -> None:
    """A robot's own readings are `observation.state`; what else is known is the state of its surroundings."""
    recorded = LeRobotSet([recorded_dot(0, steps=9), recorded_dot(1, steps=5)], codec="libx264").write(tmp_path / "set")
    write_lerobot(
        StoredEpisodes(import_all(open_source(recorded, vectors=["observation.state"]), tmp_path / "store")),
        tmp_path / "again",
    )
    source = open_source(tmp_path / "again")
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


def test_a_killed_export_leaves_nothing(collected: Path, tmp_path: Path) -> None:
    class Broken(StoredEpisodes):
        def frames(self, episode: int, camera: str):
            if episode == 4:
                raise KeyboardInterrupt
            return super().frames(episode, camera)

    with pytest.raises(KeyboardInterrupt):
        write_lerobot(Broken(collected), tmp_path / "out", episodes_per_file=2)
    assert list(tmp_path.iterdir()) == []
