"""Sensors: what each says of itself, what no sensor may say, and what a shard accepts as its readings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.episodes import EpisodeWriter
from envs.sensors import Sensor, camera_sensor, choose, vector_sensor
from tests.envs.stored import ARM, SENSORS, arm_readings, columns, counting_frames


@pytest.mark.parametrize("sensor", SENSORS, ids=lambda sensor: sensor.name)
def test_a_sensor_is_its_json_and_comes_back_from_it(sensor: Sensor) -> None:
    data = json.loads(json.dumps(sensor.to_json()))
    assert set(data) == {"name", "kind", "shape", "names", "units", "low", "high"}
    assert Sensor.from_json(data) == sensor


def test_a_camera_has_empty_lists() -> None:
    lists = {"names": [], "units": [], "low": [], "high": []}
    assert camera_sensor("front", 64).to_json() == {"name": "front", "kind": "camera", "shape": [64, 64, 3], **lists}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "sensor name ''"),
        ({"name": "a/b"}, "without '/'"),
        ({"name": ".."}, "sensor name"),
        ({"name": "a\nb"}, "printable"),
        ({"kind": "lidar"}, "is of kind 'lidar'"),
        ({"shape": [3]}, r"shape \(3,\) and \[2, 2, 2, 2\] names"),
        ({"shape": [2, 1]}, "give \\(k,\\)"),
        ({"names": ["bend"]}, r"\[1, 2, 2, 2\] names"),
        ({"low": [-1]}, r"\[2, 2, 1, 2\] names"),
        ({"low": [-1, 3]}, "low < high"),
        ({"high": [1, float("inf")]}, "finite"),
        ({"low": [float("nan"), -3]}, "finite"),
        ({"kind": "camera"}, "camera 'arm' has shape"),
        ({"kind": "camera", "shape": [4, 4, 3]}, "only vectors have them"),
        ({"kind": "camera", "shape": [4, 4, 1]}, r"\(height, width, 3\)"),
        ({"kind": "camera", "shape": [0, 4, 3]}, r"\(height, width, 3\)"),
    ],
)
def test_what_no_sensor_is(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Sensor.from_json({**ARM.to_json(), **changes})


@pytest.mark.parametrize("lost", ["name", "kind", "shape", "names", "units", "low", "high"])
def test_every_word_of_a_sensor_is_needed(lost: str) -> None:
    data = ARM.to_json()
    del data[lost]
    with pytest.raises(KeyError, match=lost):
        Sensor.from_json(data)


def test_sensors_are_chosen_by_name_in_their_own_order() -> None:
    assert choose(SENSORS, None) == SENSORS[:1]
    assert choose(SENSORS, ["arm", "front"]) == (SENSORS[0], SENSORS[2])
    for names in ([], ["front", "front"], ["left"]):
        with pytest.raises(ValueError, match="give one or more of"):
            choose(SENSORS, names)


def test_a_vector_wants_a_range_for_each_number() -> None:
    with pytest.raises(ValueError, match="names, units, low and high"):
        vector_sensor("arm", names=["bend"], units=["rad"], low=[], high=[])


def writer(folder: Path, twins: bool = False) -> EpisodeWriter:
    path = folder / "shard-00000.h5"
    return EpisodeWriter(path, sensors=SENSORS, action_width=1, state_width=0, feature_width=0, twins=twins)


def episode(**changes: Any) -> dict[str, Any]:
    views = {camera: counting_frames(camera, 1, 5) for camera in ("front", "wrist")}
    rows = {"actions": np.zeros((4, 1), np.float32), "state": np.zeros((5, 0)), "features": np.zeros((5, 0))}
    right = {"sensors": {**views, "arm": arm_readings(1, 5)}, **rows, "episode_id": 0, "policy": "none"}
    return {**right, **changes}


def test_pictures_may_come_in_blocks(tmp_path: Path) -> None:
    whole = episode()["sensors"]
    blocks = {name: iter([readings[:2], readings[2:]]) for name, readings in whole.items()}
    with writer(tmp_path) as shard:
        shard.add(**episode(sensors=blocks))
    for name, readings in whole.items():
        assert np.array_equal(columns(tmp_path)[f"sensors/{name}"], readings)


def test_every_camera_has_twins_and_no_vector_has(tmp_path: Path) -> None:
    twins = {camera: 255 - counting_frames(camera, 1, 5) for camera in ("front", "wrist")}
    with writer(tmp_path, twins=True) as shard:
        shard.add(**episode(twins=twins))
    stored = columns(tmp_path)
    assert {name for name in stored if name.startswith("twins/")} == {"twins/front", "twins/wrist"}
    for camera, pictures in twins.items():
        assert np.array_equal(stored[f"twins/{camera}"], pictures)


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("lost", ["front", "arm"])
def test_an_episode_lacks_no_sensor(tmp_path: Path, lost: str, twins: bool) -> None:
    """Or its rows would be those of another episode from there on."""
    sensors = {name: readings for name, readings in episode()["sensors"].items() if name != lost}
    with pytest.raises(ValueError, match="sensors of the episode are"), writer(tmp_path, twins) as shard:
        shard.add(**episode(sensors=sensors))
    assert not list(tmp_path.iterdir())


def test_twins_are_neither_missing_nor_surplus(tmp_path: Path) -> None:
    views = {camera: counting_frames(camera, 1, 5) for camera in ("front", "wrist")}
    for wanted, given in ((True, None), (True, {"front": views["front"]}), (False, views)):
        with pytest.raises(ValueError, match="twins of the episode are"), writer(tmp_path, wanted) as shard:
            shard.add(**episode(twins=given))


@pytest.mark.parametrize("name", ["wrist", "arm"])
def test_every_sensor_has_one_reading_a_frame(tmp_path: Path, name: str) -> None:
    sensors = episode()["sensors"]
    with pytest.raises(ValueError, match=f"sensors/{name} of an episode has 4 rows; give 5"), writer(tmp_path) as shard:
        shard.add(**episode(sensors={**sensors, name: sensors[name][:4]}))
    assert not list(tmp_path.iterdir())
