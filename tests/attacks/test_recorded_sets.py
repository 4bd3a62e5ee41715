"""Data sets of others that are broken, or mean harm: each is refused in words, and nothing of it is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envs.interchange.lerobot_layout import expand
from envs.interchange.opening import open_source
from tests.envs.imported import import_all
from tests.envs.stored import write_counting_store
from tests.lerobot_set import CAMERA, LeRobotSet, recorded_dot

VIDEO = f"videos/{CAMERA}"
EPISODES = [recorded_dot(seed, steps=9, image_px=64) for seed in range(3)]


def lerobot_set(**changes: object) -> LeRobotSet:
    return LeRobotSet(EPISODES, per_file=2, codec="libx264", **changes)


def refused(root: Path, out: Path, says: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=says):
        import_all(open_source(root, **options), out)
    assert not list(out.glob("shard-*.h5")), "no shard of a set that cannot be read"


def spoilt(number: int, row: int, value: float) -> Callable[[int, list[np.ndarray]], list[np.ndarray]]:
    def change(episode: int, values: list[np.ndarray]) -> list[np.ndarray]:
        rows = np.array(values)
        if episode == number:
            rows[row] = value
        return list(rows)

    return change


INFO = [
    ({"codebase_version": "v2.1"}, "version 'v2.1'; wanted v3; convert it"),
    ({"codebase_version": None}, "version None"),
    ({"fps": 0}, "frames a second, above 0"),
    ({"fps": "30"}, "frames a second, above 0"),
    ({"fps": float("inf")}, "frames a second, above 0"),
    ({"fps": True}, "frames a second, above 0"),
    ({"fps": 30}, "30 frames a second"),
    ({"features": None}, "lacks 'features'"),
    ({"features": {"action": {"dtype": "float32"}}}, "wanted dtype, shape and names"),
    ({"features": {}}, "has no camera"),
    ({"total_episodes": 4}, "lists 3 episodes"),
    ({"data_path": "/etc/passwd"}, "outside of itself"),
    ({"data_path": "../set/data/chunk-000/file-000.parquet"}, "outside of itself"),
    ({"video_path": "videos/{video_key}/../../../{file_index:03d}.mp4"}, "outside of itself"),
    ({"video_path": "/{video_key}"}, "outside of itself"),
    ({"data_path": "{chunk_index.__class__}"}, "has other fields"),
    ({"data_path": "{chunk_index:999999999d}"}, "has other fields"),
    ({"data_path": "{0}"}, "has other fields"),
    ({"data_path": "data/nothing.parquet"}, "cannot be read"),
    ({"video_path": "videos/nothing.mp4"}, "not a readable video"),
]


@pytest.mark.parametrize(
    ("info", "says"), INFO, ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else ""
)
def test_info_that_cannot_be_used(tmp_path: Path, info: dict[str, object], says: str) -> None:
    refused(lerobot_set(info=info).write(tmp_path / "set"), tmp_path / "out", says)


ENTRIES = [
    ({"length": lambda number: 9}, "has 9 rows, and 10.0 pictures"),
    ({"length": lambda number: -1}, "wanted 1 or more|wanted a whole number"),
    ({"length": lambda number: 10 + number, f"{VIDEO}/to_timestamp": lambda number: 2 + number / 10}, "pictures"),
    ({"episode_index": lambda number: 0}, "wanted each from 0 on once"),
    ({"data/file_index": lambda number: 0}, "rows before episode 2 does|does not hold the 10 rows"),
    ({"data/chunk_index": lambda number: 7}, "cannot be read"),
    ({"data/chunk_index": lambda number: None}, "wanted a whole number"),
    ({f"{VIDEO}/file_index": lambda number: 0}, "frame"),
    ({f"{VIDEO}/from_timestamp": lambda number: float("nan")}, "wanted seconds from 0"),
    ({f"{VIDEO}/from_timestamp": lambda number: 5.0, f"{VIDEO}/to_timestamp": lambda number: 6.0}, "ends before"),
    ({f"{VIDEO}/from_timestamp": lambda number: 0.05, f"{VIDEO}/to_timestamp": lambda number: 1.05}, "has a frame at"),
]


@pytest.mark.parametrize(("entries", "says"), ENTRIES, ids=range(len(ENTRIES)))
def test_episodes_that_are_not_where_they_should_be(tmp_path: Path, entries: dict[str, object], says: str) -> None:
    refused(lerobot_set(entries=entries).write(tmp_path / "set"), tmp_path / "out", says)


ROWS = [
    ({"action": spoilt(1, 4, np.nan)}, "episode 1 of .*: action column 0 of frame 4 is not a finite number"),
    ({"action": spoilt(2, 0, np.inf)}, "episode 2 of .*: action column 0 of frame 0"),
    ({"action": lambda number, values: [row[:1] for row in values]}, "not 2 numbers"),
    ({"action": lambda number, values: [None, *values[1:]]}, "not 2 numbers"),
    ({"action": lambda number, values: ["left"] * len(values)}, "wanted 2 numbers a row"),
    ({"action": lambda number, values: [[0.0, 0.0]] * len(values)}, "never changes"),
    ({"observation.state": spoilt(0, 3, np.nan)}, "state column 0 of frame 3"),
    ({"timestamp": lambda number, values: values * 1.2}, "Only a constant frame rate"),
    ({"timestamp": lambda number, values: values + (values > 0.55) * 0.05}, "frame 6 has timestamp"),
    ({"timestamp": lambda number, values: values * np.float32(np.nan)}, "Only a constant frame rate"),
    ({"frame_index": lambda number, values: values[::-1]}, "does not count"),
    ({"episode_index": lambda number, values: values * 0}, "does not hold the 10 rows of episode 1"),
]


@pytest.mark.parametrize(("rows", "says"), ROWS, ids=range(len(ROWS)))
def test_numbers_that_cannot_be_used(tmp_path: Path, rows: dict[str, object], says: str) -> None:
    refused(lerobot_set(rows=rows).write(tmp_path / "set"), tmp_path / "out", says)


def test_a_camera_key_stays_inside(tmp_path: Path) -> None:
    root = lerobot_set().write(tmp_path / "set")
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["../../../etc"] = info["features"].pop(CAMERA)
    (root / "meta/info.json").write_text(json.dumps(info))
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.rename_columns([name.replace(CAMERA, "../../../etc") for name in table.column_names]), path)
    refused(root, tmp_path / "out", "outside of itself")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cameras": ["observation.images.wrist"]}, "there is no camera 'observation.images.wrist' in .*images.top"),
        ({"cameras": ["action"]}, "there is no camera 'action'"),
        ({"cameras": ["top", CAMERA]}, "name each camera once"),
        ({"vectors": ["observation.force"]}, "there is no vector 'observation.force' in .*observation.state"),
        ({"vectors": [CAMERA]}, "there is no vector"),
        ({"vectors": ["action"]}, "there is no vector 'action'"),
        ({"vectors": ["none", "state"]}, "there is no vector 'none'"),
        ({"state": "observation.force"}, "no column 'observation.force'"),
        ({"dt_s": 0.1}, "leave --dt-s out"),
    ],
)
def test_what_the_set_does_not_have(tmp_path: Path, options: dict[str, str], says: str) -> None:
    refused(lerobot_set().write(tmp_path / "set"), tmp_path / "out", says, **options)


def test_depth_is_no_camera(tmp_path: Path) -> None:
    root = lerobot_set().write(tmp_path / "set")
    info = json.loads((root / "meta/info.json").read_text())
    info["features"][CAMERA]["info"] = {"video.is_depth_map": True}
    (root / "meta/info.json").write_text(json.dumps(info))
    refused(root, tmp_path / "out", "has no camera")


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        ("torn", "not a readable video"),
        ("noise", "cannot be decoded|has a frame at|ends before"),
        ("unknown codec", "in a code that this PyAV cannot decode; write it anew"),
    ],
)
def test_a_video_that_cannot_be_decoded(tmp_path: Path, cut: str, says: str) -> None:
    root = lerobot_set().write(tmp_path / "set")
    path = root / VIDEO / "chunk-000/file-000.mp4"
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    if cut == "torn":
        del data[len(data) // 2 :]
    elif cut == "noise":
        data[start:end] = np.random.default_rng(0).bytes(end - start)
    else:
        data[:] = data.replace(b"avc1", b"xyz1").replace(b"avcC", b"xyzC")
    path.write_bytes(data)
    refused(root, tmp_path / "out", says)


def test_a_second_broken_file_leaves_the_shards_before_it(tmp_path: Path) -> None:
    root = lerobot_set().write(tmp_path / "set")
    (root / VIDEO / "chunk-000/file-001.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"file-001.mp4 is not a readable video"):
        import_all(open_source(root), tmp_path / "out", episodes_per_shard=2)
    assert [path.name for path in (tmp_path / "out").iterdir()].count("shard-00000.h5") == 1
    assert not list((tmp_path / "out").glob("*.tmp"))


@pytest.mark.parametrize("name", ["meta/info.json", "meta/episodes/chunk-000/file-000.parquet"])
def test_torn_metadata(tmp_path: Path, name: str) -> None:
    root = lerobot_set().write(tmp_path / "set")
    (root / name).write_bytes((root / name).read_bytes()[:-20])
    refused(root, tmp_path / "out", "cannot be read")


def test_info_of_no_end(tmp_path: Path) -> None:
    root = lerobot_set().write(tmp_path / "set")
    with (root / "meta/info.json").open("wb") as file:
        file.truncate(2**30)
    refused(root, tmp_path / "out", "over 16 MiB")
    (root / "meta/info.json").write_text("[" * 100_000)
    refused(root, tmp_path / "out", "cannot be read")


@pytest.mark.parametrize("picture", [None, b"no picture", {"bytes": None, "path": "/etc/passwd"}])
def test_pictures_that_are_not_in_the_set(tmp_path: Path, picture: object) -> None:
    root = lerobot_set(video=False).write(tmp_path / "set")
    path = root / "data/chunk-000/file-000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[3][CAMERA] = picture if isinstance(picture, dict) else {"bytes": picture, "path": None}
    pq.write_table(pa.Table.from_pylist(rows), path)
    refused(root, tmp_path / "out", "is not in .*file-000.parquet|cannot be decoded")


@pytest.mark.parametrize("name", ["../../twins/front", "/actions", ".", "", "a\x00b"])
def test_a_store_whose_sensors_point_elsewhere(tmp_path: Path, name: str) -> None:
    store = write_counting_store(tmp_path / "store", [5])
    said = json.loads((store / "dataset.json").read_text())
    said["sensors"][0]["name"] = name
    (store / "dataset.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match="does not say its sensors as Telos does"):
        open_source(store)


@pytest.mark.parametrize("lost", ["sensors/wrist", "sensors/arm", "sensors"])
def test_a_shard_without_a_sensor(tmp_path: Path, lost: str) -> None:
    store = write_counting_store(tmp_path / "store", [5])
    with h5py.File(store / "shard-00000.h5", "a") as shard:
        del shard[lost]
    source = open_source(store)
    with pytest.raises(ValueError, match=r"shard-00000\.h5 lacks sensors/"):
        list(source.rows())
        list(source.frames(0, "wrist"))


def test_nothing_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ValueError, match="wanted a LeRobotDataset v3"):
            open_source(path)


def test_templates_mean_what_they_say() -> None:
    assert expand("a/{video_key}/{chunk_index:03d}-{file_index}.mp4", "top", 2, 11) == "a/top/002-11.mp4"
    assert expand("{file_index:05d}", "", 0, 1234567) == "1234567"
