"""The loader's benchmark on a small store; Lance itself is not installed, so a table in memory stands in for it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks.loader import TIMING, frame_rate, lance_reader, main_camera, training_step
from tests.episodes import counting_episode, write_dot_store, write_store
from worldmodel.clips import Clips
from worldmodel.data.episodes import ClipSampler
from worldmodel.recipes.lewm import tiny


def write_dataset(batches: Iterator[Any], folder: str, schema: Any) -> Any:
    table = pa.Table.from_batches(list(batches), schema=schema)
    return SimpleNamespace(take=lambda rows, columns: table.select(columns).take(rows))


def test_lance_gives_the_frames_and_actions_that_the_store_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames say their episode and index, actions theirs."""
    monkeypatch.setitem(sys.modules, "lance", SimpleNamespace(write_dataset=write_dataset))
    episodes = [counting_episode(number, steps) for number, steps in enumerate((20, 31))]
    store = main_camera(write_store(tmp_path / "store", episodes, several_sensors=True))
    clips = lance_reader(store, ClipSampler(store, store.episodes, clip_frames=4, timing=TIMING), "", count=50)(0)
    assert list(clips.sensors) == ["top"] and clips.shape == (50, 4) and clips.actions is not None
    number, index = clips.sensors["top"][:, :, 3, 4, :2].long().unbind(-1)
    assert set(number[:, 0].tolist()) == {0, 1} and (number == number[:, :1]).all()
    assert torch.equal(index, index[:, :1] + 5 * torch.arange(4))
    blocks = clips.actions.unflatten(-1, (5, 2))
    torch.testing.assert_close(blocks[..., 0], (index[:, :1, None] + torch.arange(15).view(3, 5)) / 100)


def test_a_rate_counts_the_frames_of_the_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four calls of one, two, three and four seconds; the first one is a warm-up."""
    clips = Clips({"top": torch.zeros(6, 2, 16, 16, 3, dtype=torch.uint8)}, None)
    clock = iter(np.cumsum([0, 2, 0, 3, 0, 4]).tolist())
    monkeypatch.setattr("benchmarks.loader.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    steps: list[int] = []
    assert frame_rate(lambda step: (steps.append(step), clips)[1], 3) == {"median": 4, "least": 3, "most": 6}
    assert steps == [3, 0, 1, 2]


def test_training_learns_from_its_batch(tmp_path: Path) -> None:
    store = main_camera(write_dot_store(tmp_path / "store", episodes=2, several_sensors=True))
    learn = training_step(tiny(), ClipSampler(store, store.episodes, clip_frames=4, timing=TIMING), count=8)
    assert learn(0) is learn(1) and frame_rate(learn, 2)["least"] > 0
