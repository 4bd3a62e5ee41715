"""What the heads learn from. What they learn is in the tests of each."""

from pathlib import Path

import numpy as np
import torch
from worldmodel.training.heads import _encode_twins, encode_frames

from tests.episodes import dot_episode, write_store
from tests.tiny import tiny_recipe
from worldmodel.data.episodes import EpisodeStore
from worldmodel.inference.world_model import LatentWorldModel

CONTROL_STEPS = 5


def test_a_twins_latent_stands_for_its_frame(tmp_path: Path) -> None:
    """Episodes of different lengths; a twin is its frame's negative."""
    episodes = [dot_episode(seed, steps=10 + 3 * seed) for seed in range(3)]
    store = EpisodeStore(write_store(tmp_path / "store", episodes, twins=True))
    model = LatentWorldModel(tiny_recipe())
    found = _encode_twins(model, store, store.episodes, CONTROL_STEPS)
    frames = np.concatenate([episode.frames for episode in episodes])
    assert found.rows.tolist() == [0, 5, 10, 11, 16, 21, 25, 30, 35, 40]
    torch.testing.assert_close(found.latents, encode_frames(model, 255 - frames[found.rows]), rtol=1e-4, atol=1e-4)
