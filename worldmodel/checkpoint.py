"""Checkpoints: a folder with model.safetensors and manifest.json, and nothing that can run.

The weights are read whole into memory and held against the manifest's SHA-256 before anything looks at them: a file
replaced or truncated meanwhile can not bring the process down.
"""

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from worldmodel.errors import CheckpointError
from worldmodel.manifest import Manifest, WeightsSpec, read_manifest
from worldmodel.recipes import RECIPES, config_from_json
from worldmodel.steps_to_go import StepsToGo, StepsToGoConfig
from worldmodel.world_model import LatentWorldModel


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to plan with, and what it says of itself."""

    manifest: Manifest
    manifest_sha256: str
    world_model: LatentWorldModel
    steps_to_go: StepsToGo | None


def save_checkpoint(folder: Path, manifest: Manifest, world_model: LatentWorldModel, steps_to_go: StepsToGo | None) -> Manifest:
    """Write both files, each at once or not at all; returns the manifest with the weights' hash filled in."""
    tensors = {f"world_model.{key}": value for key, value in world_model.recipe.state_dict().items()}
    if steps_to_go is not None:
        tensors |= {f"steps_to_go.{key}": value for key, value in steps_to_go.state_dict().items()}
    data = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    weights = WeightsSpec(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    manifest = dataclasses.replace(manifest, weights=weights)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / weights.file, data)
    write_atomically(folder / "manifest.json", manifest.to_json().encode())
    return manifest


def verify_checkpoint(folder: Path) -> Manifest:
    """The manifest, once the weights were found to be the ones it names. Raises CheckpointError."""
    manifest = read_manifest(folder)
    _read_weights(folder, manifest)
    return manifest


def load_checkpoint(folder: Path, device: str = "cpu") -> Checkpoint:
    """Raises CheckpointError when anything is missing, changed, of the wrong shape or not finite."""
    manifest = read_manifest(folder)
    data = _read_weights(folder, manifest)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise CheckpointError(f"{manifest.weights.file} of {manifest.name} is not a safetensors file: {error}") from error
    if broken := [key for key, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise CheckpointError(f"weights of {manifest.name} are not finite: {broken[0]} and {len(broken) - 1} more")
    config = config_from_json(manifest.recipe, manifest.config)
    side = config.image_px
    if (manifest.observation.height_px, manifest.observation.width_px) != (side, side):
        raise CheckpointError(f"manifest of {manifest.name}: observation size differs from the recipe's image_px={side}")
    recipe = RECIPES[manifest.recipe][0](config, manifest.action.width)
    _fill(recipe, tensors, "world_model.", manifest.name)
    steps_to_go = None
    if manifest.steps_to_go is not None:
        steps_to_go = StepsToGo(StepsToGoConfig(**manifest.steps_to_go), config.latent_width)
        _fill(steps_to_go, tensors, "steps_to_go.", manifest.name)
        steps_to_go = steps_to_go.eval().requires_grad_(False).to(device)
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    return Checkpoint(manifest, digest, LatentWorldModel(recipe).to(device), steps_to_go)


def write_atomically(path: Path, data: bytes) -> None:
    """A reader sees the old file or the new one, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _read_weights(folder: Path, manifest: Manifest) -> bytes:
    path = folder / manifest.weights.file
    if not path.is_file():
        raise CheckpointError(f"{manifest.name} has no {manifest.weights.file}; restore it beside its manifest.json")
    if path.stat().st_size != manifest.weights.bytes:
        raise CheckpointError(
            f"{manifest.weights.file} of {manifest.name} has {path.stat().st_size} bytes; its manifest says "
            f"{manifest.weights.bytes}: the file is truncated or of another model"
        )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.weights.sha256:
        raise CheckpointError(
            f"{manifest.weights.file} of {manifest.name} has SHA-256 {digest[:12]}…; its manifest says "
            f"{manifest.weights.sha256[:12]}…: the file was changed, restore it"
        )
    return data


def _fill(module: torch.nn.Module, tensors: dict[str, torch.Tensor], prefix: str, name: str) -> None:
    own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    try:
        module.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"weights of {name} do not fit its configuration: {error}") from error
