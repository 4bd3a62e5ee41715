"""A checkpoint with random weights: everything that a trained one has, in milliseconds."""

from pathlib import Path

import torch

from worldmodel.checkpoint import save_checkpoint
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig
from worldmodel.inference.world_model import LatentWorldModel
from worldmodel.manifest import ActionSpec, Manifest, ObservationSpec, PlanningSpec, SurpriseSpec, WeightsSpec
from worldmodel.recipes import config_to_json
from worldmodel.recipes.lewm import LeWM, tiny

ACTION = ActionSpec(
    names=("x", "y"), units=("m/s", "m/s"), low=(-1.0, -1.0), high=(1.0, 1.0), dt_s=0.1, control_steps=5
)


def tiny_recipe(seed: int = 0) -> LeWM:
    """Weights wide enough apart from zero that actions and context matter."""
    torch.manual_seed(seed)
    recipe = LeWM(tiny(), ACTION.width)
    for block in recipe.predictor.blocks:
        torch.nn.init.normal_(block.modulation.weight, std=0.2)
    return recipe.eval()


def write_tiny_checkpoint(folder: Path, name: str = "tiny-lewm", task: str = "") -> Path:
    """Writes folder/name and returns it."""
    recipe = tiny_recipe()
    head_config = StepsToGoConfig(width=16)
    manifest = Manifest(
        name=name,
        version="1",
        recipe="lewm",
        config=config_to_json(tiny()),
        observation=ObservationSpec(camera="top", height_px=32, width_px=32),
        action=ACTION,
        planning=PlanningSpec(context_frames=3, horizon=5, goal_distance_scale=32.0),
        surprise=SurpriseSpec(quantiles=tuple(i / 100 for i in range(101)), transitions=1000, threshold=0.5),
        weights=WeightsSpec(sha256="", bytes=0),
        task=task,
        steps_to_go={"width": head_config.width, "longest": head_config.longest},
    )
    head = StepsToGo(head_config, tiny().latent_width).eval()
    save_checkpoint(folder / name, manifest, LatentWorldModel(recipe), head)
    return folder / name
