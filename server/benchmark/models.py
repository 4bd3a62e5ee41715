"""Models of the planning benchmark: random weights, with the plain rollout and with the fast ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from planner.names import SearchSpaceName
from planner.presets import Preset
from planner.protocols import Distance
from server.engine.question import CostTerms
from worldmodel import (
    HEADS,
    RECIPES,
    ActionSpec,
    Body,
    Checkpoint,
    Latents,
    LatentSpec,
    Manifest,
    PlanningSpec,
    Precision,
    SensorSpec,
    TrainedModel,
    WeightsSpec,
    WorldModel,
    fast_distance,
    fast_world_model,
)

RECIPE = "lewm"
ACTIONS, CONTROL_STEPS = 2, 5
ACTION_WIDTH = ACTIONS * CONTROL_STEPS
REFERENCE = "reference"
VARIANTS: dict[str, Precision] = {REFERENCE: "float32", "float32": "float32", "bfloat16": "bfloat16"}
"""Variants of a model: the plain rollout, and the fast one in both precisions."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model and its cost."""

    camera_px: int
    context_frames: int
    terms: CostTerms
    heads: tuple[str, ...]
    """Names of the learned distances in the cost."""
    search_space: SearchSpaceName


CASES = {
    "paper": Case(camera_px=224, context_frames=1, terms=CostTerms(over="last"), heads=(), search_space="free"),
    "small": Case(camera_px=64, context_frames=3, terms=CostTerms(), heads=("steps_to_go",), search_space="constant"),
}
"""Cases by preset of the recipe: the published one, and the one that the service uses by default."""


def random_models(recipe: str, device: str) -> dict[str, Checkpoint]:
    """Checkpoints with the same random weights: the plain rollout, and the fast one in both precisions."""
    case, entry = CASES[recipe], RECIPES[RECIPE]
    assert entry.encoder is not None and entry.world_model is not None  # this recipe has a world model
    camera = SensorSpec(name="camera", kind="camera", shape=(case.camera_px, case.camera_px, 3))
    torch.manual_seed(0)
    body = Body(sensors=(camera,), action_width=ACTION_WIDTH)
    module = entry.module(entry.presets[recipe](), body).to(device).eval().requires_grad_(False)
    tokens, width = entry.encoder(module).latent_shape
    latent = LatentSpec(tokens=tokens, width=width)
    heads = {name: _head(name, latent).to(device) for name in case.heads}
    plain = entry.world_model(module)
    checkpoint = Checkpoint(
        manifest=_manifest(recipe, camera, latent),
        manifest_sha256=recipe,
        trained=TrainedModel(module, heads),
        device=torch.device(device),
        precision="float32",
        encoder=None,
        world_model=plain,
        policy=None,
        distances=weighted(heads),
    )
    return {name: checkpoint if name == REFERENCE else faster(checkpoint, VARIANTS[name]) for name in VARIANTS}


def plainer(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint of the same weights with the plain rollout and the heads as trained."""
    make, trained = RECIPES[checkpoint.manifest.recipe].world_model, checkpoint.trained
    assert make is not None  # it has a world model
    heads = {name: trained.heads[name] for name in checkpoint.distances}
    plain: WorldModel = make(trained.module)
    return replace(checkpoint, precision="float32", world_model=plain, distances=weighted(heads))


def faster(checkpoint: Checkpoint, precision: Precision) -> Checkpoint:
    """A checkpoint of the same weights with the rollout and the heads of the service."""
    assert checkpoint.world_model is not None  # it has a world model
    return replace(
        checkpoint,
        precision=precision,
        world_model=fast_world_model(checkpoint.world_model, precision),
        distances=weighted({name: fast_distance(head) for name, head in checkpoint.trained.heads.items()}),
    )


def weighted(heads: Mapping[str, Any]) -> dict[str, tuple[float, Distance]]:
    """Heads that are distances, with their weights in a plan's cost."""
    weights = {name: HEADS[name].cost_weight for name in heads}
    return {name: (weight, heads[name]) for name, weight in weights.items() if weight is not None}


def _head(name: str, latent: LatentSpec) -> nn.Module:
    entry = HEADS[name]
    config = entry.config_of((), "concatenate")
    return entry.module(config, latent, ACTION_WIDTH).eval().requires_grad_(False)


def _manifest(recipe: str, camera: SensorSpec, latent: LatentSpec) -> Manifest:
    limits = {"low": (-1.0,) * ACTIONS, "high": (1.0,) * ACTIONS}
    names = tuple(f"action_{index}" for index in range(ACTIONS))
    action = ActionSpec(names=names, units=("1",) * ACTIONS, dt_s=0.1, control_steps=CONTROL_STEPS, **limits)
    scale = 2.0 * latent.tokens * latent.width
    return Manifest(
        name=recipe,
        version="random",
        recipe=RECIPE,
        config={},
        sensors=(camera,),
        latent=latent,
        weights=WeightsSpec(sha256="", bytes=0),
        action=action,
        planning=PlanningSpec(context_frames=CASES[recipe].context_frames, horizon=5, goal_distance_scale=scale),
    )


def rollout_flops(recipe: str, search: Preset, name: str) -> float:
    """Floating-point operations of the rollout's products for one candidate, counted on the meta device."""
    case = CASES[recipe]
    with torch.no_grad():
        model = random_models(recipe, "meta")[name]
        world_model, latent = model.world_model, model.manifest.latent
        assert world_model is not None  # this recipe has a world model
        context = torch.zeros(1, case.context_frames, latent.tokens, latent.width, device="meta")
        past = torch.zeros(1, case.context_frames - 1, ACTION_WIDTH, device="meta")
        actions = torch.zeros(1, search.candidates, search.horizon, ACTION_WIDTH, device="meta")
        state = world_model.begin(Latents(context), past)
        with FlopCounterMode(display=False) as counter:
            world_model.rollout(state, actions)
    return counter.get_total_flops() / search.candidates
