"""Latents of the training episodes from the frozen model: of every frame, of twins, and imagined ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from worldmodel.clips import StepTiming
from worldmodel.data.episodes import Episode, EpisodeStore
from worldmodel.data.latents import NUMBERS_AT_A_TIME, LatentEpisodes, LatentRows, StandIns, stored_latents
from worldmodel.observation import ObservationBatch
from worldmodel.recipe import Encoder, Latents, WorldModel

IMAGINED_CLIPS = 40_000
MOST_CLIPS_AT_A_TIME = 2048
FRAMES_AT_A_TIME = 512

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called as (stage, steps done, steps in all, newest metrics)."""


@dataclass(frozen=True, kw_only=True)
class FrozenEncoder:
    """An encoder, the device that it is on, and the hash of its module's weights, the world model's among them."""

    encoder: Encoder
    device: torch.device
    weights: str
    folder: Path
    """Holds the files of latents."""

    @torch.inference_mode()
    def frames(self, sensors: dict[str, np.ndarray]) -> Float[Tensor, "rows n d"]:
        """Latents of frames by sensor, [rows ...]."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in sensors.items()}
        parts = zip(*(values.split(FRAMES_AT_A_TIME) for values in tensors.values()), strict=True)
        batches = (ObservationBatch(dict(zip(tensors, part, strict=True))).to(self.device) for part in parts)
        return torch.cat([self.encoder.encode(batch).tokens for batch in batches])

    def stored(self, key: list[str], parts: Callable[[], Iterator[Tensor]]) -> LatentRows:
        """Rows in a file of `folder`, which is written only for new weights or a new `key`."""
        return stored_latents(self.folder, [self.weights, *key], self.encoder.latent_shape, parts, self.device)


def encode_episodes(
    frozen: FrozenEncoder, store: EpisodeStore, episodes: list[Episode], timing: StepTiming, progress: Progress
) -> LatentEpisodes:
    """The latents of every frame, and the action after each."""

    def parts() -> Iterator[Tensor]:
        for done, episode in enumerate(episodes, start=1):
            yield frozen.frames(store.observations(episode, 0, episode.frames, 1))
            progress("encode episodes", done, len(episodes), {})

    ends = np.cumsum([episode.frames for episode in episodes])
    last_row = np.repeat(ends - 1, [episode.frames for episode in episodes])
    actions = [np.pad(store.actions(episode, 0, episode.frames - 1), ((0, 1), (0, 0))) for episode in episodes]
    return LatentEpisodes(
        latents=frozen.stored(["frames", *_named(store, episodes)], parts),
        last_row=torch.from_numpy(last_row).to(frozen.device),
        actions=torch.from_numpy(np.concatenate(actions)).to(frozen.device),
        timing=timing,
    )


def imagined_stand_ins(
    data: LatentEpisodes, frozen: FrozenEncoder, model: WorldModel, seed: int, progress: Progress
) -> list[StandIns]:
    """Latents imagined along the episodes from one context frame and from all."""
    contexts = sorted({1, data.timing.context_frames})  # a first plan has one frame to go on
    found = [imagine_along(data, frozen, model, (context, IMAGINED_CLIPS // 2, seed), progress) for context in contexts]
    return [each for each in found if each is not None]


def imagine_stage(context: int) -> str:
    """Name of the stage that imagines from `context` frames."""
    return f"imagine from {context} frame{'s' if context > 1 else ''}"


@torch.inference_mode()
def imagine_along(
    data: LatentEpisodes, frozen: FrozenEncoder, model: WorldModel, draw: tuple[int, int, int], progress: Progress
) -> StandIns | None:
    """Imagined latents of the model steps that follow the context frames of random clips.

    `draw` is the number of context frames, the largest number of clips, and the seed of their choice. `frozen` and
    `model` have the same weights. None where all episodes are too short.
    """
    context, clips, seed = draw
    timing, shape = data.timing, data.latents.shape
    frames = context + timing.horizon
    at_a_time = min(MOST_CLIPS_AT_A_TIME, max(1, NUMBERS_AT_A_TIME // (frames * shape[0] * shape[1])))
    starts = data.starts(frames)
    if len(starts) == 0:
        return None
    chosen = starts[torch.randperm(len(starts), generator=Generator().manual_seed(seed))[:clips]]

    def parts() -> Iterator[Tensor]:
        done = 0
        for part in chosen.split(at_a_time):
            actions = data.actions_between(part, frames)
            begun = model.begin(Latents(data.clips(part, context)), actions[:, : context - 1])
            yield model.rollout(begun, actions[:, None, context - 1 :])[:, 0].flatten(0, 1)
            done += len(part)
            progress(imagine_stage(context), done, len(chosen), {})

    numbers = (*draw, timing.control_steps, timing.horizon)
    latents = frozen.stored(["imagined", data.latents.name, *map(str, numbers)], parts)
    steps = timing.control_steps * torch.arange(context, frames, device=data.device)
    return StandIns(latents, (chosen[:, None] + steps).flatten().clone())


def twin_stand_ins(
    data: LatentEpisodes, frozen: FrozenEncoder, store: EpisodeStore, episodes: list[Episode], progress: Progress
) -> StandIns:
    """The twins of frames one model step apart, of each episode."""
    skip = data.timing.control_steps
    own = [torch.arange(0, episode.frames, skip) for episode in episodes]
    firsts = np.cumsum([0, *(episode.frames for episode in episodes[:-1])])

    def parts() -> Iterator[Tensor]:
        for done, (episode, rows) in enumerate(zip(episodes, own, strict=True), start=1):
            yield frozen.frames(store.twins(episode, 0, len(rows), skip))
            progress("encode twins", done, len(episodes), {})

    rows = torch.cat([int(first) + each for first, each in zip(firsts, own, strict=True)])
    return StandIns(frozen.stored(["twins", str(skip), *_named(store, episodes)], parts), rows.to(data.device))


def _named(store: EpisodeStore, episodes: list[Episode]) -> list[str]:
    """Folders, and the place of each episode in them: no other frames have these names."""
    return [str(folder.resolve()) for folder in store.folders] + [f"{e.shard}.{e.start}.{e.frames}" for e in episodes]
