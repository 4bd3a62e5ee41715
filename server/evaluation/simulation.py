"""The simulation that a model is measured in: its task, with exactly the model's sensors."""

from envs import env_class
from envs.mujoco_env import MujocoGoalEnv
from envs.sensors import Sensor
from telos.replies import ModelInfo, SensorInfo

PICTURE_PX = 64
"""Side of a film's pictures when the model has no camera."""


def simulation(model: ModelInfo) -> MujocoGoalEnv:
    """A new simulation; its cameras draw squares as large as the largest that the model takes.

    Raises ValueError as `task_of` does.
    """
    return task_of(model)(image_size=picture_px(model), sensors=[sensor.name for sensor in model.sensors])


def task_of(model: ModelInfo) -> type[MujocoGoalEnv]:
    """The environment that the model was trained for.

    Raises ValueError when there is none, when it has other sensors than the model, and when the model plans nothing.
    """
    if not model.task:
        raise ValueError(f"{model.name} has no task in its manifest: it belongs to a robot, and is measured there")
    if model.action is None:
        raise ValueError(f"{model.name} encodes and plans nothing; give a model with actions")
    task = env_class(model.task)
    known = {sensor.name: sensor for sensor in task.every_sensor(picture_px(model))}
    for sensor in model.sensors:
        if sensor.name not in known or not _same(sensor, known[sensor.name]):
            raise ValueError(
                f"{model.name} has the sensor {sensor.name} ({_described(sensor)}); {model.task} has "
                f"{', '.join(f'{name} ({_described(each)})' for name, each in known.items())}: train a model on these"
            )
    return task


def picture_px(model: ModelInfo) -> int:
    """Side of the pictures that the simulated cameras draw; the server resizes them as the model wants."""
    return max((side for sensor in model.cameras for side in sensor.shape[:2]), default=PICTURE_PX)


def _same(trained: SensorInfo, simulated: Sensor) -> bool:
    """Whether readings mean the same. The server checks a vector's range, and fits images to the model's size."""
    return (trained.kind, trained.names, trained.units) == (simulated.kind, simulated.names, simulated.units)


def _described(sensor: SensorInfo | Sensor) -> str:
    numbers = (f"{name} [{unit}]" for name, unit in zip(sensor.names, sensor.units, strict=True))
    return " ".join([sensor.kind, *numbers])
