"""Latents of every frame of many episodes, as a frozen encoder sees them: heads and the predictor learn from them.

They lie on the disk in float16, keyed by the hash of the weights that made them, and are read as they are needed: 256
tokens of width 1,408 are 146 MB an episode. Half precision leaves three decimals of a latent of unit variance.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from worldmodel.clips import StepTiming
from worldmodel.data.task_truth import TaskTruth

Shape = tuple[int, int]
"""Tokens and width of a frame."""

NUMBERS_AT_A_TIME = 2**24
"""Numbers of latents that are read together where all rows are wanted: 64 MB."""


class LatentRows:
    """Rows [n d] in a float16 file, which is never read whole. They are read as float32 onto one device."""

    def __init__(self, path: Path, shape: Shape, device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.name = path.stem
        """The hash of everything that the rows depend on."""
        self._rows = np.memmap(path, dtype=np.float16, mode="r").reshape(-1, *shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: Int[Tensor, "*b"]) -> Float[Tensor, "*b n d"]:
        return torch.from_numpy(self._rows[rows.cpu().numpy()]).to(self.device, torch.float32)

    def variance(self) -> float:
        """The variance over the rows, summed over the numbers of a frame."""
        size = self.shape[0] * self.shape[1]
        total = torch.zeros(2, size, dtype=torch.float64)
        for part in torch.arange(len(self)).split(max(1, NUMBERS_AT_A_TIME // size)):
            values = self[part].flatten(1).double().cpu()
            total += torch.stack([values.sum(0), values.square().sum(0)])
        mean, square = total / len(self)
        return float((square - mean.square()).sum())


def stored_latents(
    folder: Path, key: Sequence[str], shape: Shape, parts: Callable[[], Iterator[Tensor]], device: torch.device
) -> LatentRows:
    """The rows that `parts` gives, [rows n d] each, read from a file that an earlier call may have made.

    `key` names all that the latents depend on: the weights' hash and the episodes. A killed call leaves no such file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps([*key, *map(str, shape)]).encode()).hexdigest()[:32]
    path = folder / f"{digest}.f16"
    if not path.is_file():
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            for part in parts():
                part.to("cpu", torch.float16).numpy().tofile(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    return LatentRows(path, shape, device)


def weights_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names and values."""
    hasher = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        hasher.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        hasher.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()


@dataclass(frozen=True)
class StandIns:
    """Other latents of frames that the model has also seen: imagined, or of twins. A planner meets those as often."""

    latents: LatentRows
    rows: Int[Tensor, " m"]
    """The rows of the same frames among those of the episodes."""


@dataclass(frozen=True)
class LatentEpisodes:
    """Latents of every frame, the episodes end to end, and what was done after each frame.

    Random numbers are drawn on the CPU, so that a seed means the same on every device.
    """

    latents: LatentRows
    last_row: Int[Tensor, " rows"]
    """For each row, the row of its episode's last frame."""
    actions: Float[Tensor, "rows x"]
    """Unitless, after each frame; zero after the last of an episode, and never read there."""
    timing: StepTiming
    stand_ins: tuple[StandIns, ...] = ()
    task: TaskTruth | None = None
    """None where the task's quantities were not recorded."""

    @property
    def device(self) -> torch.device:
        """Where the latents are read to, and everything else is."""
        return self.latents.device

    def sample(
        self, count: int, noise: float, generator: Generator
    ) -> tuple[Int[Tensor, " b"], Float[Tensor, "b n d"]]:
        """Random rows, and latents of their frames with Gaussian noise: every other one a stand-in, if any are."""
        rows = torch.randint(len(self.latents), (count,), generator=generator).to(self.device)
        latents = self.latents[rows]
        if self.stand_ins:
            self._substitute(rows, latents, generator)
        return rows, latents + noise * torch.randn(latents.shape, generator=generator).to(self.device)

    def _substitute(self, rows: Tensor, latents: Tensor, generator: Generator) -> None:
        """Every other row and its latents become a stand-in's, in place."""
        ends = torch.tensor([len(each.rows) for each in self.stand_ins]).cumsum(0)
        picks = torch.randint(int(ends[-1]), rows.shape, generator=generator)
        owners = torch.bucketize(picks, ends, right=True)
        other = torch.arange(len(rows)) % 2 == 1
        for index, each in enumerate(self.stand_ins):
            chosen = (other & (owners == index)).nonzero().squeeze(1)
            own = picks[chosen] - (ends[index] - len(each.rows))
            place = chosen.to(self.device)
            rows[place] = each.rows[own.to(self.device)]
            latents[place] = each.latents[own]

    def starts(self, clip_frames: int) -> Int[Tensor, " m"]:
        """Every row that a clip of one episode begins at."""
        after = self.last_row - torch.arange(len(self.last_row), device=self.device)
        return (after >= self.timing.frames_spanned(clip_frames) - 1).nonzero().squeeze(1)

    def clips(self, starts: Int[Tensor, " b"], clip_frames: int) -> Float[Tensor, "b t n d"]:
        """The latents of so many frames from each of these rows on, one model step apart."""
        return self.latents[starts[:, None] + self.timing.control_steps * torch.arange(clip_frames, device=self.device)]

    def actions_between(self, starts: Int[Tensor, " b"], clip_frames: int) -> Float[Tensor, "b steps a"]:
        """The model actions between the frames of clips."""
        steps = torch.arange(self.timing.frames_spanned(clip_frames) - 1, device=self.device)
        return self.actions[starts[:, None] + steps].unflatten(1, (-1, self.timing.control_steps)).flatten(2)
