"""A robot with several sensors drives through real sockets, on both transports: with an engine that plans with a
checkpoint, and with one that only shows what it was given."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from server.settings import Settings
from telos import (
    Controller,
    ControlLoop,
    Goal,
    ModelInfo,
    Observation,
    Planner,
    PlannerConfig,
    PlanOptions,
    SensorInfo,
    TelosError,
    connect,
)
from tests.server.live import Live, serving, settings_for
from tests.server.sensors_engine import SensorsEngine

FAST = PlanOptions(config=PlannerConfig(preset="fast", seed=5))


@pytest.fixture(scope="module", params=["readings", "checkpoint"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    if request.param == "readings":
        with serving(Settings(http_port=0, grpc_port=0), SensorsEngine()) as running:
            yield running
        return
    from tests.tiny import write_tiny_sensors_checkpoint

    folder: Path = tmp_path_factory.mktemp("checkpoints")
    write_tiny_sensors_checkpoint(folder)
    with serving(settings_for(folder)) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def planner(live: Live, request: pytest.FixtureRequest) -> Iterator[Planner]:
    with connected(live, request.param) as planner:
        yield planner


def connected(live: Live, transport: str) -> Planner:
    port = live.running.http_port if transport == "http" else live.running.grpc_port
    return connect(f"{transport}://127.0.0.1:{port}")


def only_model(planner: Planner) -> ModelInfo:
    (model,) = planner.models()
    return model


def glimpse(model: ModelInfo, seed: int) -> Observation:
    """A reading of every sensor that differs with `seed`."""
    dice = np.random.default_rng(seed)
    return Observation.of_readings({sensor.name: reading(sensor, dice) for sensor in model.sensors})


def reading(sensor: SensorInfo, dice: np.random.Generator) -> np.ndarray:
    if sensor.kind == "camera":
        return dice.integers(0, 256, sensor.shape, dtype=np.uint8)
    return dice.uniform(sensor.low, sensor.high)


def without(seen: Observation, sensor: SensorInfo) -> Observation:
    assert isinstance(seen.images, dict)
    images = {name: each for name, each in seen.images.items() if name != sensor.name}
    return Observation(images, {name: each for name, each in seen.arrays.items() if name != sensor.name})


def replaced(seen: Observation, other: Observation, sensor: SensorInfo) -> Observation:
    """`seen`, with the reading of one sensor of `other`."""
    assert isinstance(seen.images, dict) and isinstance(other.images, dict)
    if sensor.kind == "camera":
        return Observation(seen.images | {sensor.name: other.images[sensor.name]}, seen.arrays)
    return Observation(seen.images, {**seen.arrays, sensor.name: other.arrays[sensor.name]})


def drive(planner: Planner, plans: int) -> list[np.ndarray]:
    model, driven = only_model(planner), []
    controller = Controller(planner, model=model.name, goal=glimpse(model, 99), options=FAST)
    for index in range(plans):
        plan = controller.plan(glimpse(model, index))
        assert np.isfinite(plan.actions).all() and len(plan.next_actions) == model.required_action.control_steps
        driven.append(plan.actions)
        controller.executed(plan.next_actions)
    return driven


def test_the_model_has_several_sensors(planner: Planner) -> None:
    model = only_model(planner)
    assert len(model.cameras) >= 2 and len(model.sensors) > len(model.cameras)


def test_both_transports_drive_the_same_way(live: Live) -> None:
    with connected(live, "http") as over_http, connected(live, "grpc") as over_grpc:
        np.testing.assert_array_equal(drive(over_http, plans=4), drive(over_grpc, plans=4))


def test_every_sensor_counts(planner: Planner) -> None:
    model = only_model(planner)
    now, other, goal = (glimpse(model, seed) for seed in range(3))
    plain = planner.plan(model.name, [now], goal, FAST).actions
    for sensor in model.sensors:
        changed = planner.plan(model.name, [replaced(now, other, sensor)], goal, FAST).actions
        assert not np.array_equal(plain, changed), sensor.name


def test_observations_are_encoded_into_the_models_space(planner: Planner) -> None:
    model = only_model(planner)
    one, other = planner.encode(model.name, [glimpse(model, 1), glimpse(model, 2)]).embeddings
    assert one.latents.shape == other.latents.shape == model.latent_shape
    assert not np.array_equal(one.latents, other.latents)


def test_goals_of_every_kind(planner: Planner) -> None:
    model = only_model(planner)
    now, goal = glimpse(model, 1), glimpse(model, 2)
    (embedding,) = planner.encode(model.name, [goal]).embeddings
    for target in (goal, embedding, [Goal(goal, tolerance=0.1), Goal(embedding)]):
        assert len(planner.plan(model.name, [now], target, FAST).actions)


def test_a_sensor_that_is_missing_is_named_before_anything_is_sent(planner: Planner) -> None:
    model = only_model(planner)
    for sensor in model.sensors:
        with pytest.raises(ValueError, match=f"missing {sensor.name}"):
            planner.plan(model.name, [without(glimpse(model, 1), sensor)], glimpse(model, 2), FAST)


def test_a_reading_in_another_unit_is_refused_by_name(planner: Planner) -> None:
    model = only_model(planner)
    sensor = next(sensor for sensor in model.sensors if sensor.kind == "vector")
    seen = glimpse(model, 1)
    wrong = Observation(seen.images, {**seen.arrays, sensor.name: np.degrees(sensor.high) + 100})
    with pytest.raises(TelosError, match="send it in that unit") as caught:
        planner.plan(model.name, [wrong], glimpse(model, 2), FAST)
    assert [error.pointer for error in caught.value.errors] == [f"/context/0/arrays/{sensor.name}"]


def test_a_stale_camera_is_refused_by_name(planner: Planner) -> None:
    model = only_model(planner)
    camera, seen = model.cameras[0], glimpse(model, 1)
    late_us = round(model.required_action.dt_ms * 1e3) + 1
    stale = Observation(seen.images, seen.arrays, capture_time_us=late_us, capture_times_us={camera.name: 0})
    with pytest.raises(TelosError, match="observation-stale") as caught:
        planner.plan(model.name, [stale], glimpse(model, 2), FAST)
    assert [error.pointer for error in caught.value.errors] == [f"/context/0/capture_times_us/{camera.name}"]


def test_a_robot_that_moves_on_sends_every_sensor(planner: Planner) -> None:
    model = only_model(planner)
    with ControlLoop(planner, model=model.name, goal=glimpse(model, 99), options=FAST) as loop:
        actions = [loop.act(glimpse(model, step)) for step in range(2 * model.required_action.control_steps)]
    assert np.isfinite(actions).all() and loop.plan is not None
