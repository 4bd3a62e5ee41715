"""Checkpoints: a folder with model.safetensors, manifest.json and perhaps novelty.safetensors; nothing that can run.

The weights are read whole into memory and compared with the manifest's SHA-256 before anything looks at them: a file
that is replaced or truncated meanwhile cannot end the process.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from worldmodel.data.atomic_file import write_atomically
from worldmodel.errors import CheckpointError
from worldmodel.heads import HEADS, make_head
from worldmodel.heads.novelty import Calibrated, Novelty, novelty_from
from worldmodel.heads.surprise import surprise
from worldmodel.inference.fast_steps_to_go import fast_distance
from worldmodel.inference.precision import measured_precision
from worldmodel.inference.world_model import fast_encoder, fast_world_model
from worldmodel.json_values import shown
from worldmodel.manifest import Manifest, NoveltySpec, WeightsSpec, manifest_bytes, parse_manifest, read_manifest
from worldmodel.parts.precision import Precision, PrecisionChoice
from worldmodel.parts.world_model import CausalWorldModel
from worldmodel.recipe import Body, Encoder, Entry, LatentDistance, LatentPolicy, WorldModel
from worldmodel.recipes import RECIPES, config_from_json


@dataclass(frozen=True)
class TrainedModel:
    """The trained module of a recipe, and the trained heads that read its latents."""

    module: nn.Module
    heads: Mapping[str, nn.Module]

    def tensors(self) -> dict[str, Tensor]:
        """Every weight, by its name in the file."""
        return {prefix + key: value for prefix, part in self.named() for key, value in part.state_dict().items()}

    def named(self) -> list[tuple[str, nn.Module]]:
        """Each part, with the prefix of its weights' names in the file."""
        return [("world_model.", self.module), *((f"{name}.", head) for name, head in self.heads.items())]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model ready to use, and its manifest."""

    manifest: Manifest
    manifest_sha256: str
    trained: TrainedModel
    device: torch.device
    precision: Precision
    """Arithmetic of the predictor; frames are always encoded in float32."""
    encoder: Encoder | None
    world_model: WorldModel | None
    """None, like `policy`, for a model whose manifest has no `planning`."""
    policy: LatentPolicy | None
    """The recipe's own policy, else the first head that is a policy."""
    distances: Mapping[str, tuple[float, LatentDistance]]
    """Learned distances to a goal by head, each with its weight in the cost of a plan."""
    novelty: Novelty | None = None
    """None for a model whose novelty was not calibrated."""

    def surprise(self, latents: Float[Tensor, "b t n d"], actions: Float[Tensor, "b t-1 a"]) -> Float[Tensor, "b t-1"]:
        """Squared distance of each frame but the first from its prediction; needs a world model."""
        assert self.world_model is not None
        return surprise(self.world_model, latents, actions)


def save_checkpoint(
    folder: Path, manifest: Manifest, trained: TrainedModel, novelty: Calibrated | None = None
) -> Manifest:
    """Write the files, each as a whole; returns the manifest with their hashes filled in."""
    data = save({key: value.detach().cpu().contiguous() for key, value in trained.tensors().items()})
    weights = WeightsSpec(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    manifest = dataclasses.replace(manifest, weights=weights, novelty=None)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / weights.file, data)
    return _save_manifest(folder, manifest, novelty)


def save_novelty(folder: Path, novelty: Calibrated) -> Manifest:
    """Give the checkpoint in `folder` another novelty; its weights stay as they are. Raises CheckpointError."""
    return _save_manifest(folder, read_manifest(folder), novelty)


