"""Published LeWorldModel files (weights.pt and config.json) as a Telos checkpoint.

The names of the weights are those of the authors' code (github.com/lucas-maes/le-wm) around a Hugging Face ViTModel, in
both of its generations of names. config.json is read as data: `_target_` is never looked at. The published model takes
actions standardised by its dataset's mean and standard deviation, Telos gives actions in [-1, 1] of the robot's limits;
the difference is folded into the action encoder's first Linear. weights.pt is a pickle, and this is the one place that
opens one: with `weights_only`, which refuses everything but tensors in plain containers.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldmodel.checkpoint import TrainedModel, save_checkpoint
from worldmodel.errors import CheckpointError
from worldmodel.manifest import ActionSpec, LatentSpec, Manifest, PlanningSpec, WeightsSpec
from worldmodel.observation import SensorSpec
from worldmodel.parts.encoders import ViTConfig
from worldmodel.parts.predictor import PredictorConfig
from worldmodel.recipe import Body
from worldmodel.recipes import RECIPES, config_to_json

RECIPE = "lewm"
"""Name of the recipe of these weights."""
VIT_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}
"""Width, depth and heads."""
HORIZON = 5
"""Model steps that the published planner looks ahead."""

OLD_VIT_NAMES = (
    (r"^encoder\.encoder\.layer\.", "encoder.layers."),
    (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
"""Patterns and replacements that turn the names of transformers 4 into those of transformers 5."""

PUBLISHED_NAMES = (
    (r"^encoder\.class_token$", "encoder.embeddings.cls_token"),
    (r"^encoder\.positions$", "encoder.embeddings.position_embeddings"),
    (r"^encoder\.patchify\.", "encoder.embeddings.patch_embeddings.projection."),
    (r"^encoder\.norm\.", "encoder.layernorm."),
    (r"^encoder\.blocks\.(\d+)\.norm_attention\.", r"encoder.layers.\1.layernorm_before."),
    (r"^encoder\.blocks\.(\d+)\.norm_mlp\.", r"encoder.layers.\1.layernorm_after."),
    (r"^encoder\.blocks\.(\d+)\.to_qkv\.", r"encoder.layers.\1.attention.(qkv)_proj."),
    (r"^encoder\.blocks\.(\d+)\.to_out\.", r"encoder.layers.\1.attention.o_proj."),
    (r"^encoder\.blocks\.(\d+)\.mlp\.0\.", r"encoder.layers.\1.mlp.fc1."),
    (r"^encoder\.blocks\.(\d+)\.mlp\.2\.", r"encoder.layers.\1.mlp.fc2."),
    (r"^projector\.", "projector.net."),
    (r"^predictor\.leave\.", "pred_proj.net."),
    (r"^predictor\.action_encoder\.patch\.", "action_encoder.patch_embed."),
    (r"^predictor\.action_encoder\.", "action_encoder."),
    (r"^predictor\.positions$", "predictor.pos_embedding"),
    (r"^predictor\.norm\.", "predictor.transformer.norm."),
    (r"^predictor\.blocks\.(\d+)\.modulation\.", r"predictor.transformer.layers.\1.adaLN_modulation.1."),
    (r"^predictor\.blocks\.(\d+)\.attention_norm\.", r"predictor.transformer.layers.\1.attn.norm."),
    (r"^predictor\.blocks\.(\d+)\.(to_qkv|to_out)\.", r"predictor.transformer.layers.\1.attn.\2."),
    (r"^predictor\.blocks\.(\d+)\.mlp\.", r"predictor.transformer.layers.\1.mlp.net."),
)
"""Patterns and replacements that turn the recipe's names into the published ones.

`(qkv)` stands for three tensors, which the recipe stacks."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published files, and the facts about the model that they do not contain."""

    weights: Path
    config: Path
    action: ActionSpec
    action_mean: tuple[float, ...]
    """Mean of one control step's actions over the dataset, in their physical units."""
    action_std: tuple[float, ...]
    camera: str
    task: str

    def __post_init__(self) -> None:
        if not len(self.action_mean) == len(self.action_std) == len(self.action.names) or min(self.action_std) <= 0:
            raise CheckpointError(
                f"action mean {list(self.action_mean)} and std {list(self.action_std)} must have one value for each of "
                f"{', '.join(self.action.names)}, and every std must be above 0"
            )


def import_lewm(published: Published, out: Path, provenance: dict[str, Any]) -> Manifest:
    """Write the checkpoint folder `out`; `provenance` goes into the manifest's training record. Raises CheckpointError.

    The checkpoint has no calibration, since there is no data to measure surprise on.
    """
    config = read_config(published.config, published.action)
    side = _image_side(published.config)
    camera = SensorSpec(name=published.camera, kind="camera", shape=(side, side, 3), resize="bilinear")
    recipe = RECIPES[RECIPE].module(config, Body(sensors=(camera,), action_width=published.action.width))
    recipe.load_state_dict(to_recipe(_published_tensors(published.weights), recipe))
    fold_action_scaling(recipe, published)
    manifest = Manifest(
        name=out.name,
        version="1",
        recipe=RECIPE,
        config=config_to_json(config),
        sensors=(camera,),
        latent=LatentSpec(tokens=1, width=config.latent_width),
        action=published.action,
        planning=PlanningSpec(
            context_frames=config.predictor.window,
            horizon=HORIZON,
            goal_distance_scale=2.0 * config.latent_width,  # of unrelated latents of unit variance
        ),
        weights=WeightsSpec(sha256="", bytes=0),
        task=published.task,
        training={
            **provenance,
            "imported": {"sha256": hashlib.sha256(published.weights.read_bytes()).hexdigest()},
            "action_statistics": {"mean": published.action_mean, "std": published.action_std},
        },
    )
    return save_checkpoint(out, manifest, TrainedModel(recipe, {}))


