"""Latents of every frame of many episodes from a frozen encoder: heads and the predictor learn from them.

They are on the disk in float16, keyed by the hash of the encoder's weights, and are read when needed: with
256 tokens of width 1,408 an episode takes 146 MB. Half precision keeps three decimals of a latent of unit variance.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from worldmodel.clips import StepTiming
from worldmodel.data.atomic_file import replaced_atomically
from worldmodel.data.task_truth import TaskTruth

Shape = tuple[int, int]
"""Tokens and width of a frame."""

NUMBERS_AT_A_TIME = 2**24
"""Numbers read at a time where all rows are needed: 64 MB as float32."""


class LatentRows:
    """Rows [n d] in a float16 file, which is never read whole. They are read as float32 onto one device."""

    def __init__(self, path: Path, shape: Shape, device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.name = path.stem
        """Hash of everything that the rows depend on."""
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
    """The rows of `parts`, [rows n d] each, in a file that is written only where no earlier call wrote it.

    `key` names everything that the latents depend on: the weights' hash and the episodes. An interrupted call leaves
    no such file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps([*key, *map(str, shape)]).encode()).hexdigest()[:32]
    path = folder / f"{digest}.f16"
    if not path.is_file():
        with replaced_atomically(path) as file:
            for part in parts():
                part.to("cpu", torch.float16).numpy().tofile(file)
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
    """Other latents of the same frames: imagined, or of twins. A planner meets them as often as encoded frames."""

    latents: LatentRows
    rows: Int[Tensor, " m"]
    """The rows of the same frames among those of the episodes."""


@dataclass(frozen=True)
class LatentEpisodes:
    """Latents of every frame, the episodes end to end, and the action after each frame.

    Random numbers are drawn on the CPU, so that a seed means the same on every device.
    """

    latents: LatentRows
    last_row: Int[Tensor, " rows"]
    """Row of the last frame of each row's episode."""
    actions: Float[Tensor, "rows x"]
    """Unitless action after each frame; zero after an episode's last frame, where it is never read."""
    timing: StepTiming
    stand_ins: tuple[StandIns, ...] = ()
    task: TaskTruth | None = None
    """Quantities that the task is about; None where they were not recorded."""

    @property
    def device(self) -> torch.device:
        """Device of everything but the file of latents, which are read onto it."""
        return self.latents.device

    def sample(
        self, count: int, noise: float, generator: Generator
    ) -> tuple[Int[Tensor, " b"], Float[Tensor, "b n d"]]:
        """Random rows, and latents of their frames with Gaussian noise; every other one is a stand-in, if any exist."""
        rows = torch.randint(len(self.latents), (count,), generator=generator).to(self.device)
        latents = self.latents[rows]
        if self.stand_ins:
            self._substitute(rows, latents, generator)
        return rows, latents + noise * torch.randn(latents.shape, generator=generator).to(self.device)

    def _substitute(self, rows: Tensor, latents: Tensor, generator: Generator) -> None:
        """Replace every other row and its latents by a stand-in's, in place."""
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
        """Rows at which a clip of one episode can begin."""
        after = self.last_row - torch.arange(len(self.last_row), device=self.device)
        return (after >= self.timing.frames_spanned(clip_frames) - 1).nonzero().squeeze(1)

    def clips(self, starts: Int[Tensor, " b"], clip_frames: int) -> Float[Tensor, "b t n d"]:
        """Latents of `clip_frames` frames, one model step apart, from each of these rows on."""
        return self.latents[starts[:, None] + self.timing.control_steps * torch.arange(clip_frames, device=self.device)]

    def actions_between(self, starts: Int[Tensor, " b"], clip_frames: int) -> Float[Tensor, "b steps a"]:
        """The model actions between the frames of clips."""
        steps = torch.arange(self.timing.frames_spanned(clip_frames) - 1, device=self.device)
        return self.actions[starts[:, None] + steps].unflatten(1, (-1, self.timing.control_steps)).flatten(2)
