"""The manifest: everything that a checkpoint's users must know, as JSON data.

It picks from closed tables (recipes, heads, kinds of sensors) and never names code. Unknown keys are refused.
"""

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from worldmodel.errors import CheckpointError
from worldmodel.json_values import field_values, shown
from worldmodel.observation import SensorSpec, are_ranges

FORMAT = 2
LARGEST_FILE = 4 * 2**20
MOST_SENSORS = 16
"""Most sensors that an observation on the wire may have."""
MOST_HEADS = 16

_HEAD_NAME = re.compile("[a-z][a-z0-9_]{0,63}")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LatentSpec:
    """Shape of one frame's latents."""

    tokens: int
    width: int
    """Numbers in one token."""

    def __post_init__(self) -> None:
        if not (1 <= self.tokens <= 65536 and 1 <= self.width <= 65536):
            raise CheckpointError(f"latent is {self.tokens} tokens x {self.width}; wanted 1..65536 of each")

    @property
    def size(self) -> int:
        """Numbers in one frame's latents."""
        return self.tokens * self.width


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """Actions of one control step, in physical units. One model step spans `control_steps` of them."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dt_s: float
    control_steps: int

    def __post_init__(self) -> None:
        widths = {len(self.names), len(self.units), len(self.low), len(self.high)}
        if len(widths) != 1 or not self.names:
            raise CheckpointError("action.names, units, low and high must have one entry for each action")
        if not are_ranges(self.low, self.high):
            raise CheckpointError(
                f"action limits must be finite with low < high; given low={self.low}, high={self.high}"
            )
        if not (self.dt_s > 0 and self.control_steps >= 1):
            raise CheckpointError(
                f"action.dt_s={self.dt_s} must be > 0 and control_steps={self.control_steps} at least 1"
            )

    @property
    def width(self) -> int:
        """Action names times control steps: the width `a` of one model step."""
        return len(self.names) * self.control_steps


@dataclass(frozen=True, kw_only=True)
class PlanningSpec:
    """The settings with which plans use the model."""

    context_frames: int
    """Most context frames, one model step apart, that the predictor was trained on."""
    horizon: int
    """Default horizon in model steps."""
    goal_distance_scale: float
    """Mean squared latent distance between unrelated frames, by which the latent goal distance is divided."""

    def __post_init__(self) -> None:
        if self.context_frames < 1 or self.horizon < 1:
            given = f"planning.context_frames={self.context_frames} and horizon={self.horizon}"
            raise CheckpointError(f"{given} must be at least 1")
        if not 1e-6 <= self.goal_distance_scale <= 1e12:
            raise CheckpointError(f"planning.goal_distance_scale={self.goal_distance_scale} must be in 1e-6..1e12")


@dataclass(frozen=True, kw_only=True)
class CalibrationSpec:
    """Surprise of held-out transitions, which the anomaly alarm compares a robot's surprise with."""

    quantiles: tuple[float, ...]
    """Surprise at evenly spaced ranks 0/(k-1)..1 of held-out transitions, ascending."""
    transitions: int
    threshold: float
    """Surprise that 1 % of held-out transitions exceed."""

    def __post_init__(self) -> None:
        if self.transitions < 1:
            raise CheckpointError(f"calibration.transitions is {self.transitions}; wanted 1 or more, or no calibration")
        if len(self.quantiles) < 2 or any(b < a for a, b in zip(self.quantiles, self.quantiles[1:], strict=False)):
            raise CheckpointError("calibration.quantiles must be two or more, ascending")


@dataclass(frozen=True, kw_only=True)
class WeightsSpec:
    """Size and hash of the weights that belong to this manifest."""

    sha256: str
    bytes: int
    file: str = "model.safetensors"

    def __post_init__(self) -> None:
        if self.file != "model.safetensors":
            raise CheckpointError(f"weights.file is {self.file!r}; it must be 'model.safetensors'")


