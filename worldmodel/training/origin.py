"""The start of a training: a recipe's configuration, and random weights or a checkpoint's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldmodel.checkpoint import load_checkpoint
from worldmodel.errors import CheckpointError, TrainingError
from worldmodel.manifest import Parent
from worldmodel.observation import SensorSpec
from worldmodel.recipe import Body, RecipeConfig
from worldmodel.recipes import RECIPES, config_from_json, config_to_json

Changes = Mapping[str, Any]
"""New values, as JSON, of fields of a recipe's configuration; a nested field has its part's name before it, as in
predictor.depth."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A recipe, and the weights that its training begins with."""

    recipe: str
    config: RecipeConfig
    weights: Mapping[str, Tensor] | None = None
    sensors: tuple[SensorSpec, ...] = ()
    """Sensors of the checkpoint; empty for random weights."""
    parents: tuple[Parent, ...] = ()
    described: Mapping[str, Any] = field(default_factory=dict)
    """Entries about the checkpoint for run.json and the manifest; empty for random weights."""

    @classmethod
    def of_preset(cls, recipe: str = "lewm", preset: str = "small", changes: Changes | None = None) -> "Origin":
        """Random weights. Raises TrainingError for unknown names and values that do not fit."""
        if recipe not in RECIPES:
            raise TrainingError(f"recipe {recipe!r} is not known; this build has {', '.join(sorted(RECIPES))}")
        presets = RECIPES[recipe].presets
        if preset not in presets:
            raise TrainingError(f"preset {preset!r} is not known; recipe {recipe} has {', '.join(sorted(presets))}")
        return cls(recipe=recipe, config=_changed(recipe, presets[preset](), changes or {}))

    @classmethod
    def of_checkpoint(cls, folder: Path, changes: Changes | None = None) -> "Origin":
        """Recipe, configuration and weights of a trained model. Raises CheckpointError, and TrainingError for values
        that do not fit."""
        checkpoint = load_checkpoint(folder)
        manifest, module = checkpoint.manifest, checkpoint.trained.module
        name, version, digest = manifest.name, manifest.version, manifest.weights.sha256
        return cls(
            recipe=manifest.recipe,
            config=_changed(manifest.recipe, config_from_json(manifest.recipe, manifest.config), changes or {}),
            weights=module.state_dict(),
            sensors=manifest.sensors,
            parents=(Parent(name=name, sha256=digest),),
            described={"start_from": {"name": name, "version": version, "weights_sha256": digest}},
        )

    def untrained(self, body: Body, seed: int) -> nn.Module:
        """The module with random weights. Raises TrainingError where configuration and robot do not go together."""
        torch.manual_seed(seed)
        try:
            return RECIPES[self.recipe].module(self.config, body)
        except ValueError as error:
            raise TrainingError(
                f"{error}; reorder --sensors, choose another preset, or collect what it wants"
            ) from error

    def module(self, body: Body, seed: int) -> nn.Module:
        """The module that training begins with. Weights that the checkpoint lacks are random, such as those of a loss
        that it was trained without or of a further sensor.

        Raises TrainingError where the checkpoint's sensors are not the first of `body`, or its weights have another
        shape.
        """
        if self.weights is None:
            return self.untrained(body, seed)
        self._check_sensors(body)
        module = self.untrained(body, seed)
        wanted = module.state_dict()
        known = {key: value for key, value in self.weights.items() if key in wanted}
        if len(body.sensors) > len(self.sensors):
            known = {**known, **_identity_entry(known, wanted)}
            known = {key: _widened(value, wanted[key]) for key, value in known.items() if _is_kept(key, value, wanted)}
        for key, value in known.items():
            if value.shape != wanted[key].shape:
                raise TrainingError(
                    f"the checkpoint's {key} is {list(value.shape)}, this training's {list(wanted[key].shape)}: give "
                    "data with as many actions a control step as the checkpoint was trained on, the same sensors or "
                    "further ones behind them, and change no widths"
                )
        module.load_state_dict(known, strict=False)
        return module

    def _check_sensors(self, body: Body) -> None:
        count = len(self.sensors)
        if len(body.sensors) < count or not all(map(alike, self.sensors, body.sensors)):
            raise TrainingError(
                f"the checkpoint's sensors are {_listed(self.sensors)}; this training's are {_listed(body.sensors)}: "
                "give the checkpoint's first, in its order, and further ones behind them (telos train --sensors)"
            )


def alike(one: SensorSpec, other: SensorSpec) -> bool:
    """True where a model can read both sensors alike: only limits, standardisation and filter may differ."""
    return all(getattr(one, key) == getattr(other, key) for key in ("name", "kind", "shape", "names", "units"))


def _listed(sensors: tuple[SensorSpec, ...]) -> str:
    return ", ".join(f"{sensor.name} ({sensor.kind} {' x '.join(map(str, sensor.shape))})" for sensor in sensors)


def _identity_entry(known: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An identity for the input layer of a predictor that had none, since its only token entered unchanged."""
    weight, bias = "predictor.enter.weight", "predictor.enter.bias"
    if weight in known or weight not in wanted:
        return {}
    width = len(wanted[bias])
    return {weight: torch.eye(width), bias: torch.zeros(width)}


def _is_kept(key: str, given: Tensor, wanted: Mapping[str, Tensor]) -> bool:
    """True for weights kept when sensors are added: the predictor's, and all whose shape stays the same."""
    return given.shape == wanted[key].shape or key.startswith("predictor.")


def _widened(given: Tensor, drawn: Tensor) -> Tensor:
    """The checkpoint's weights of a layer that further tokens have made wider, in the first place of each axis.

    Inputs of further tokens begin at zero, so that the predictor first sees what it knows; outputs as they were drawn.
    """
    if given.shape == drawn.shape or any(old > new for old, new in zip(given.shape, drawn.shape, strict=True)):
        return given
    widened = drawn.clone()
    if given.ndim == 2:
        widened[:, given.shape[1] :] = 0
    widened[tuple(slice(size) for size in given.shape)] = given
    return widened


def _changed(recipe: str, config: RecipeConfig, changes: Changes) -> RecipeConfig:
    fields = config_to_json(config)
    for name, value in changes.items():
        part, _, key = name.rpartition(".")
        holder = fields.get(part) if part else fields
        if not isinstance(holder, dict) or key not in holder:
            raise TrainingError(f"recipe {recipe} has no setting {name!r}; it has {', '.join(_names(fields))}")
        holder[key] = value
    try:
        changed: RecipeConfig = config_from_json(recipe, fields)
    except CheckpointError as error:
        raise TrainingError(str(error)) from error
    return changed


def _names(fields: Mapping[str, Any]) -> list[str]:
    parts = {name: value for name, value in fields.items() if isinstance(value, dict)}
    inner = [f"{name}.{key}" for name, part in parts.items() for key in part if key != "type"]
    return sorted([*fields, *inner])
