"""A model with several sensors is evaluated with all of them, disturbed on purpose or not."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from envs import ENVS
from server import schemas
from server.benchmark.instant_engine import HORIZON, NAME, InstantEngine
from server.cli import main
from server.demo.animation import animation
from server.demo.page import page
from server.demo.report import table, task_summary
from server.demo.tasks import record_task
from server.engine.protocol import EngineReply, Incumbents, WarmStart
from server.evaluation.disturbance import OFFSET_SHARE, Disturbance
from server.evaluation.protocols import PROTOCOLS, PairStream
from server.evaluation.simulation import picture_px, simulation, task_of
from telos.http_planner import HttpPlanner
from telos.replies import ModelInfo, SensorInfo
from tests.server.live import Live, serving, settings_for

CUBE = ENVS["telos/Cube-v0"]
SIDE_PX = 32
SENSORS = [SensorInfo(**asdict(sensor)) for sensor in CUBE.every_sensor(SIDE_PX)]
VECTORS = [sensor for sensor in SENSORS if sensor.kind == "vector"]
CONTROL_STEPS = 5
SEED = 3
"""Of an episode that the policy fails: its page shows a film."""
ACTION = schemas.ActionInfo(
    names=list(CUBE.action_names),
    units=list(CUBE.action_units),
    low=[-high for high in CUBE.action_high],
    high=list(CUBE.action_high),
    dt_ms=1e3 * CUBE.dt_s,
    control_steps=CONTROL_STEPS,
)


class CubePolicy(InstantEngine):
    """Serves a policy for Cube that always moves the same way, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(script=self._move, action=ACTION)
        self.asked: list[schemas.PlanRequest] = []

    def _move(self, request: schemas.PlanRequest) -> np.ndarray:
        self.asked.append(request)
        return np.tile(0.4 * np.array(CUBE.action_high), (HORIZON * CONTROL_STEPS, 1))

    @property
    def models(self) -> Sequence[schemas.ModelInfo]:
        (info,) = super().models
        sensors = [schemas.SensorInfo(**sensor.to_json()) for sensor in CUBE.every_sensor(SIDE_PX)]
        known = {"task": "telos/Cube-v0", "sensors": sensors, "surprise_threshold": None}
        return [info.model_copy(update=known)]

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        planned = await super().plan(request, deadline=deadline, warm_start=warm_start, on_incumbent=on_incumbent)
        unknown = {"status": "POLICY", "predicted_cost": None, "planned_goal_distance": None, "costs": []}
        return replace(planned, response=planned.response.model_copy(update=unknown))


@pytest.fixture(scope="module")
def engine() -> CubePolicy:
    return CubePolicy()


@pytest.fixture(scope="module")
def live(engine: CubePolicy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(settings_for(tmp_path_factory.mktemp("none")), engine) as running:
        yield running


@pytest.fixture(scope="module")
def model(live: Live) -> Iterator[ModelInfo]:
    with HttpPlanner(f"http://127.0.0.1:{live.running.http_port}") as planner:
        yield planner.model(NAME)


class Evaluation:
    """One episode, and what the engine was asked in it."""

    def __init__(self, live: Live, engine: CubePolicy, out: Path, *disturb: str) -> None:
        engine.asked.clear()
        command = ["evaluate", "--model", NAME, "--server", f"http://127.0.0.1:{live.running.http_port}"]
        options = ["--episodes", "1", "--robots", "1", "--seed", str(SEED), "--quiet", "--out", str(out)]
        assert main([*command, *options, *(word for each in disturb for word in ("--disturb", each))]) == 0
        self.result = json.loads(out.read_text())
        self.page = out.with_suffix(".html").read_text()
        self.seen = [request.context[-1] for request in engine.asked]
        self.goals = [goal.observation for request in engine.asked for goal in request.goals]

    def pictures(self, camera: str) -> np.ndarray:
        return np.stack([pixels(seen, camera) for seen in self.seen])

    def vectors(self, sensor: str) -> np.ndarray:
        return np.stack([seen.arrays[sensor] for seen in self.seen])


def pixels(observation: schemas.Observation, camera: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(observation.images[camera].encoded)))