def _image_side(path: Path) -> int:
    """Pixels a side of the images that the published encoder reads. Its config was read before."""
    return int(json.loads(path.read_text())["encoder"]["image_size"])


def read_config(path: Path, action: ActionSpec) -> Any:
    """The architecture that a published config.json describes. Raises CheckpointError."""
    try:
        return _architecture(json.loads(path.read_text()), action)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path.name} is not a configuration of a published LeWorldModel: {type(error).__name__} {error}"
        ) from error


def _architecture(data: dict[str, Any], action: ActionSpec) -> Any:
    encoder, predictor, actions = data["encoder"], data["predictor"], data["action_encoder"]
    if encoder["size"] not in VIT_SIZES:
        raise ValueError(f"encoder.size is {encoder['size']!r}; wanted one of {', '.join(VIT_SIZES)}")
    latent = predictor["input_dim"]
    widths = [predictor["hidden_dim"], predictor.get("output_dim", latent), data["projector"]["output_dim"]]
    if any(width != latent for width in [*widths, actions["emb_dim"]]):
        raise ValueError(f"latents, actions and predictor must have one width; predictor.input_dim is {latent}")
    if actions["input_dim"] != action.width:
        raise ValueError(
            f"one model step has {actions['input_dim']} actions; {len(action.names)} names x {action.control_steps} "
            f"control steps are {action.width}: give the names of one control step"
        )
    width, depth, heads = VIT_SIZES[encoder["size"]]
    return RECIPES[RECIPE].config(
        latent_width=latent,
        encoder=ViTConfig(patch=encoder["patch_size"], width=width, depth=depth, heads=heads),
        projector_width=data["projector"]["hidden_dim"],
        predictor=PredictorConfig(
            width=latent,
            depth=predictor["depth"],
            heads=predictor["heads"],
            head_width=predictor.get("dim_head", 64),
            mlp_width=predictor["mlp_dim"],
            projector_width=data["pred_proj"]["hidden_dim"],
            action_bottleneck=actions.get("smoothed_dim", 10),
            dropout=predictor.get("dropout", 0.0),
            window=predictor["num_frames"],
        ),
    )


def to_recipe(tensors: dict[str, Tensor], recipe: nn.Module) -> dict[str, Tensor]:
    """The recipe's state dict from tensors under published names. Raises CheckpointError that lists what is wrong."""
    given = {_new_vit_name(key): value for key, value in tensors.items()}
    sources = {key: _published(key) for key in recipe.state_dict()}
    wanted = {name for names in sources.values() for name in names}
    if missing := sorted(wanted - set(given)):
        raise CheckpointError(f"the weights lack {_listed(missing)}: they are of another model than the configuration")
    if unknown := sorted(set(given) - wanted):
        raise CheckpointError(f"the weights hold unknown {_listed(unknown)}: they are of another model")
    state = {}
    for key, value in recipe.state_dict().items():
        tensor = torch.cat([given[name] for name in sources[key]]) if len(sources[key]) > 1 else given[sources[key][0]]
        if key == "predictor.action_encoder.patch.weight" and tensor.ndim == 3:
            tensor = tensor.squeeze(-1)  # a convolution over one step is a Linear
        if tensor.shape != value.shape:
            raise CheckpointError(
                f"{sources[key][0]} is {list(tensor.shape)}; the configuration wants {list(value.shape)}"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{sources[key][0]} is not finite; download the weights again")
        state[key] = tensor.to(value.dtype)
    return state


@torch.no_grad()
def fold_action_scaling(recipe: nn.Module, published: Published) -> None:
    """Let the first Linear take Telos' unitless actions u instead of standardised ones z.

    A physical action is middle + half u with half = (high - low) / 2, so z = (half / std) u + (middle - mean) / std,
    the same for each control step of a block; then W z + b = (W half / std) u + (b + W (middle - mean) / std).
    """

    def block(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).repeat(action.control_steps)

    action = published.action
    low, high, mean, std = map(block, (action.low, action.high, published.action_mean, published.action_std))
    patch = recipe.get_submodule("predictor.action_encoder.patch")
    assert isinstance(patch, nn.Linear)
    weight = patch.weight.double()
    patch.bias.add_((weight @ (((low + high) / 2 - mean) / std)).float())
    patch.weight.copy_(weight * ((high - low) / 2 / std))


def _published_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of weights.pt by name; training code may have wrapped them in a dict. Raises CheckpointError."""
    try:
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from error
    except Exception as error:  # a refused or broken pickle raises what it likes
        raise CheckpointError(
            f"{path.name} is not a file of plain tensors and was refused: it holds code, another format, or is damaged "
            f"({type(error).__name__}); get the published weights.pt"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(data, dict) and isinstance(data.get(wrapper), dict):
            data = data[wrapper]
    if not isinstance(data, dict) or not data or not all(isinstance(value, Tensor) for value in data.values()):
        raise CheckpointError(
            f"{path.name} is not a state dict, which maps names to tensors; get the published weights.pt"
        )
    return {str(key): value for key, value in data.items()}


def _new_vit_name(key: str) -> str:
    for pattern, replacement in OLD_VIT_NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _published(key: str) -> tuple[str, ...]:
    """The published names of the tensors that the recipe's tensor `key` is made of."""
    for pattern, replacement in PUBLISHED_NAMES:
        name, found = re.subn(pattern, replacement, key)
        if found:
            return tuple(name.replace("(qkv)", part) for part in "qkv") if "(qkv)" in name else (name,)
    return (key,)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
