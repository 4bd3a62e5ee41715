"""One file a recipe, and the closed table that manifests and the command line choose from."""

import dataclasses
from typing import Any, get_args

from worldmodel.errors import CheckpointError
from worldmodel.json_values import field_values, shown
from worldmodel.parts.cameras import PixelConfig
from worldmodel.parts.encoders import ConvConfig, ViTConfig
from worldmodel.parts.masks import Blocks, MultiBlock
from worldmodel.parts.predictor import PredictorConfig
from worldmodel.parts.targets import Momentum
from worldmodel.parts.transformer import TransformerConfig
from worldmodel.recipe import Entry
from worldmodel.recipes import gcbc, ijepa, lewm, pldm, random_encoder, vjepa, vjepa2_1

RECIPES: dict[str, Entry] = {
    "lewm": lewm.ENTRY,
    "pldm": pldm.ENTRY,
    "gcbc": gcbc.ENTRY,
    "random-encoder": random_encoder.ENTRY,
    "ijepa": ijepa.ENTRY,
    "vjepa": vjepa.ENTRY,
    "vjepa2": vjepa.ENTRY_2,
    "vjepa2-1": vjepa2_1.ENTRY,
}

_CONFIG_PARTS = (
    ConvConfig,
    ViTConfig,
    PredictorConfig,
    PixelConfig,
    TransformerConfig,
    Blocks,
    MultiBlock,
    Momentum,
)


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
        raise CheckpointError(f"checkpoint wants recipe {shown(recipe)}; this build has {sorted(RECIPES)}")
    return _build(RECIPES[recipe].config, data, f"config of recipe {recipe}")


def _build(cls: type, data: dict[str, Any], where: str) -> Any:
    known = {part.__name__: part for part in _CONFIG_PARTS}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if set(data) != set(fields):
        missing, unknown = sorted(set(fields) - set(data)), sorted(set(data) - set(fields))
        raise CheckpointError(f"{where} lacks keys {missing} and has unknown ones {shown(unknown)}; wanted neither")
    values = {}
    for key, value in data.items():
        if isinstance(value, dict):
            part = known.get(str(value.get("type")))
            if part is None or part not in (fields[key].type, *get_args(fields[key].type)):
                given = shown(value.get("type"))
                raise CheckpointError(f"{where}: {key} has type {given}; known parts are {sorted(known)}")
            value = _build(part, {k: v for k, v in value.items() if k != "type"}, f"{where}.{key}")
        values[key] = value
    values = field_values(cls, values, where)
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error
