"""Checkpoints: a folder with model.safetensors and manifest.json, and nothing that can run.

The weights are read whole into memory and held against the manifest's SHA-256 before anything looks at them: a file
replaced or truncated meanwhile can not bring the process down.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from worldmodel.data.atomic_file import write_atomically
from worldmodel.errors import CheckpointError
from worldmodel.heads.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig
from worldmodel.heads.task_distance import TaskDistance, TaskDistanceConfig, Tolerance
from worldmodel.inference.fast_steps_to_go import FastStepsToGo
from worldmodel.inference.precision import measured_precision
from worldmodel.inference.world_model import LatentWorldModel
from worldmodel.json_values import field_values
from worldmodel.manifest import Manifest, WeightsSpec, manifest_bytes, parse_manifest, read_manifest
from worldmodel.parts.precision import PrecisionChoice
from worldmodel.recipes import RECIPES, config_from_json
from worldmodel.recipes.joint_embedding import JointEmbedding

T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to plan with, and what it says of itself."""

    manifest: Manifest
    manifest_sha256: str
    world_model: LatentWorldModel
    steps_to_go: FastStepsToGo | None
    inverse_dynamics: InverseDynamics | None
    task_distance: TaskDistance | None


def save_checkpoint(
    folder: Path,
    manifest: Manifest,
    world_model: LatentWorldModel,
    steps_to_go: StepsToGo | None,
    inverse_dynamics: InverseDynamics | None = None,
    task_distance: TaskDistance | None = None,
) -> Manifest:
    """Write both files, each at once or not at all; returns the manifest with the weights' hash filled in."""
    tensors = _named_tensors(_Parts(world_model.recipe, steps_to_go, inverse_dynamics, task_distance))
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


def load_checkpoint(folder: Path, device: str = "cpu", precision: PrecisionChoice = "float32") -> Checkpoint:
    """`precision` is that of imagining. Raises CheckpointError when anything is missing, changed, of the wrong shape or
    not finite."""
    text = manifest_bytes(folder)
    manifest = parse_manifest(text, folder.name)
    data = _read_weights(folder, manifest)
    try:
        tensors = load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a data type that torch does not have
        raise CheckpointError(
            f"{manifest.weights.file} of {manifest.name} is no safetensors file: {error}; restore it or train again"
        ) from error
    _check(tensors, manifest)
    parts = _build(manifest)
    for prefix, part in parts.named():
        part.load_state_dict(_part(tensors, prefix))
        part.eval().requires_grad_(False).to(device)
    digest = hashlib.sha256(text).hexdigest()
    chosen = measured_precision(parts.recipe) if precision == "auto" else precision
    return Checkpoint(
        manifest=manifest,
        manifest_sha256=digest,
        world_model=LatentWorldModel(parts.recipe, chosen),
        steps_to_go=None if parts.steps_to_go is None else FastStepsToGo(parts.steps_to_go),
        inverse_dynamics=parts.inverse_dynamics,
        task_distance=parts.task_distance,
    )


def _read_weights(folder: Path, manifest: Manifest) -> bytes:
    path = folder / manifest.weights.file
    if not path.is_file():
        raise CheckpointError(f"{manifest.name} has no {manifest.weights.file}; restore it beside its manifest.json")
    if path.stat().st_size != manifest.weights.bytes:
        raise CheckpointError(
            f"{manifest.weights.file} of {manifest.name} has {path.stat().st_size} bytes; its manifest says "
            f"{manifest.weights.bytes}: the file is truncated or of another model, restore it"
        )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest.weights.sha256:
        raise CheckpointError(
            f"{manifest.weights.file} of {manifest.name} has SHA-256 {digest[:12]}…; its manifest says "
            f"{manifest.weights.sha256[:12]}…: the file was changed, restore it"
        )
    return data


@dataclass(frozen=True)
class _Parts:
    """The modules whose weights are in the file."""

    recipe: JointEmbedding
    steps_to_go: StepsToGo | None
    inverse_dynamics: InverseDynamics | None
    task_distance: TaskDistance | None

    def named(self) -> list[tuple[str, nn.Module]]:
        """What the names of each module's weights begin with in the file."""
        parts = {
            "world_model.": self.recipe,
            "steps_to_go.": self.steps_to_go,
            "inverse_dynamics.": self.inverse_dynamics,
            "task_distance.": self.task_distance,
        }
        return [(prefix, part) for prefix, part in parts.items() if part is not None]


def _build(manifest: Manifest) -> _Parts:
    """The modules that the manifest describes, with random weights."""
    config = config_from_json(manifest.recipe, manifest.config)
    side, size = config.image_px, manifest.observation
    if (size.height_px, size.width_px) != (side, side):
        raise CheckpointError(f"observation is {size.height_px} x {size.width_px} px; the recipe's image_px is {side}")
    latent_width, action_width = config.latent_width, manifest.action.width
    distance, inverse, task = manifest.steps_to_go, manifest.inverse_dynamics, manifest.task_distance
    return _Parts(
        RECIPES[manifest.recipe][0](config, action_width),
        None if distance is None else StepsToGo(_config(StepsToGoConfig, distance, "steps_to_go"), latent_width),
        None
        if inverse is None
        else InverseDynamics(_config(InverseDynamicsConfig, inverse, "inverse_dynamics"), latent_width, action_width),
        None if task is None else TaskDistance(_task_config(task), latent_width),
    )


def _config(cls: type[T], data: dict[str, Any], where: str) -> T:
    return cls(**field_values(cls, data, where))


def _task_config(data: dict[str, Any]) -> TaskDistanceConfig:
    tolerances = data.get("tolerances")
    if not isinstance(tolerances, list | tuple) or not all(isinstance(each, dict) for each in tolerances):
        raise CheckpointError(f"task_distance: tolerances is {tolerances!r:.60}; wanted a list of objects")
    parts = tuple(_config(Tolerance, each, "task_distance.tolerances") for each in tolerances)
    return _config(TaskDistanceConfig, {**data, "tolerances": parts}, "task_distance")


def _check(tensors: dict[str, Tensor], manifest: Manifest) -> None:
    """Refuses what does not fit before any memory is taken for it."""
    name = manifest.name
    try:
        with torch.device("meta"):
            wanted = _named_tensors(_build(manifest))
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"manifest of {name} describes no model that this build knows: {error}") from error
    if odd := sorted(set(tensors) ^ set(wanted)):
        state = "lack" if odd[0] in wanted else "have, and should not,"
        raise CheckpointError(f"weights of {name} {state} {odd[0]} ({len(odd)} in all); restore both of its files")
    for key, tensor in tensors.items():
        given, asked = ((list(part.shape), part.dtype) for part in (tensor, wanted[key]))
        if given != asked:
            raise CheckpointError(
                f"weights of {name}: {key} is {given}; its manifest wants {asked}: restore both files"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"weights of {name}: {key} is not finite; train the model again")


def _named_tensors(parts: _Parts) -> dict[str, Tensor]:
    """Every weight, under the name that it has in the file."""
    return {prefix + key: value for prefix, part in parts.named() for key, value in part.state_dict().items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
