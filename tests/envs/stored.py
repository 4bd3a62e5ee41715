"""Small episode stores whose readings say which they are, and a check of a store against EPISODE_FORMAT.md."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from envs.episodes import EpisodeWriter, shard_path
from envs.sensors import camera_sensor, vector_sensor

LOW, HIGH = (-2.0, 0.0), (2.0, 4.0)
SIDE_PX = 16
ARM = vector_sensor("arm", names=["bend", "turn"], units=["rad", "rad"], low=[-1, -3], high=[1, 3])
SENSORS = (camera_sensor("front", SIDE_PX), camera_sensor("wrist", SIDE_PX), ARM)
BLUE = {"front": 0, "wrist": 200}


def counting_frames(camera: str, number: int, frames: int) -> np.ndarray:
    """uint8 [frames, 16, 16, 3]: red is 40 times the episode's number, green the frame's, blue the camera's."""
    pictures = np.zeros((frames, SIDE_PX, SIDE_PX, 3), np.uint8)
    pictures[..., 0], pictures[..., 2] = 40 * number, BLUE[camera]
    pictures[..., 1] = np.arange(frames)[:, None, None]
    return pictures


def arm_readings(number: int, frames: int) -> np.ndarray:
    """float32 [frames, 2], within the arm's range."""
    steps = np.arange(frames)
    return np.stack([steps / 100, np.full(frames, number / 10)], axis=1).astype(np.float32)


def write_counting_store(folder: Path, steps: Sequence[int], per_shard: int = 4) -> Path:
    """A store with two cameras and a vector sensor, one episode for each entry of `steps`. Returns the folder."""
    folder.mkdir(parents=True)
    description = {
        "format": 2,
        "env_id": "tests/Counting-v0",
        "sensors": [sensor.to_json() for sensor in SENSORS],
        "dt_s": 0.1,
        "action": {"names": ["x", "y"], "units": ["m/s", "m/s"], "low": list(LOW), "high": list(HIGH)},
        "state": {"names": ["frame", "episode"], "units": ["1", "1"]},
        "features": {"names": ["frame", "episode", "seven"]},
        "policy": "random",
        "seed": 0,
        "episodes_requested": len(steps),
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    for shard, first in enumerate(range(0, len(steps), per_shard)):
        with EpisodeWriter(
            shard_path(folder, shard), sensors=SENSORS, action_width=2, state_width=2, feature_width=3
        ) as writer:
            for number in range(first, min(first + per_shard, len(steps))):
                writer.add(**_episode(number, steps[number]))
    return folder


def columns(store: Path) -> dict[str, np.ndarray]:
    """Every dataset of a store by its path in the shard, shards one after another."""
    parts = [_datasets(path) for path in sorted(store.glob("shard-*.h5"))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check_store(folder: Path) -> None:
    """Every dataset that EPISODE_FORMAT.md names is there, of its type and shape, and none besides."""
    said = json.loads((folder / "dataset.json").read_text())
    assert said["format"] == 2 and said["sensors"][0]["kind"] == "camera"
    for path in sorted(folder.glob("shard-*.h5")):
        stored = {name: (str(values.dtype), values.shape) for name, values in _datasets(path).items()}
        rows = int(_datasets(path)["lengths"].sum())
        episodes = len(_datasets(path)["lengths"])
        assert stored == _wanted(said, rows, episodes)


def _wanted(said: dict[str, Any], rows: int, episodes: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    types = {"camera": "uint8", "vector": "float32"}
    sensors = {f"sensors/{each['name']}": (types[each["kind"]], (rows, *each["shape"])) for each in said["sensors"]}
    twinned = [each for each in said["sensors"] if each["kind"] == "camera"]
    has_twins = "twin_factors" in said.get("collection", {})
    twins = {f"twins/{each['name']}": ("uint8", (rows, *each["shape"])) for each in twinned if has_twins}
    widths = {name: len(said[name]["names"]) for name in ("action", "state", "features")}
    return {
        **sensors,
        **twins,
        "actions": ("float32", (rows, widths["action"])),
        "state": ("float64", (rows, widths["state"])),
        "features": ("float32", (rows, widths["features"])),
        **{name: ("int64", (episodes,)) for name in ("lengths", "episode_id")},
        **{name: ("object", (episodes,)) for name in ("policy", "task")},
    }


def _datasets(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[:]

    with h5py.File(path) as shard:
        shard.visititems(visit)
    return found


def _episode(number: int, steps: int) -> dict[str, Any]:
    index = np.arange(steps + 1)
    truth = np.stack([index, np.full(steps + 1, number), np.full(steps + 1, 7)], axis=1).astype(float)
    actions = np.stack([index[:-1] / 100, 2 + np.full(steps, number / 100)], axis=1).astype(np.float32)
    pictures = {camera: counting_frames(camera, number, steps + 1) for camera in BLUE}
    return {
        "sensors": {**pictures, "arm": arm_readings(number, steps + 1)},
        "actions": actions,
        "state": truth[:, :2],
        "features": truth,
        "episode_id": number,
        "policy": "random",
        "task": f"count to {steps}",
    }
