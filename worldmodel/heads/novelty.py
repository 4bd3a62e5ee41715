"""Input novelty: how unlike the readings that a model was trained on a reading is.

It looks at readings, not at latents: an encoder maps a black picture to a latent as good as any. Each sensor's readings
are described in a few ways, and each description has a regularised Mahalanobis distance from those of training frames
(the Gaussian of probabilistic PCA, Tipping and Bishop 1999). The largest distance counts, in units of one that held-out
frames exceed at a known rate.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from worldmodel.errors import CheckpointError
from worldmodel.manifest import NoveltySpec
from worldmodel.observation import ObservationBatch, SensorSpec

CELLS = 8
"""Cells a side that a picture is averaged over."""
LEAST_DIRECTIONS, MOST_DIRECTIONS = 16, 64
EXPLAINED = 0.99
"""Share of the variance that the principal directions have, where so many are enough."""
LEAST_VARIANCE = 1e-5
"""Least variance of a number of a description; a smaller one is a step of 8-bit pixels."""
LEAST_READING_VARIANCE = 1e-4
"""Least variance of a vector's entry in shares of its range: a standard deviation of a hundredth."""
BLANK = 3e-4
"""Added to a contrast before its logarithm is taken; contrasts are in shares of full brightness."""
FEW_EDGES = 0.1
"""Added to the edges of all cells, so that noise in a blank picture is no edge."""
FALSE_ALARM_RATE = 1e-3
"""Share of normal readings that a calibration lets alarm, where it has episodes enough."""

Pixels = Float[Tensor, "b 3 h w"]
Description = Float[Tensor, "b f"]


def descriptions_of_pixels(pixels: Pixels) -> dict[str, Description]:
    """Four descriptions of a picture.

    layout: the mean colours of 8 x 8 cells.
    edges: where the edges are, whatever their colours: square roots of each cell's share, across and down.
    channels: each channel's mean, and logarithms of its contrast over all, of neighbours and in second differences.
    texture: the same with the contrasts of all channels together, since one alone may be blank in a good picture.
    """
    across, down = pixels.diff(dim=3), pixels.diff(dim=2)
    steps = across.abs(), down.abs()
    second = across.diff(dim=3).abs().mean((2, 3)) + down.diff(dim=2).abs().mean((2, 3))
    contrasts = torch.stack(
        [pixels.var((2, 3), correction=0), steps[0].mean((2, 3)) + steps[1].mean((2, 3)), second], 1
    )
    mean, together = pixels.mean((2, 3)), contrasts.mean(2)
    contrasts[:, 0], together[:, 0] = contrasts[:, 0].sqrt(), together[:, 0].sqrt()  # standard deviations
    cells = torch.cat([F.adaptive_avg_pool2d(each.sum(1, keepdim=True), CELLS).flatten(1) for each in steps], dim=1)
    return {
        "layout": F.adaptive_avg_pool2d(pixels, CELLS).flatten(1),
        "edges": (cells / (cells.sum(1, keepdim=True) + FEW_EDGES)).sqrt(),
        "channels": torch.cat([mean, (contrasts.flatten(1) + BLANK).log()], dim=1),
        "texture": torch.cat([mean, (together + BLANK).log()], dim=1),
    }


_WIDTHS = {"layout": 3 * CELLS**2, "edges": 2 * CELLS**2, "channels": 12, "texture": 6}


def descriptions(sensor: SensorSpec, values: Tensor) -> dict[str, Description]:
    """Every description of readings: of a camera uint8 [b h w 3], of a vector [b k] in physical units."""
    if sensor.kind == "camera":
        return descriptions_of_pixels(values.movedim(-1, 1).float() / 255)
    low, high = (torch.tensor(edge, dtype=values.dtype, device=values.device) for edge in (sensor.low, sensor.high))
    return {"entries": (values - low) / (high - low)}


def widths(sensor: SensorSpec) -> dict[str, int]:
    """Numbers in each description of a sensor's readings."""
    return dict(_WIDTHS) if sensor.kind == "camera" else {"entries": sensor.shape[0]}


