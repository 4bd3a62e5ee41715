"""A small writer of episode stores: a world to learn in seconds, and one whose frames and actions say who they are."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.episodes import EpisodeWriter, shard_path
from envs.sensors import Sensor

LOW, HIGH = (-2.0, 0.0), (2.0, 4.0)
"""Physical limits of both worlds, asymmetric, so that a wrong scaling shows."""


@dataclass(frozen=True)
class Rows:
    """One episode: n + 1 frames, states and features, n actions in physical units."""

    frames: np.ndarray
    """Of the camera `top`."""
    actions: np.ndarray
    state: np.ndarray
    features: np.ndarray


def dot_episode(seed: int, steps: int = 30, image_px: int = 32) -> Rows:
    """A bright square that goes where the actions push it, on a dark floor."""
    rng = np.random.default_rng(seed)
    unitless = np.repeat(rng.uniform(-1, 1, (steps // 5 + 1, 2)), 5, axis=0)[:steps]
    places = [rng.uniform(0.2, 0.8, 2)]
    for action in unitless:
        places.append(np.clip(places[-1] + 0.06 * action, 0.1, 0.9))
    state = np.stack(places)
    return Rows(
        np.stack([_dot(place, image_px) for place in state]),
        _physical(unitless),
        state,
        np.concatenate([state, np.full((steps + 1, 1), 7.0)], axis=1),
    )


def counting_episode(number: int, steps: int = 30, image_px: int = 16) -> Rows:
    """Red is the episode's number, green the frame's; the unitless action of step i is (i / 100, number / 100)."""
    index = np.arange(steps + 1)
    frames = np.zeros((steps + 1, image_px, image_px, 3), np.uint8)
    frames[..., 0] = number
    frames[..., 1] = index[:, None, None]
    unitless = np.stack([index[:-1] / 100, np.full(steps, number / 100)], axis=1)
    truth = np.stack([index, np.full(steps + 1, number), np.full(steps + 1, 7)], axis=1).astype(float)
    return Rows(frames, _physical(unitless), truth[:, :2], truth)


def describe(sensors: Sequence[Sensor], **changes: Any) -> dict[str, Any]:
    """What dataset.json says; `changes` replaces top-level entries."""
    return {
        "format": 2,
        "env_id": "tests/Dot-v0",
        "sensors": [sensor.to_json() for sensor in sensors],
        "dt_s": 0.1,
        "action": {"names": ["x", "y"], "units": ["m/s", "m/s"], "low": list(LOW), "high": list(HIGH)},
        "state": {"names": ["x", "y"], "units": ["m", "m"]},
        "features": {"names": ["x", "y", "constant"]},
        "policy": "random",
        "seed": 0,
        **changes,
    }


def camera(image_px: int, name: str = "top") -> Sensor:
    """The camera of these stores."""
    return Sensor(name=name, kind="camera", shape=(image_px, image_px, 3))


POSITION = Sensor(
    name="position", kind="vector", shape=(2,), names=("x", "y"), units=("m", "m"), low=(-1.0, -1.0), high=(2.0, 2.0)
)
"""A vector sensor that reads the state of a dot episode."""


def write_store(
    folder: Path, episodes: Iterable[Rows], per_shard: int = 4, twins: bool = False, several_sensors: bool = False
) -> Path:
    """Writes folder/dataset.json and its shards; episode ids count from 0. Returns the folder.

    `twins` are the frames' negatives. With `several_sensors` a camera `side` sees the frames mirrored, and `position`
    reads the state.
    """
    listed = list(episodes)
    folder.mkdir(parents=True, exist_ok=True)
    image_px = listed[0].frames.shape[1]
    sensors = [camera(image_px)] + ([camera(image_px, "side"), POSITION] if several_sensors else [])
    collection = {"collection": {"twin_factors": ["all_rgb"]}} if twins else {}
    (folder / "dataset.json").write_text(json.dumps(describe(sensors, **collection)))
    for shard, first in enumerate(range(0, len(listed), per_shard)):
        with EpisodeWriter(
            shard_path(folder, shard),
            sensors=sensors,
            action_width=2,
            state_width=2,
            feature_width=3,
            twins=twins,
        ) as writer:
            for number, rows in enumerate(listed[first : first + per_shard], start=first):
                seen = readings(rows, several_sensors)
                writer.add(
                    sensors=seen,
                    twins={name: 255 - each for name, each in seen.items() if each.ndim == 4} if twins else None,
                    actions=rows.actions,
                    state=rows.state,
                    features=rows.features,
                    episode_id=number,
                    policy="random",
                )
    return folder


def readings(rows: Rows, several_sensors: bool) -> dict[str, np.ndarray]:
    """An episode as its sensors see it."""
    further = {"side": rows.frames[:, :, ::-1].copy(), "position": rows.state.astype(np.float32)}
    return {"top": rows.frames, **(further if several_sensors else {})}


def write_dot_store(
    folder: Path,
    episodes: int = 12,
    steps: int = 30,
    image_px: int = 32,
    twins: bool = False,
    several_sensors: bool = False,
) -> Path:
    """A deterministic store that the tiny preset learns from."""
    rows = (dot_episode(number, steps, image_px) for number in range(episodes))
    return write_store(folder, rows, twins=twins, several_sensors=several_sensors)


def _physical(unitless: np.ndarray) -> np.ndarray:
    low, high = np.asarray(LOW), np.asarray(HIGH)
    return (low + (unitless + 1) / 2 * (high - low)).astype(np.float32)


def _dot(place: np.ndarray, image_px: int) -> np.ndarray:
    grid = (np.arange(image_px) + 0.5) / image_px
    inside = (np.abs(grid[:, None] - place[1]) < 0.1) & (np.abs(grid[None, :] - place[0]) < 0.1)
    return np.where(inside[..., None], [230, 80, 30], [40, 60, 90]).astype(np.uint8)
