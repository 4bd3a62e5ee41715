"""One file a JEPA variant, and the closed table that manifests and the CLI pick from."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, get_args, runtime_checkable

from jaxtyping import Float
from torch import Generator, Tensor

from worldmodel.clips import Windows
from worldmodel.errors import CheckpointError
from worldmodel.json_values import field_values
from worldmodel.parts.encoders import ConvConfig, ViTConfig
from worldmodel.parts.predictor import PredictorConfig
from worldmodel.recipes import gcbc, lewm, pldm, random_encoder
from worldmodel.recipes.joint_embedding import JointEmbedding, JointEmbeddingConfig


@runtime_checkable
class Recipe(Protocol):
    """What the training loop needs from a recipe (an `nn.Module`)."""

    def losses(self, batch: Windows, generator: Generator) -> dict[str, Float[Tensor, ""]]:
        """Named, finite terms; their sum is minimised."""
        ...

    def after_step(self) -> None:
        """Called after each optimiser step: moving averages go here."""
        ...


_Presets = dict[str, Callable[[], JointEmbeddingConfig]]

RECIPES: dict[str, tuple[Callable[[Any, int], JointEmbedding], type[JointEmbeddingConfig], _Presets]] = {
    "lewm": (lewm.LeWM, lewm.LeWMConfig, {**lewm.PRESETS}),
    "pldm": (pldm.PLDM, pldm.PLDMConfig, {**pldm.PRESETS}),
    "gcbc": (gcbc.GCBC, gcbc.GCBCConfig, {**gcbc.PRESETS}),
    "random-encoder": (random_encoder.RandomEncoder, random_encoder.RandomEncoderConfig, {**random_encoder.PRESETS}),
}
"""Name -> module, made of a configuration and the width of a model step's actions; its configuration, and presets."""

_CONFIG_PARTS = (ConvConfig, ViTConfig, PredictorConfig)


def config_to_json(config: Any) -> dict[str, Any]:
    """A configuration as JSON data; a nested part names its type from a closed table."""
    data: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        nested = dataclasses.is_dataclass(value)
        data[field.name] = {"type": type(value).__name__, **config_to_json(value)} if nested else value
    return data


def config_from_json(recipe: str, data: dict[str, Any]) -> Any:
    """Inverse of `config_to_json`. Raises CheckpointError for unknown recipes, parts and keys."""
    if recipe not in RECIPES:
        raise CheckpointError(f"checkpoint wants recipe {recipe!r}; this build has {sorted(RECIPES)}")
    return _build(RECIPES[recipe][1], data, f"config of recipe {recipe}")


def _build(cls: type, data: dict[str, Any], where: str) -> Any:
    known = {part.__name__: part for part in _CONFIG_PARTS}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if set(data) != set(fields):
        missing, unknown = sorted(set(fields) - set(data)), sorted(set(data) - set(fields))
        raise CheckpointError(f"{where} lacks keys {missing} and has unknown ones {unknown}; wanted neither")
    values = {}
    for key, value in data.items():
        if isinstance(value, dict):
            part = known.get(str(value.get("type")))
            if part is None or part not in (fields[key].type, *get_args(fields[key].type)):
                raise CheckpointError(f"{where}: {key} has type {value.get('type')!r}; known parts are {sorted(known)}")
            value = _build(part, {k: v for k, v in value.items() if k != "type"}, f"{where}.{key}")
        values[key] = value
    values = field_values(cls, values, where)
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error
