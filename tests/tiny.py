"""Checkpoints with random weights: everything that trained ones have, in milliseconds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from worldmodel.checkpoint import TrainedModel, save_checkpoint
from worldmodel.heads import make_head
from worldmodel.heads.novelty import Calibrated, calibrated_novelty
from worldmodel.manifest import (
    ActionSpec,
    CalibrationSpec,
    HeadSpec,
    LatentSpec,
    Manifest,
    PlanningSpec,
    WeightsSpec,
)
from worldmodel.observation import SensorSpec
from worldmodel.recipe import Body
from worldmodel.recipes import RECIPES, config_to_json
from worldmodel.recipes.lewm import LeWM, tiny

ACTION = ActionSpec(
    names=("x", "y"), units=("m/s", "m/s"), low=(-1.0, -1.0), high=(1.0, 1.0), dt_s=0.1, control_steps=5
)
TOP = SensorSpec(name="top", kind="camera", shape=(32, 32, 3))
WRIST = SensorSpec(name="wrist", kind="camera", shape=(32, 32, 3))
PROPRIOCEPTION = SensorSpec(
    name="proprioception",
    kind="vector",
    shape=(7,),
    names=("pan", "lift", "elbow", "wrist_1", "wrist_2", "wrist_3", "opening"),
    units=("rad",) * 6 + ("m",),
    low=(-3.2,) * 6 + (0.0,),
    high=(3.2,) * 6 + (0.1,),
    mean=(0.0,) * 6 + (0.05,),
    std=(1.0,) * 6 + (0.02,),
)
SEVERAL = (TOP, WRIST, PROPRIOCEPTION)
HEADS: dict[str, HeadSpec] = {
    "steps_to_go": HeadSpec(type="steps_to_go", config={"width": 16, "longest": 30.0, "pooling": "concatenate"}),
}
INVERSE_DYNAMICS = HeadSpec(type="inverse_dynamics", config={"width": 16, "pooling": "concatenate"})


def tiny_body(sensors: tuple[SensorSpec, ...] = (TOP,)) -> Body:
    """The robot of the tiny checkpoints."""
    return Body(sensors=sensors, action_width=ACTION.width)


def tiny_recipe(seed: int = 0, sensors: tuple[SensorSpec, ...] = (TOP,)) -> LeWM:
    """Weights wide enough apart from zero that actions and context matter."""
    torch.manual_seed(seed)
    recipe = LeWM(tiny(), tiny_body(sensors))
    for block in recipe.predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.2)
    return recipe.eval()


def tiny_manifest(name: str = "tiny-lewm", **changes: Any) -> Manifest:
    """Describes `tiny_recipe` with `HEADS`; `changes` replaces entries."""
    sensors: tuple[SensorSpec, ...] = changes.get("sensors", (TOP,))
    entries: dict[str, Any] = {
        "version": "1",
        "recipe": "lewm",
        "config": config_to_json(tiny()),
        "sensors": sensors,
        "latent": LatentSpec(tokens=len(sensors), width=tiny().latent_width),
        "action": ACTION,
        "planning": PlanningSpec(context_frames=3, horizon=5, goal_distance_scale=32.0),
        "calibration": CalibrationSpec(quantiles=tuple(i / 100 for i in range(101)), transitions=1000, threshold=0.5),
        "heads": HEADS,
        "weights": WeightsSpec(sha256="", bytes=0),
    }
    return Manifest(name=name, **(entries | changes))


def tiny_heads(manifest: Manifest) -> dict[str, nn.Module]:
    """The heads of a manifest, with random weights."""
    width = 0 if manifest.action is None else manifest.action.width
    return {name: make_head(spec, manifest.latent, width).eval() for name, spec in manifest.heads.items()}


def tiny_novelty(sensors: tuple[SensorSpec, ...] = (TOP,)) -> Calibrated:
    """A calibration on noise, in milliseconds."""
    generator = torch.Generator().manual_seed(0)

    def episodes() -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(9):
            yield {
                spec.name: torch.randint(0, 256, (4, *spec.shape), generator=generator).to(torch.uint8)
                for spec in sensors
            }

    return calibrated_novelty(sensors, episodes(), episodes())


def write_tiny_checkpoint(folder: Path, name: str = "tiny-lewm", task: str = "", **changes: Any) -> Path:
    """Writes folder/name and returns it."""
    manifest = tiny_manifest(name, task=task, **changes)
    recipe = tiny_recipe(sensors=manifest.sensors)
    save_checkpoint(folder / name, manifest, TrainedModel(recipe, tiny_heads(manifest)))
    return folder / name


def write_tiny_sensors_checkpoint(folder: Path, name: str = "tiny-sensors") -> Path:
    """A model of two cameras and a vector; it has a policy, too."""
    return write_tiny_checkpoint(folder, name, sensors=SEVERAL, heads={**HEADS, "inverse_dynamics": INVERSE_DYNAMICS})


def write_tiny_policy_checkpoint(folder: Path, name: str = "tiny-gcbc") -> Path:
    """A policy without a world model."""
    entry = RECIPES["gcbc"]
    config = entry.presets["tiny"]()
    torch.manual_seed(0)
    manifest = tiny_manifest(
        name,
        recipe="gcbc",
        config=config_to_json(config),
        planning=PlanningSpec(context_frames=1, horizon=1, goal_distance_scale=32.0),
        calibration=None,
        heads={},
    )
    save_checkpoint(folder / name, manifest, TrainedModel(entry.module(config, tiny_body()).eval(), {}))
    return folder / name


def write_tiny_encoder_checkpoint(folder: Path, name: str = "tiny-encoder") -> Path:
    """A model that encodes and does not plan."""
    return write_tiny_checkpoint(folder, name, planning=None, calibration=None, heads={})
