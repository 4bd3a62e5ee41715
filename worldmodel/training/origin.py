"""What a training begins with: a recipe's configuration, and weights that are random or a checkpoint's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldmodel.checkpoint import load_checkpoint
from worldmodel.errors import CheckpointError, TrainingError
from worldmodel.recipes import RECIPES, config_from_json, config_to_json
from worldmodel.recipes.joint_embedding import JointEmbedding, JointEmbeddingConfig

Changes = Mapping[str, Any]
"""Fields of a recipe's configuration that are to have other values, as JSON has them; those of a part of it have the
part's name and a dot before theirs, such as predictor.depth."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """`weights` is None where they are random."""

    recipe: str
    config: JointEmbeddingConfig
    weights: Mapping[str, Tensor] | None = None
    described: Mapping[str, Any] = field(default_factory=dict)
    """What a run and a manifest say of it beside the configuration: nothing of random weights."""

    @classmethod
    def of_preset(cls, recipe: str = "lewm", preset: str = "small", changes: Changes | None = None) -> "Origin":
        """Random weights. Raises TrainingError for unknown names and values that do not fit."""
        if recipe not in RECIPES:
            raise TrainingError(f"recipe {recipe!r} is not known; this build has {sorted(RECIPES)}")
        presets = RECIPES[recipe][2]
        if preset not in presets:
            raise TrainingError(f"preset {preset!r} is not known; recipe {recipe} has {sorted(presets)}")
        return cls(recipe=recipe, config=_changed(recipe, presets[preset](), changes or {}))

    @classmethod
    def of_checkpoint(cls, folder: Path, changes: Changes | None = None) -> "Origin":
        """Recipe, configuration and weights of a trained model. Raises CheckpointError, and TrainingError for values
        that do not fit."""
        checkpoint = load_checkpoint(folder)
        manifest, recipe = checkpoint.manifest, checkpoint.world_model.recipe
        name, version, digest = manifest.name, manifest.version, manifest.weights.sha256
        return cls(
            recipe=manifest.recipe,
            config=_changed(manifest.recipe, recipe.config, changes or {}),
            weights=recipe.state_dict(),
            described={"start_from": {"name": name, "version": version, "weights_sha256": digest}},
        )

    def untrained(self, action_width: int, seed: int) -> JointEmbedding:
        """The module with random weights."""
        torch.manual_seed(seed)
        return RECIPES[self.recipe][0](self.config, action_width)

    def module(self, action_width: int, seed: int) -> JointEmbedding:
        """The module that training begins with. Weights that the checkpoint has none for, such as those of a loss that
        it was trained without, are random.

        Raises TrainingError where the checkpoint's have another shape.
        """
        module = self.untrained(action_width, seed)
        if self.weights is None:
            return module
        wanted = module.state_dict()
        known = {key: value for key, value in self.weights.items() if key in wanted}
        for key, value in known.items():
            if value.shape != wanted[key].shape:
                raise TrainingError(
                    f"the checkpoint's {key} is {list(value.shape)}, this training's {list(wanted[key].shape)}: give "
                    "data with as many actions a control step as the checkpoint was trained on, and change no widths"
                )
        module.load_state_dict(known, strict=False)
        return module


def _changed(recipe: str, config: JointEmbeddingConfig, changes: Changes) -> JointEmbeddingConfig:
    fields = config_to_json(config)
    for name, value in changes.items():
        part, _, key = name.rpartition(".")
        holder = fields.get(part) if part else fields
        if not isinstance(holder, dict) or key not in holder:
            raise TrainingError(f"recipe {recipe} has no setting {name!r}; it has {_names(fields)}")
        holder[key] = value
    try:
        changed: JointEmbeddingConfig = config_from_json(recipe, fields)
    except CheckpointError as error:
        raise TrainingError(str(error)) from error
    return changed


def _names(fields: Mapping[str, Any]) -> list[str]:
    parts = {name: value for name, value in fields.items() if isinstance(value, dict)}
    inner = [f"{name}.{key}" for name, part in parts.items() for key in part if key != "type"]
    return sorted([*fields, *inner])
