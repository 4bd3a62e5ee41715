"""Latents that nobody encoded, in the files that heads and predictors learn from."""

from pathlib import Path

import torch
from torch import Tensor

from worldmodel.clips import StepTiming
from worldmodel.data.latents import LatentEpisodes, LatentRows, stored_latents, weights_hash

CPU = torch.device("cpu")


def stored(folder: Path, latents: Tensor) -> LatentRows:
    """Rows [rows n d] in a file, in half precision; others have a file of their own."""
    return stored_latents(folder, [weights_hash({"latents": latents})], latents.shape[1:], lambda: iter([latents]), CPU)


def latent_episodes(folder: Path, latents: Tensor, actions: Tensor, timing: StepTiming) -> LatentEpisodes:
    """Episodes of equally many frames: latents [episodes frames n d] and actions [episodes frames x]."""
    count, frames = latents.shape[:2]
    rows = torch.arange(count * frames)
    return LatentEpisodes(
        latents=stored(folder, latents.flatten(0, 1)),
        last_row=(rows // frames + 1) * frames - 1,
        actions=actions.flatten(0, 1),
        timing=timing,
    )