@pytest.fixture(scope="module")
def whole(live: Live, engine: CubePolicy, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return Evaluation(live, engine, tmp_path_factory.mktemp("whole") / "a.json")


def test_every_sensor_of_the_model_is_sent_now_and_as_a_goal(whole: Evaluation, model: ModelInfo) -> None:
    names = [sensor.name for sensor in SENSORS]
    assert whole.result["sensors"] == names and whole.result["disturbed"] == {}
    (row,) = whole.result["rows"]
    assert len(whole.seen) == len(row["plan_latencies_ms"]) == 10
    for observation in [*whole.seen, *whole.goals]:
        assert {*observation.images, *observation.arrays} == set(names)
    env = simulation(model)
    stream = PairStream(env_id=model.task, protocol=PROTOCOLS["offset25"], seed=SEED)
    wanted = env.observe(next(stream.pairs(env)).goal)
    env.close()
    for goal in whole.goals:
        for sensor in SENSORS:
            if sensor.kind == "camera":
                assert np.array_equal(pixels(goal, sensor.name), wanted[sensor.name])
            else:
                np.testing.assert_allclose(goal.arrays[sensor.name], wanted[sensor.name], atol=1e-5)


def test_a_policys_answer_without_a_cost_is_a_result_and_a_film(whole: Evaluation) -> None:
    (row,) = whole.result["rows"]
    assert row["predicted_costs"] == [None] * 10
    assert not row["success"] and "data:image/webp" in whole.page


def test_disturbed_sensors_are_sent_so_and_the_result_says_it(
    whole: Evaluation, live: Live, engine: CubePolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (vector,) = VECTORS
    disturbed = Evaluation(live, engine, tmp_path / "b.json", "wrist=black", f"{vector.name}=frozen")
    assert disturbed.result["disturbed"] == {"wrist": "black", vector.name: "frozen"}
    assert f"wrist black, {vector.name} frozen" in disturbed.page and f", wrist black, {vector.name} frozen: " in (
        capsys.readouterr().out
    )
    assert whole.pictures("wrist").any() and not disturbed.pictures("wrist").any()
    assert np.array_equal(disturbed.pictures("front"), whole.pictures("front")), "the others are as they were"
    true = whole.vectors(vector.name)
    assert np.ptp(true, axis=0).max() > 0.01, "the robot moved"
    assert np.array_equal(disturbed.vectors(vector.name), np.repeat(true[:1], len(true), axis=0))
    for goal, as_it_was in zip(disturbed.goals, whole.goals, strict=True):
        assert np.array_equal(pixels(goal, "wrist"), pixels(as_it_was, "wrist")), "goals stay as they are"
        assert np.array_equal(goal.arrays[vector.name], as_it_was.arrays[vector.name])


def test_an_offset_is_a_share_of_the_range_and_never_leaves_it() -> None:
    (vector,) = VECTORS
    low, high = np.array(vector.low), np.array(vector.high)
    disturb = Disturbance({vector.name: "offset"}, SENSORS)
    middle = ((low + high) / 2).astype(np.float32)
    read = disturb({vector.name: middle, "front": np.ones((2, 2, 3), np.uint8)})
    np.testing.assert_allclose(read[vector.name], middle + OFFSET_SHARE * (high - low), rtol=1e-5)
    assert read[vector.name].dtype == np.float32 and read["front"].all()
    np.testing.assert_allclose(disturb({vector.name: high.astype(np.float32)})[vector.name], high, rtol=1e-6)


def test_a_frozen_sensor_keeps_its_first_reading_of_each_episode() -> None:
    for episode in (1.0, 2.0):
        disturb = Disturbance({"front": "frozen"}, SENSORS)
        memory = np.full(3, episode)
        assert disturb({"front": memory})["front"].tolist() == [episode] * 3
        memory[:] = 9  # a camera may draw into the same array again
        assert disturb({"front": memory})["front"].tolist() == [episode] * 3


@pytest.mark.parametrize(
    ("disturb", "complaint"),
    [
        (["hand=black"], "sensor hand cannot be disturbed; the model has front, wrist, "),
        (["wrist=offset"], "wrist=offset is no disturbance of a camera; give black or frozen"),
        (["wrist=black", "wrist=frozen"], "names a sensor twice"),
    ],
)
def test_what_cannot_be_disturbed(
    live: Live, disturb: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--model", NAME, "--server", f"http://127.0.0.1:{live.running.http_port}", "--quiet"]
    assert main([*command, *(word for each in disturb for word in ("--disturb", each))]) == 2
    assert complaint in capsys.readouterr().err


def test_a_model_is_simulated_with_its_own_sensors_only(model: ModelInfo) -> None:
    one = replace(model, sensors=model.cameras[1:2])
    env = simulation(one)
    assert list(env.reset(seed=0)[0]["observation"]) == ["wrist"] and env.image_size == picture_px(one) == SIDE_PX
    env.close()
    assert picture_px(replace(model, sensors=())) == 64


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sensors": (SensorInfo(name="side", kind="camera", shape=(32, 32, 3)),)}, r"the sensor side \(camera\)"),
        ({"sensors": (replace(VECTORS[0], units=("deg",) * len(VECTORS[0].units)),)}, r"\[deg\].*has front \(camera\)"),
        ({"action": None}, "encodes and plans nothing"),
        ({"task": ""}, "belongs to a robot"),
    ],
)
def test_a_model_of_another_robot_is_refused(model: ModelInfo, change: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        task_of(replace(model, **change))


def test_a_demo_shows_a_policy_with_several_sensors(live: Live, model: ModelInfo) -> None:
    reached: list[bool] = []
    with HttpPlanner(f"http://127.0.0.1:{live.running.http_port}") as planner:
        task = record_task(planner, model, PROTOCOLS["offset25"], 1, 0, reached.append)
    said = task_summary(task)
    assert said["sensors"] == [sensor.name for sensor in SENSORS] and said["image_px"] == [SIDE_PX, SIDE_PX]
    assert said["surprise_threshold"] is None and len(reached) == 1
    assert {plan["predicted_cost"] for plan in said["rows"][0]["plans"]} == {None}
    assert NAME in table([said]) and "data:image/png" in page({"tasks": [said]}, [task])
    with Image.open(io.BytesIO(animation(task))) as film:
        assert film.format == "WEBP"