def _save_manifest(folder: Path, manifest: Manifest, novelty: Calibrated | None) -> Manifest:
    if novelty is not None:
        # First a manifest that names none: after a kill between the files the model loads, without its novelty.
        write_atomically(folder / "manifest.json", dataclasses.replace(manifest, novelty=None).to_json().encode())
        data = save({key: value.cpu().contiguous() for key, value in novelty.novelty.tensors().items()})
        spec = dataclasses.replace(novelty.spec, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        manifest = dataclasses.replace(manifest, novelty=spec)
        write_atomically(folder / spec.file, data)
    write_atomically(folder / "manifest.json", manifest.to_json().encode())
    return manifest


def verify_checkpoint(folder: Path) -> Manifest:
    """The manifest of a checkpoint whose files have the hashes that it names. Raises CheckpointError."""
    manifest = read_manifest(folder)
    _read_file(folder, manifest.weights, manifest.name)
    if manifest.novelty is not None:
        _read_file(folder, manifest.novelty, manifest.name)
    return manifest


def load_checkpoint(folder: Path, device: str = "cpu", precision: PrecisionChoice = "float32") -> Checkpoint:
    """A checkpoint ready to plan on `device`, whose predictor computes in `precision`.

    Raises CheckpointError when anything is missing, changed, of the wrong shape or not finite."""
    text = manifest_bytes(folder)
    manifest = parse_manifest(text, folder.name)
    tensors = _tensors(_read_file(folder, manifest.weights, manifest.name), manifest.weights, manifest.name)
    _check(tensors, manifest)
    novelty = _read_novelty(folder, manifest)
    trained = _build(manifest)
    for prefix, part in trained.named():
        part.load_state_dict(_part(tensors, prefix))
        part.eval().requires_grad_(False).to(device)
    ready = _ready(manifest, hashlib.sha256(text).hexdigest(), trained, torch.device(device), precision)
    return dataclasses.replace(ready, novelty=None if novelty is None else novelty.to(ready.device))


def _ready(
    manifest: Manifest, digest: str, trained: TrainedModel, device: torch.device, choice: PrecisionChoice
) -> Checkpoint:
    entry, module, plans = RECIPES[manifest.recipe], trained.module, manifest.planning is not None
    plain = entry.world_model(module) if plans and entry.world_model is not None else None
    precision = _precision(plain, choice)
    return Checkpoint(
        manifest=manifest,
        manifest_sha256=digest,
        trained=trained,
        device=device,
        precision=precision,
        encoder=None if entry.encoder is None else fast_encoder(entry.encoder(module)),
        world_model=None if plain is None else fast_world_model(plain, precision),
        policy=_policy(entry, manifest, trained) if plans else None,
        distances=_distances(manifest, trained),
    )


def _precision(plain: WorldModel | None, choice: PrecisionChoice) -> Precision:
    if choice != "auto":
        return choice
    return measured_precision(plain.predictor) if isinstance(plain, CausalWorldModel) else "float32"


def _policy(entry: Entry, manifest: Manifest, trained: TrainedModel) -> LatentPolicy | None:
    if entry.policy is not None:
        return entry.policy(trained.module)
    policies = [head for name, head in trained.heads.items() if HEADS[manifest.heads[name].type].is_policy]
    return cast(LatentPolicy, policies[0]) if policies else None


def _distances(manifest: Manifest, trained: TrainedModel) -> dict[str, tuple[float, LatentDistance]]:
    """Learned distances in the order of the table of heads, which is the order of a cost's terms."""
    rank = list(HEADS).index
    ordered = sorted(manifest.heads.items(), key=lambda item: rank(item[1].type))
    weights = {name: HEADS[spec.type].cost_weight for name, spec in ordered}
    return {
        name: (weight, fast_distance(trained.heads[name])) for name, weight in weights.items() if weight is not None
    }


def _read_novelty(folder: Path, manifest: Manifest) -> Novelty | None:
    if manifest.novelty is None:
        return None
    tensors = _tensors(_read_file(folder, manifest.novelty, manifest.name), manifest.novelty, manifest.name)
    return novelty_from(tensors, manifest.sensors, manifest.name)


def _read_file(folder: Path, spec: WeightsSpec | NoveltySpec, name: str) -> bytes:
    path = folder / spec.file
    if not path.is_file():
        raise CheckpointError(f"{name} has no {spec.file}; restore it beside its manifest.json")
    if path.stat().st_size != spec.bytes:
        raise CheckpointError(
            f"{spec.file} of {name} has {path.stat().st_size} bytes; its manifest says {spec.bytes}: the file is "
            "truncated or of another model, restore it"
        )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != spec.sha256:
        raise CheckpointError(
            f"{spec.file} of {name} has SHA-256 {digest[:12]}…; its manifest says {spec.sha256[:12]}…: the file was "
            "changed, restore it"
        )
    return data


def _tensors(data: bytes, spec: WeightsSpec | NoveltySpec, name: str) -> dict[str, Tensor]:
    try:
        return load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a data type that torch does not have
        raise CheckpointError(
            f"{spec.file} of {name} is not a safetensors file: {error}; restore it or train again"
        ) from error


def _build(manifest: Manifest) -> TrainedModel:
    """The modules that the manifest describes, with random weights."""
    config = config_from_json(manifest.recipe, manifest.config)
    width = 0 if manifest.action is None else manifest.action.width
    module = RECIPES[manifest.recipe].module(config, Body(sensors=manifest.sensors, action_width=width))
    heads = {name: make_head(spec, manifest.latent, width) for name, spec in manifest.heads.items()}
    return TrainedModel(module, heads)


def _check(tensors: dict[str, Tensor], manifest: Manifest) -> None:
    """Raises CheckpointError for weights that do not fit the manifest, before memory is taken for the model."""
    name = manifest.name
    try:
        with torch.device("meta"):
            trained = _build(manifest)
            _check_latents(trained.module, manifest)
            wanted = trained.tensors()
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"manifest.json of {name} describes a model that this build cannot make: {error}; restore it"
        ) from error
    if odd := sorted(set(tensors) ^ set(wanted)):
        given, asked = ("lacks", "wants") if odd[0] in wanted else ("has", "does not want")
        raise CheckpointError(
            f"{manifest.weights.file} of {name} {given} {shown(odd[0])}, which its manifest {asked} ({len(odd)} such "
            "tensors); restore both files from one training"
        )
    for key, tensor in tensors.items():
        given, asked = (f"{part.dtype} {list(part.shape)}" for part in (tensor, wanted[key]))
        if given != asked:
            raise CheckpointError(
                f"{manifest.weights.file} of {name}: {key} is {given}; its manifest wants {asked}: restore both files "
                "from one training"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(
                f"{manifest.weights.file} of {name}: {key} holds a number that is not finite; train the model again"
            )


def _check_latents(module: nn.Module, manifest: Manifest) -> None:
    """Raises CheckpointError where the recipe's latents have another shape than the manifest says."""
    encoder, latent = RECIPES[manifest.recipe].encoder, manifest.latent
    shape = (latent.tokens, latent.width) if encoder is None else encoder(module).latent_shape
    if shape != (latent.tokens, latent.width):
        given = f"{latent.tokens} tokens x {latent.width}"
        raise CheckpointError(f"latent is {given}; the recipe's is {shape[0]} x {shape[1]}")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