@dataclass(frozen=True, kw_only=True)
class NoveltySpec:
    """File of the distributions of training readings, and the data that calibrated its threshold."""

    sha256: str
    bytes: int
    false_alarm_rate: float
    """Share of normal readings of a sensor whose novelty exceeds 1, at most."""
    episodes: int
    """Held-out episodes of the calibration."""
    frames: int
    """Frames of those episodes."""
    file: str = "novelty.safetensors"

    def __post_init__(self) -> None:
        if self.file != "novelty.safetensors":
            raise CheckpointError(f"novelty.file is {self.file!r}; it must be 'novelty.safetensors'")
        if not (0 < self.false_alarm_rate <= 1 and self.episodes >= 1 and self.frames >= 1):
            given = f"false_alarm_rate={self.false_alarm_rate}, episodes={self.episodes}, frames={self.frames}"
            raise CheckpointError(f"novelty has {given}; wanted a rate above 0, at most 1, and 1 or more of the others")


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """A head of the checkpoint. Its weights are in the same file, with the head's name as their prefix."""

    type: str
    """A name in the table of heads."""
    config: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A checkpoint that this one was made from."""

    name: str
    sha256: str
    """SHA-256 of its weights, in hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of a checkpoint."""

    name: str
    version: str
    recipe: str
    config: dict[str, Any]
    """The recipe's whole configuration."""
    sensors: tuple[SensorSpec, ...]
    """Sensors of every observation, in this order."""
    latent: LatentSpec
    weights: WeightsSpec
    action: ActionSpec | None = None
    """None for an encoder that learned without actions."""
    planning: PlanningSpec | None = None
    """None for a model that cannot plan."""
    calibration: CalibrationSpec | None = None
    """None for a model whose surprise was never calibrated."""
    novelty: NoveltySpec | None = None
    """None for a model whose novelty was never calibrated."""
    heads: dict[str, HeadSpec] = field(default_factory=dict)
    parents: tuple[Parent, ...] = ()
    task: str = ""
    """Id of the training environment; empty for a robot of your own."""
    training: dict[str, Any] = field(default_factory=dict)
    """Provenance: commands, seeds, commit, versions, curves, held-out metrics. Read by people, not by code."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not (self.name and self.version):
            raise CheckpointError(f"name={self.name!r} and version={self.version!r} must not be empty")
        names = [sensor.name for sensor in self.sensors]
        if not names or len(set(names)) < len(names):
            raise CheckpointError(
                f"sensors are {names[:MOST_SENSORS]}; wanted one or more, each with a name of its own"
            )
        if len(names) > MOST_SENSORS or len(self.heads) > MOST_HEADS:
            raise CheckpointError(
                f"manifest has {len(names)} sensors and {len(self.heads)} heads; at most {MOST_SENSORS} and "
                f"{MOST_HEADS} are allowed"
            )
        if self.planning is not None and self.action is None:
            raise CheckpointError("planning is given without action; wanted both, or neither for an encoder alone")

    def to_json(self) -> str:
        """The text of manifest.json. Raises ValueError when a number is not finite."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Raises CheckpointError when the text is not a manifest of this format."""
        try:
            data = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"manifest.json is not JSON: {error}; restore it") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            given = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise CheckpointError(f"manifest format is {shown(given)}; this build reads format {FORMAT}")
        return _manifest(data)


_REQUIRED: dict[str, type] = {"latent": LatentSpec, "weights": WeightsSpec}
_OPTIONAL: dict[str, type] = {
    "action": ActionSpec,
    "planning": PlanningSpec,
    "calibration": CalibrationSpec,
    "novelty": NoveltySpec,
}


def _manifest(data: dict[str, Any]) -> Manifest:
    """Raises CheckpointError."""
    for key, spec in _REQUIRED.items():
        data[key] = _build(spec, data.get(key), key)
    for key, spec in _OPTIONAL.items():
        if data.get(key) is not None:
            data[key] = _build(spec, data[key], key)
    for key, spec in (("sensors", SensorSpec), ("parents", Parent)):
        data[key] = tuple(_build(spec, each, f"{key}[{index}]") for index, each in enumerate(_list(data, key)))
    data["heads"] = _heads(data.get("heads", {}))
    return _build(Manifest, data, "manifest")


def _heads(data: Any) -> dict[str, HeadSpec]:
    """Heads by name. The names prefix weights, and `world_model` is the prefix of the recipe's."""
    if not isinstance(data, dict):
        raise CheckpointError(f"heads is {type(data).__name__}; wanted an object")
    if odd := [name for name in data if not _HEAD_NAME.fullmatch(name) or name == "world_model"]:
        raise CheckpointError(f"a head is called {shown(odd[0])}; wanted a-z, 0-9 and '_', and not world_model")
    return {name: _build(HeadSpec, each, f"heads.{name}") for name, each in data.items()}


def _list(data: dict[str, Any], key: str) -> list[Any]:
    value = data.get(key, [])
    if not isinstance(value, list):
        raise CheckpointError(f"{key} is {type(value).__name__}; wanted a list")
    return value


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint folder. Raises CheckpointError."""
    return parse_manifest(manifest_bytes(folder), folder.name)


def manifest_bytes(folder: Path) -> bytes:
    """The unparsed file. Raises CheckpointError when it is missing, or too large for a manifest."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no manifest.json; wanted a folder with model.safetensors and manifest.json"
        )
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise CheckpointError(f"manifest.json of {folder.name} is over 4 MiB, too large for a manifest; restore it")
    return data


def parse_manifest(data: bytes, name: str) -> Manifest:
    """The manifest in `data`. Raises CheckpointError, whose message calls the checkpoint `name`."""
    try:
        return Manifest.from_json(data.decode())
    except UnicodeDecodeError as error:
        raise CheckpointError(f"manifest.json of {name} is not UTF-8 text; restore it") from error
    except CheckpointError as error:
        raise CheckpointError(f"manifest.json of {name} cannot be used: {error}") from error


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _build(cls: type[T], data: Any, where: str) -> T:
    if not isinstance(data, dict):
        raise CheckpointError(f"{where} is {type(data).__name__}; wanted an object")
    try:
        return cls(**field_values(cls, data, where))
    except CheckpointError:
        raise
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where} is not complete or out of range: {error}; restore it") from error
