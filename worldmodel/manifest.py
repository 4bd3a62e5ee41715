"""The manifest: everything a checkpoint must say to be used rightly, as JSON data.

It picks from closed tables (recipes, resize filters) and never names code. Unknown keys are refused.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from worldmodel.errors import CheckpointError
from worldmodel.json_values import field_values

FORMAT = 1
LARGEST_FILE = 4 * 2**20

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ObservationSpec:
    """What the encoder was trained on: RGB uint8 of this size. How pixels are normalised is in the recipe's config."""

    camera: str
    height_px: int
    width_px: int
    resize: str = "area"

    def __post_init__(self) -> None:
        if self.resize not in ("area", "bilinear"):
            raise CheckpointError(f"observation.resize is {self.resize!r}; this build knows 'area' and 'bilinear'")
        if not (16 <= self.height_px <= 4096 and 16 <= self.width_px <= 4096):
            raise CheckpointError(f"observation size is {self.height_px} x {self.width_px} px; wanted 16..4096 a side")


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
        if not all(
            math.isfinite(lo) and math.isfinite(hi) and lo < hi for lo, hi in zip(self.low, self.high, strict=True)
        ):
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
    """What the model can be planned with."""

    context_frames: int
    """Most context frames, one model step apart, that the predictor was trained on."""
    horizon: int
    """Default horizon in model steps."""
    goal_distance_scale: float
    """Mean squared latent distance between unrelated frames: what the latent goal distance is divided by."""

    def __post_init__(self) -> None:
        if self.context_frames < 1 or self.horizon < 1:
            given = f"planning.context_frames={self.context_frames} and horizon={self.horizon}"
            raise CheckpointError(f"{given} must be at least 1")
        if not self.goal_distance_scale > 0:
            raise CheckpointError(f"planning.goal_distance_scale={self.goal_distance_scale} must be above 0")


@dataclass(frozen=True, kw_only=True)
class SurpriseSpec:
    """Surprise of held-out transitions: the calibration of the anomaly alarm."""

    quantiles: tuple[float, ...]
    """Surprise at evenly spaced ranks 0/(k-1)..1 of held-out transitions, ascending."""
    transitions: int
    threshold: float
    """Surprise that 1 % of held-out transitions exceed."""

    def __post_init__(self) -> None:
        if len(self.quantiles) < 2 or any(b < a for a, b in zip(self.quantiles, self.quantiles[1:], strict=False)):
            raise CheckpointError("surprise.quantiles must be two or more, ascending")


@dataclass(frozen=True, kw_only=True)
class WeightsSpec:
    """Which weights belong to this manifest."""

    sha256: str
    bytes: int
    file: str = "model.safetensors"

    def __post_init__(self) -> None:
        if self.file != "model.safetensors":
            raise CheckpointError(f"weights.file is {self.file!r}; it must be 'model.safetensors'")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """One checkpoint's word on itself."""

    name: str
    version: str
    recipe: str
    config: dict[str, Any]
    """The recipe's whole configuration."""
    observation: ObservationSpec
    action: ActionSpec
    planning: PlanningSpec
    surprise: SurpriseSpec
    weights: WeightsSpec
    task: str = ""
    """Id of the environment it was trained in, empty for a robot of your own."""
    steps_to_go: dict[str, Any] | None = None
    """Configuration of the learned steps-to-go distance, when the checkpoint carries one."""
    inverse_dynamics: dict[str, Any] | None = None
    """Configuration of the goal-conditioned inverse dynamics, when the checkpoint carries one."""
    task_distance: dict[str, Any] | None = None
    """Configuration of the learned task distance, when the checkpoint carries one."""
    training: dict[str, Any] = field(default_factory=dict)
    """Provenance: commands, seeds, commit, versions, curves, held-out metrics. Read by people, not by code."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not (self.name and self.version):
            raise CheckpointError(f"name={self.name!r} and version={self.version!r} must not be empty")

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
            raise CheckpointError(f"manifest format is {given!r}; this build reads format {FORMAT}")
        parts = {
            "observation": ObservationSpec,
            "action": ActionSpec,
            "planning": PlanningSpec,
            "surprise": SurpriseSpec,
            "weights": WeightsSpec,
        }
        for key, spec in parts.items():
            data[key] = _build(spec, data.get(key), key)
        return _build(cls, data, "manifest")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint folder. Raises CheckpointError."""
    return parse_manifest(manifest_bytes(folder), folder.name)


def manifest_bytes(folder: Path) -> bytes:
    """The file as it is. Raises CheckpointError when it is missing or no manifest by its size."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no manifest.json; wanted a folder with model.safetensors and manifest.json"
        )
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise CheckpointError(f"manifest.json of {folder.name} is over 4 MiB; that is no manifest, restore it")
    return data


def parse_manifest(data: bytes, name: str) -> Manifest:
    """`name` is the folder's, for the message of the CheckpointError that is raised when anything is wrong."""
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
    except TypeError as error:
        raise CheckpointError(f"{where} is not complete: {error}") from error
