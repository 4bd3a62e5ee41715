"""Training clips: a few frames of one episode, one model step apart, and the actions between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.observation import ObservationBatch


@dataclass(frozen=True, kw_only=True)
class StepTiming:
    """The division of time into steps, for training and planning."""

    control_steps: int = 5
    """Control steps in one model step."""
    context_frames: int = 3
    """Number of frames that a plan begins from, at most."""
    horizon: int = 5
    """Default number of model steps that a plan looks ahead."""

    def frames_spanned(self, clip_frames: int) -> int:
        """Frames of an episode, one control step apart, from the first of a clip to its last."""
        return (clip_frames - 1) * self.control_steps + 1


@dataclass(frozen=True)
class Clips:
    """b clips of t frames each."""

    sensors: Mapping[str, Tensor]
    """Readings by sensor: cameras uint8 [b t h w 3], vectors float32 [b t k] in physical units."""
    actions: Float[Tensor, "b steps a"] | None
    """Between the frames, t - 1 steps, unitless in [-1, 1]; None in episodes without actions."""
    twins: Mapping[str, Tensor] | None = None
    """The same states by sensor, drawn with other looks; a vector's readings are unchanged."""

    @property
    def shape(self) -> tuple[int, int]:
        """Clips b and frames t."""
        b, t = next(iter(self.sensors.values())).shape[:2]
        return b, t

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return next(iter(self.sensors.values())).device

    @property
    def frames(self) -> ObservationBatch:
        """Every frame of every clip as one batch, [b*t ...]."""
        return _flat(self.sensors)

    @property
    def twin_frames(self) -> ObservationBatch:
        """The twins of `frames`, in the same order."""
        assert self.twins is not None
        return _flat(self.twins)

    def to(self, device: torch.device) -> "Clips":
        """A copy on `device`; from pinned memory the copy is asynchronous."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Clips":
        """A copy in pinned memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Clips":
        return Clips(
            {name: change(values) for name, values in self.sensors.items()},
            None if self.actions is None else change(self.actions),
            None if self.twins is None else {name: change(values) for name, values in self.twins.items()},
        )


def _flat(sensors: Mapping[str, Tensor]) -> ObservationBatch:
    return ObservationBatch({name: values.flatten(0, 1) for name, values in sensors.items()})
