"""Random readings of sensors, and clips of them: noise that every recipe can be tried on."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from worldmodel.clips import Clips
from worldmodel.observation import ObservationBatch, SensorSpec


def random_observation(sensors: Sequence[SensorSpec], robots: int, seed: int = 0) -> ObservationBatch:
    """One frame of so many robots."""
    generator = Generator().manual_seed(seed)
    return ObservationBatch({spec.name: random_readings(spec, (robots,), generator) for spec in sensors})


def random_clips(sensors: Sequence[SensorSpec], clips: int, frames: int, *, action_width: int, seed: int = 0) -> Clips:
    """Clips of unrelated frames; without actions where `action_width` is 0."""
    generator = Generator().manual_seed(seed)
    readings = {spec.name: random_readings(spec, (clips, frames), generator) for spec in sensors}
    actions = torch.rand(clips, frames - 1, action_width, generator=generator) * 2 - 1
    return Clips(readings, actions if action_width else None)


def random_readings(spec: SensorSpec, leading: tuple[int, ...], generator: Generator) -> Tensor:
    """A camera's pixels, or a vector's entries anywhere in their range: [*leading ...]."""
    shape = (*leading, *spec.shape)
    if spec.kind == "camera":
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    low, high = torch.tensor(spec.low), torch.tensor(spec.high)
    return low + torch.rand(shape, generator=generator) * (high - low)
