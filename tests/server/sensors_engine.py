"""An engine without a model, for an arm with two cameras and seven readings: its plans show what its sensors gave."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from server import schemas
from server.benchmark.instant_engine import ACTION, HORIZON, InstantEngine
from server.engine.images import CheckedImage, check_images, decode_image
from server.engine.observations import check_sensors, images_of, to_observation
from server.engine.protocol import EngineReply, Incumbents, WarmStart
from server.settings import Settings
from server.validation import pointer_to
from tests.server.live import picture
from worldmodel import ObservationBatch, SensorSpec

ARM = "arm"
JOINTS = tuple(f"j{index}" for index in range(1, 7))
PROPRIOCEPTION = SensorSpec(
    name="proprioception",
    kind="vector",
    shape=(7,),
    names=(*JOINTS, "gripper"),
    units=("rad",) * 6 + ("m",),
    low=(-3.15,) * 6 + (0.0,),
    high=(3.15,) * 6 + (0.08,),
)
SENSORS = (
    SensorSpec(name="wrist", kind="camera", shape=(24, 32, 3)),
    SensorSpec(name="top", kind="camera", shape=(32, 32, 3)),
    PROPRIOCEPTION,
)


def readings(seed: int) -> np.ndarray:
    """[7] of the joints and the gripper: within their range, and different with `seed`."""
    low, high = np.asarray(PROPRIOCEPTION.low), np.asarray(PROPRIOCEPTION.high)
    return low + (high - low) * np.random.default_rng(seed).uniform(0.1, 0.9, 7)


def seen(seed: int, **changes: Any) -> dict[str, Any]:
    """A good observation, as a dictionary with images as bytes."""
    images = {"wrist": picture(seed), "top": picture(seed + 100, side=48, image_format="jpeg")}
    return {"images": images, "arrays": {"proprioception": readings(seed)}} | changes


def arm_plan(**changes: Any) -> dict[str, Any]:
    """A good plan request of two frames."""
    return {
        "model": {"name": ARM},
        "context": [seen(1, step=10), seen(2, step=15)],
        "action_history": [np.full((5, 2), 0.25)],
        "goals": [{"observation": seen(3)}],
        "planner": {"preset": "fast", "seed": 7},
    } | changes


def arm_frame(now: dict[str, Any]) -> dict[str, Any]:
    """A plan request of one frame."""
    return arm_plan(context=[now], action_history=[])


class SensorsEngine(InstantEngine):
    """Reads every observation of a request as a real engine does, and moves by what it read."""

    def __init__(self) -> None:
        super().__init__(script=self._moves)
        self.policy = False
        """Whether its plans say that a policy made them, which imagines nothing."""

    @property
    def models(self) -> list[schemas.ModelInfo]:
        """The arm."""
        (info,) = super().models
        sensors = [schemas.SensorInfo.model_validate(fields_of(spec)) for spec in SENSORS]
        return [info.model_copy(update={"name": ARM, "sensors": sensors, "latent_shape": [1, len(SENSORS)]})]

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        reply = await super().plan(request, deadline=deadline, warm_start=warm_start, on_incumbent=on_incumbent)
        if not self.policy:
            return reply
        changes = {"status": "POLICY", "predicted_cost": None, "planned_goal_distance": None, "iterations_completed": 0}
        return EngineReply(reply.response.model_copy(update=changes | {"costs": []}), reply.warm_start)

    async def encode(self, request: schemas.EncodeRequest) -> schemas.EncodeResponse:
        """What each sensor gave on the average."""
        read = self._read({f"/observations/{index}": each for index, each in enumerate(request.observations)})
        latents = np.stack([_summary(each)[None] for each in read])
        return (await super().encode(request)).model_copy(update={"embeddings": latents})

    def _moves(self, request: schemas.PlanRequest) -> np.ndarray:
        context = {f"/context/{index}": each for index, each in enumerate(request.context)}
        goals = {f"/goals/{index}/observation": goal.observation for index, goal in enumerate(request.goals)}
        read = self._read(context | {at: each for at, each in goals.items() if each is not None})
        moved = np.stack([_summary(each) for each in read]).mean(axis=0)  # [sensors], each within [-1, 1]
        steps = np.arange(1, HORIZON * ACTION.control_steps + 1)
        return np.stack([np.cos(steps * (1 + moved @ [3.0, 5.0, 7.0])), np.sin(steps * moved.sum())], axis=1)

    def _read(self, observations: Mapping[str, schemas.Observation]) -> list[ObservationBatch]:
        for at, each in observations.items():
            check_sensors(each, SENSORS, at, ACTION.dt_ms / 1e3)
        opened = [images_of(each, SENSORS, at) for at, each in observations.items()]
        checked = check_images({at: image for images in opened for at, image in images.items()}, Settings())
        return [self._decoded(each, at, checked) for at, each in observations.items()]

    def _decoded(self, given: schemas.Observation, at: str, checked: Mapping[str, CheckedImage]) -> ObservationBatch:
        pixels = {name: decode_image(checked[at + pointer_to("images", name)]) for name in given.images}
        return to_observation(given, SENSORS, pixels)


def fields_of(spec: SensorSpec) -> dict[str, Any]:
    """The fields of its SensorInfo."""
    return {
        "name": spec.name,
        "kind": spec.kind,
        **{key: list(getattr(spec, key)) for key in ("shape", "names", "units", "low", "high")},
    }


def _summary(observation: ObservationBatch) -> np.ndarray:
    """[sensors]: the mean of each, within [-1, 1]; float64."""
    values = observation.values
    pixels = [values[name].double().mean().item() / 127.5 - 1 for name in ("wrist", "top")]
    low, high = np.asarray(PROPRIOCEPTION.low), np.asarray(PROPRIOCEPTION.high)
    shares = (values["proprioception"].double().numpy() - low) / (high - low)
    return np.array([*pixels, 2 * shares.mean() - 1])