@dataclass(frozen=True)
class Familiar:
    """The distribution of one description of training readings."""

    mean: Float[Tensor, " f"]
    directions: Float[Tensor, "k f"]
    """Principal ones, of length 1."""
    variances: Float[Tensor, " k+1"]
    """Along each direction, and at last along any other."""
    scale: Float[Tensor, "1"]
    """The distance that counts as 1."""

    @classmethod
    def fit(cls, rows: Float[Tensor, "n f"], least_variance: float) -> "Familiar":
        """With a scale of 1."""
        rows = rows.double()
        values, vectors = torch.linalg.eigh(rows.T.cov().reshape(rows.shape[1], rows.shape[1]))
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
        explained = values.cumsum(0) < EXPLAINED * values.sum()
        kept = min(max(int(explained.sum()) + 1, LEAST_DIRECTIONS), MOST_DIRECTIONS, len(values))
        rest = values[kept:].mean() if kept < len(values) else values.new_tensor(0.0)
        variances = torch.cat([values[:kept], rest[None]]).clamp(min=least_variance)
        parts = (rows.mean(0), vectors[:, :kept].T, variances, torch.ones(1))
        return cls(*(part.float().contiguous() for part in parts))

    def distance(self, rows: Float[Tensor, "b f"]) -> Float[Tensor, " b"]:
        """Root mean square over the numbers of a description, in standard deviations and in units of the scale."""
        away = rows - self.mean
        along = away @ self.directions.T
        rest = (away - along @ self.directions).square().sum(1) / self.variances[-1]
        squares = (along.square() / self.variances[:-1]).sum(1) + rest
        return (squares / rows.shape[1]).sqrt() / self.scale

    def scaled(self, scale: float) -> "Familiar":
        """The same with distances in units of `scale` times the present one."""
        return Familiar(self.mean, self.directions, self.variances, self.scale * scale)


class Novelty:
    """The novelty of each sensor's readings. Above 1 they are unlike the training's."""

    def __init__(self, sensors: Sequence[SensorSpec], familiar: Mapping[str, Mapping[str, Familiar]]) -> None:
        """`familiar` by sensor and description."""
        self._sensors = tuple(sensors)
        self.familiar = familiar

    @torch.inference_mode()
    def of(self, observation: ObservationBatch) -> dict[str, Float[Tensor, " b"]]:
        """By sensor, of those that the observation has."""
        given = observation.values
        return {each.name: self.of_sensor(each, given[each.name]) for each in self._sensors if each.name in given}

    def of_sensor(self, sensor: SensorSpec, values: Tensor) -> Float[Tensor, " b"]:
        """Novelty of readings of one sensor."""
        known = self.familiar[sensor.name]
        distances = [known[name].distance(rows) for name, rows in descriptions(sensor, values).items()]
        return torch.stack(distances).amax(0)

    def to(self, device: torch.device) -> "Novelty":
        """On that device."""
        moved = {
            sensor: {name: Familiar(*(part.to(device) for part in vars(each).values())) for name, each in known.items()}
            for sensor, known in self.familiar.items()
        }
        return Novelty(self._sensors, moved)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that was learned, by the names in the file: sensor/description/part."""
        return {
            f"{sensor}/{name}/{part}": value
            for sensor, known in self.familiar.items()
            for name, each in known.items()
            for part, value in vars(each).items()
        }


def novelty_from(tensors: Mapping[str, Tensor], sensors: Sequence[SensorSpec], model: str) -> Novelty:
    """The inverse of `Novelty.tensors`. Raises CheckpointError for tensors that are not of these sensors."""
    left = dict(tensors)
    familiar = {
        sensor.name: {
            name: _familiar_from(left, f"{sensor.name}/{name}/", (width, model))
            for name, width in widths(sensor).items()
        }
        for sensor in sensors
    }
    if left:
        raise CheckpointError(f"novelty of {model} has {len(left)} tensors too many; restore its files")
    return Novelty(sensors, familiar)


_RANGES = {"mean": (-1e3, 1e3), "directions": (-1.001, 1.001), "variances": (1e-9, 1e6), "scale": (1e-6, 1e6)}
"""Descriptions are of order 1; within these ranges no distance of a reading overflows."""


def _familiar_from(left: dict[str, Tensor], prefix: str, known: tuple[int, str]) -> Familiar:
    """Takes its tensors out of `left`. `known` is the description's width and the model's name."""
    width, model = known
    names = ("mean", "directions", "variances", "scale")
    parts = [left.pop(prefix + name, None) for name in names]
    directions = parts[1]
    kept = 0 if directions is None or directions.ndim != 2 else len(directions)
    wanted = ((width,), (kept, width), (kept + 1,), (1,))
    for name, part, shape in zip(names, parts, wanted, strict=True):
        if part is None or part.dtype != torch.float32 or tuple(part.shape) != shape or kept > width:
            given = "missing" if part is None else f"{part.dtype} {list(part.shape)}"
            raise CheckpointError(f"novelty of {model}: {prefix}{name} is {given}; wanted float32 {list(shape)}")
        low, high = _RANGES[name]
        if not ((part >= low) & (part <= high)).all():
            raise CheckpointError(f"novelty of {model}: {prefix}{name} must be within {low:g} and {high:g}; restore it")
    return Familiar(*(part for part in parts if part is not None))


@dataclass(frozen=True)
class Calibrated:
    """A novelty and what its threshold was calibrated on."""

    novelty: Novelty
    spec: NoveltySpec
    """Without the file's size and hash, which `save_checkpoint` fills in."""


