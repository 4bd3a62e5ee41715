"""The robot of an episode store, for a module and its manifest."""

import dataclasses

from worldmodel.clips import StepTiming
from worldmodel.data.episodes import EpisodeStore
from worldmodel.manifest import ActionSpec
from worldmodel.observation import SensorSpec
from worldmodel.recipe import Body
from worldmodel.recipes import RECIPES
from worldmodel.training.origin import Origin, alike
from worldmodel.training.report import Split


def body_of(origin: Origin, split: Split) -> Body:
    """The robot that a module is built for. An encoder alone knows no actions."""
    width = action_spec(split.store, split.timing).width if RECIPES[origin.recipe].plans else 0
    return Body(sensors=sensors_of(origin, split), action_width=width)


def sensors_of(origin: Origin, split: Split) -> tuple[SensorSpec, ...]:
    """The store's sensors: a checkpoint's own standardised as it knows them, others by the training episodes."""
    known = {sensor.name: sensor for sensor in origin.sensors}

    def spec(sensor: SensorSpec) -> SensorSpec:
        own = known.get(sensor.name)
        if own is not None and alike(own, sensor):
            return dataclasses.replace(own, low=sensor.low, high=sensor.high, aspect_ratio=sensor.aspect_ratio)
        return split.store.standardised(sensor, split.train)

    return tuple(map(spec, split.store.sensors))


def action_spec(store: EpisodeStore, timing: StepTiming) -> ActionSpec:
    """The store's actions, and the number of control steps in a model step."""
    action = store.description["action"]
    return ActionSpec(
        names=tuple(action["names"]),
        units=tuple(action["units"]),
        low=tuple(float(x) for x in action["low"]),
        high=tuple(float(x) for x in action["high"]),
        dt_s=float(store.description["dt_s"]),
        control_steps=timing.control_steps,
    )
