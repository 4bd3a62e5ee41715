"""Episodes as a frozen world model sees them: what the heads of a checkpoint learn from."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from worldmodel.clips import frames_spanned
from worldmodel.data.task_truth import TaskTruth


@dataclass(frozen=True)
class StandIns:
    """Other latents of frames that the model has also seen: imagined, or of twins. A planner meets those as often."""

    latents: Float[Tensor, "m d"]
    rows: Int[Tensor, " m"]
    """Of these frames, among those of the episodes."""


@dataclass(frozen=True)
class LatentEpisodes:
    """Latents of every frame of many episodes, end to end: all of it on one device, which whatever learns from it is on
    too. Random numbers are drawn on the CPU, so that a seed means the same everywhere."""

    latents: Float[Tensor, "rows d"]
    last_row: Int[Tensor, " rows"]
    """For each row, the row of its episode's last frame."""
    stand_ins: StandIns | None = None
    task: TaskTruth | None = None
    """Where it is known what the task is about."""

    @property
    def device(self) -> torch.device:
        """Where the latents are."""
        return self.latents.device

    def sample(self, count: int, noise: float, generator: Generator) -> tuple[Int[Tensor, " b"], Float[Tensor, "b d"]]:
        """Random rows, and latents of their frames with Gaussian noise: every other one a stand-in, if any are."""
        rows = torch.randint(len(self.latents), (count,), generator=generator).to(self.device)
        latents = self.latents[rows]
        if self.stand_ins is not None:
            picks = torch.randint(len(self.stand_ins.rows), (count,), generator=generator).to(self.device)
            other = torch.arange(count, device=self.device) % 2 == 1
            rows = torch.where(other, self.stand_ins.rows[picks], rows)
            latents = torch.where(other[:, None], self.stand_ins.latents[picks], latents)
        return rows, latents + noise * torch.randn(latents.shape, generator=generator).to(self.device)

    def starts(self, clip_frames: int, control_steps: int) -> Int[Tensor, " m"]:
        """Every row that a clip of one episode begins at."""
        after = self.last_row - torch.arange(len(self.last_row), device=self.device)
        return (after >= frames_spanned(clip_frames, control_steps) - 1).nonzero().squeeze(1)

    def clips(self, starts: Int[Tensor, " b"], clip_frames: int, control_steps: int) -> Float[Tensor, "b t d"]:
        """The latents of so many frames from each of these rows on, one model step apart."""
        return self.latents[starts[:, None] + control_steps * torch.arange(clip_frames, device=self.device)]


def actions_between(
    actions: Float[Tensor, "rows x"], starts: Int[Tensor, " b"], clip_frames: int, control_steps: int
) -> Float[Tensor, "b steps a"]:
    """The model actions between the frames of clips; `actions` are control steps', row by row."""
    steps = torch.arange(frames_spanned(clip_frames, control_steps) - 1, device=actions.device)
    return actions[starts[:, None] + steps].unflatten(1, (-1, control_steps)).flatten(2)
