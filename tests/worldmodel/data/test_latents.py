"""Latents on the disk: half precision, one file for each set of weights and episodes, and never read whole."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from tests.worldmodel.latent_store import CPU, latent_episodes, stored
from tests.worldmodel.training.power_cut import Stopped
from worldmodel.clips import StepTiming
from worldmodel.data import latents
from worldmodel.data.latents import LatentEpisodes, LatentRows, StandIns, stored_latents, weights_hash

SHAPE = (3, 4)
TIMING = StepTiming(control_steps=2, context_frames=2, horizon=2)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


class CountedParts:
    """Gives rows in parts of two, and counts how often it was asked."""

    def __init__(self, rows: Tensor, stop_after: int | None = None) -> None:
        self.rows, self.stop_after, self.calls = rows, stop_after, 0

    def __call__(self) -> Iterator[Tensor]:
        self.calls += 1
        for done, part in enumerate(self.rows.split(2)):
            if done == self.stop_after:
                raise Stopped
            yield part


def test_what_is_read_is_what_was_written_to_half_precision(tmp_path: Path) -> None:
    rows = noise(7, *SHAPE)
    read = stored_latents(tmp_path, ["weights"], SHAPE, CountedParts(rows), CPU)
    assert len(read) == 7 and read.shape == SHAPE
    chosen = torch.tensor([[6, 0], [3, 3]])
    assert read[chosen].dtype == torch.float32 and read[chosen].shape == (2, 2, *SHAPE)
    assert torch.equal(read[chosen], rows[chosen].half().float())
    assert (tmp_path / f"{read.name}.f16").stat().st_size == 7 * 12 * 2


def test_the_same_key_reads_the_file_and_another_writes_another(tmp_path: Path) -> None:
    parts = CountedParts(noise(5, *SHAPE))
    names = [stored_latents(tmp_path, ["weights", "episodes"], SHAPE, parts, CPU).name for _ in range(2)]
    assert parts.calls == 1 and names[0] == names[1]
    for key, shape in (
        (["other", "episodes"], SHAPE),
        (["weights", "others"], SHAPE),
        (["weights", "episodes"], (4, 3)),
    ):
        names.append(stored_latents(tmp_path, key, shape, parts, CPU).name)
    assert parts.calls == 4 and len({*names}) == 4
    assert {path.stem for path in tmp_path.iterdir()} == {*names}


def test_names_of_a_key_do_not_run_together(tmp_path: Path) -> None:
    one, other = (
        stored_latents(tmp_path, key, SHAPE, CountedParts(noise(2, *SHAPE)), CPU) for key in (["a", "b"], ["ab"])
    )
    assert one.name != other.name


def test_killed_while_it_writes_it_leaves_no_file_that_is_taken_for_one(tmp_path: Path) -> None:
    rows = noise(8, *SHAPE)
    with pytest.raises(Stopped):
        stored_latents(tmp_path, ["weights"], SHAPE, CountedParts(rows, stop_after=2), CPU)
    assert not list(tmp_path.glob("*.f16"))
    again = CountedParts(rows)
    read = stored_latents(tmp_path, ["weights"], SHAPE, again, CPU)
    assert again.calls == 1 and torch.equal(read[torch.arange(8)], rows.half().float())
    assert [path.name for path in tmp_path.iterdir()] == [f"{read.name}.f16"]


def test_weights_are_told_apart_by_names_types_and_values() -> None:
    zero = torch.zeros(4)
    hashes = [weights_hash(each) for each in ({"a": zero}, {"b": zero}, {"a": zero.half()}, {"a": zero.view(2, 2)})]
    hashes.append(weights_hash({"a": torch.tensor([0.0, 0.0, 0.0, 1e-9])}))
    assert len({*hashes}) == 5
    assert weights_hash({"a": zero, "b": zero + 1}) == weights_hash({"b": zero + 1, "a": zero})


def test_the_variance_is_that_of_all_rows(tmp_path: Path) -> None:
    rows = 3 * noise(40, *SHAPE) + 5
    wanted = rows.half().double().flatten(1).var(0, unbiased=False).sum()
    assert stored(tmp_path, rows).variance() == pytest.approx(float(wanted), rel=1e-6)


@pytest.fixture
def large(tmp_path: Path) -> LatentRows:
    """4,096 frames of 256 tokens of width 128: 256 MB, of which the disk keeps only the last frame."""
    path, size = tmp_path / "large.f16", 256 * 128
    with path.open("wb") as file:
        file.truncate(4096 * size * 2)
        file.seek(-size * 2, 2)
        file.write(np.full(size, 2.5, np.float16).tobytes())
    return LatentRows(path, (256, 128), CPU)


def test_many_tokens_are_not_read_whole(large: LatentRows) -> None:
    rows = torch.arange(4096)
    episodes = LatentEpisodes(large, torch.full((4096,), 4095), torch.zeros(4096, 2), TIMING)
    tracemalloc.start()
    try:
        found, sampled = episodes.sample(8, 0.0, Generator().manual_seed(0))
        clips = episodes.clips(torch.tensor([4093]), 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20, "numpy holds more than the rows that were asked for"
    assert sampled.shape == (8, 256, 128) and set(found.tolist()) <= set(rows.tolist())
    assert clips[0, 0].abs().max() == 0 and (clips[0, 1] == 2.5).all()


def test_measuring_many_tokens_reads_few_rows_at_a_time(large: LatentRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """4,096 rows together were once 512 MB for 256 tokens of width 128, and twice that in double precision."""
    counts: list[int] = []
    read = LatentRows.__getitem__
    monkeypatch.setattr(latents, "NUMBERS_AT_A_TIME", 8 * 256 * 128)
    monkeypatch.setattr(large, "_rows", large._rows[-50:])
    monkeypatch.setattr(
        LatentRows, "__getitem__", lambda rows, index: (counts.append(len(index)), read(rows, index))[1]
    )
    assert large.variance() == pytest.approx(2.5**2 * (1 / 50) * (49 / 50) * 256 * 128, rel=1e-6)
    assert counts == [8] * 6 + [2]


def episodes(folder: Path) -> LatentEpisodes:
    """Three of seven frames; a latent says its row, an action its row and column."""
    rows = torch.arange(21.0)
    told = rows.view(3, 7, 1, 1).expand(-1, -1, *SHAPE)
    actions = torch.stack([rows, rows + 0.5], dim=1).view(3, 7, 2)
    return latent_episodes(folder, told, actions, TIMING)


def test_clips_stay_in_their_episode_and_actions_with_their_frames(tmp_path: Path) -> None:
    data = episodes(tmp_path)
    starts = data.starts(3)
    assert starts.tolist() == [0, 1, 2, 7, 8, 9, 14, 15, 16], "a clip of three frames spans five"
    clips = data.clips(starts, 3)
    assert clips.shape == (9, 3, *SHAPE)
    assert torch.equal(clips[:, :, 0, 0], (starts[:, None] + torch.tensor([0, 2, 4])).float())
    assert data.actions_between(torch.tensor([8]), 3).tolist() == [[[8, 8.5, 9, 9.5], [10, 10.5, 11, 11.5]]]


def test_every_other_row_is_a_stand_in_and_each_as_often_as_it_is_there(tmp_path: Path) -> None:
    plain = episodes(tmp_path)
    few = StandIns(stored(tmp_path, torch.full((1, *SHAPE), 100.0)), torch.tensor([5]))
    many = StandIns(stored(tmp_path, 200 + torch.arange(3.0).view(3, 1, 1).expand(-1, *SHAPE)), torch.tensor([1, 2, 3]))
    data = LatentEpisodes(plain.latents, plain.last_row, plain.actions, TIMING, stand_ins=(few, many))
    rows, sampled = data.sample(800, 0.0, Generator().manual_seed(0))
    values = sampled[:, 0, 0]
    assert torch.equal(values[::2], rows[::2].float()), "a frame's own latent"
    stood_in = values[1::2]
    assert torch.equal(rows[1::2], torch.where(stood_in == 100, 5, stood_in - 199).long())
    assert float((stood_in == 100).float().mean()) == pytest.approx(1 / 4, abs=0.06)
    assert rows[::2].unique().tolist() == list(range(21))


def test_samples_are_a_function_of_the_generator_and_noisy_as_asked(tmp_path: Path) -> None:
    data = episodes(tmp_path)
    one, same = (data.sample(500, 0.3, Generator().manual_seed(4)) for _ in range(2))
    assert all(map(torch.equal, one, same))
    error = one[1] - one[0].view(-1, 1, 1)
    assert float(error.std()) == pytest.approx(0.3, rel=0.05) and abs(float(error.mean())) < 0.02