Readings = Mapping[str, Tensor]
"""By sensor, some readings [b ...] of one episode."""


def calibrated_novelty(
    sensors: Sequence[SensorSpec], train: Iterator[Readings], held_out: Iterator[Readings]
) -> Calibrated:
    """Learn the distributions from `train`, and from `held_out` the distance at which novelty is 1.

    Both give the readings of one episode after another. The threshold is conformal by episode (Lee, Barber and Willett
    2023): a reading of a new episode exceeds it with at most the probability `false_alarm_rate`, 1 / (episodes + 1)
    where that is more than FALSE_ALARM_RATE.
    """
    fitted = _fitted(sensors, train)
    novelty = Novelty(sensors, fitted)
    scores: dict[str, list[Tensor]] = {sensor.name: [] for sensor in sensors}
    for readings in held_out:
        for name, values in novelty.of(ObservationBatch(readings)).items():
            scores[name].append(values.cpu())
    episodes = len(scores[sensors[0].name])
    rate = max(FALSE_ALARM_RATE, 1 / (episodes + 1))
    familiar = {
        name: {way: each.scaled(threshold(scores[name], rate)) for way, each in known.items()}
        for name, known in fitted.items()
    }
    frames = sum(map(len, scores[sensors[0].name]))
    spec = NoveltySpec(sha256="", bytes=0, false_alarm_rate=rate, episodes=episodes, frames=frames)
    return Calibrated(Novelty(sensors, familiar), spec)


def _fitted(sensors: Sequence[SensorSpec], train: Iterator[Readings]) -> dict[str, dict[str, Familiar]]:
    """Distributions whose scale is the distance that few training readings exceed, so that descriptions count alike."""
    rows: dict[str, dict[str, list[Tensor]]] = {each.name: {way: [] for way in widths(each)} for each in sensors}
    for readings in train:
        for sensor in sensors:
            for way, described in descriptions(sensor, readings[sensor.name]).items():
                rows[sensor.name][way].append(described.cpu())
    return {
        sensor.name: {way: _standard(torch.cat(each), sensor) for way, each in rows[sensor.name].items()}
        for sensor in sensors
    }


def _standard(rows: Float[Tensor, "n f"], sensor: SensorSpec) -> Familiar:
    familiar = Familiar.fit(rows, LEAST_VARIANCE if sensor.kind == "camera" else LEAST_READING_VARIANCE)
    return familiar.scaled(max(float(familiar.distance(rows).quantile(1 - FALSE_ALARM_RATE)), 1e-3))


def threshold(scores: Sequence[Float[Tensor, " _"]], rate: float) -> float:
    """The least score that a reading of a new episode exceeds with probability `rate` at most.

    Each of the K episodes counts 1 / (K + 1), shared by its readings; `rate` is 1 / (K + 1) or more.
    """
    values = torch.cat(list(scores)).double()
    weights = torch.cat([torch.full((len(each),), 1 / len(each) / (len(scores) + 1)) for each in scores]).double()
    order = values.argsort()
    reached = weights[order].cumsum(0)
    index = int((reached < 1 - rate - 1e-9).sum())
    return max(float(values[order][min(index, len(values) - 1)]), math.ulp(1.0))
