"""Two processes train as one does: the same samples, the same losses, one writer."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.episodes import write_dot_store
from tests.worldmodel.training.train_together import CONFIG, train_together
from worldmodel.clips import Clips, StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.errors import TrainingError
from worldmodel.parts.processes import Processes, joined
from worldmodel.training.batches import BatchSource

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dot_store(tmp_path_factory.mktemp("dots") / "store", episodes=4, steps=24)


@pytest.fixture(scope="module")
def sampler(store: Path) -> ClipSampler:
    opened = EpisodeStore(store)
    return ClipSampler(opened, opened.episodes, clip_frames=4, timing=StepTiming(control_steps=5))


def two_processes(*arguments: object) -> subprocess.CompletedProcess[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    module = ["-m", "tests.worldmodel.training.train_together", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*torchrun, *module], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_stopped_and_started_again_have_the_losses_of_one(store: Path, tmp_path: Path) -> None:
    """Twelve steps: gradients, SIGReg, BatchNorm's statistics and the optimiser's state all have their say."""
    train_together(store, tmp_path / "one")
    assert two_processes(store, tmp_path / "two", 5).returncode != 0
    assert rows(tmp_path / "two")[-1]["step"] == 5, "it did not get as far as the stop"
    again = two_processes(store, tmp_path / "two")
    assert again.returncode == 0, again.stderr
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row["step"] for row in two] == list(range(1, CONFIG.steps + 1)), "each step is logged once"
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"run.json", "metrics.jsonl", "state.safetensors"}
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-4), f"step {alone['step']}"
    assert two[0] == pytest.approx(one[0], rel=1e-5)
    assert "variances" in one[-1] and one[-1]["predict"] < one[0]["predict"], "nothing was learned: no test at all"


def test_shares_are_the_batch(sampler: ClipSampler) -> None:
    whole = sampler.sample(12, seed=3, step=7)
    shares = [
        BatchSource(sampler=sampler, size=12, seed=3, processes=Processes(rank=rank, count=3)).share(7)
        for rank in range(3)
    ]
    assert torch.equal(torch.cat([share.sensors["top"] for share in shares]), whole.sensors["top"])
    assert torch.equal(torch.cat([actions(share) for share in shares]), actions(whole))


def actions(clips: Clips) -> torch.Tensor:
    assert clips.actions is not None
    return clips.actions


def test_reading_processes_give_what_a_thread_gives(sampler: ClipSampler) -> None:
    by_thread, by_processes = (
        list(BatchSource(sampler=sampler, size=4, seed=0, readers=readers).read(2, 7)) for readers in (0, 2)
    )
    assert len(by_thread) == len(by_processes) == 5
    for one, other in zip(by_thread, by_processes, strict=True):
        assert torch.equal(one.sensors["top"], other.sensors["top"]) and torch.equal(actions(one), actions(other))
    assert not np.array_equal(by_thread[0].sensors["top"], by_thread[1].sensors["top"])


@pytest.mark.parametrize(("size", "count"), [(9, 2), (3, 3)])
def test_a_batch_that_cannot_be_shared_out_is_refused(sampler: ClipSampler, size: int, count: int) -> None:
    with pytest.raises(TrainingError, match=f"batch={size} cannot be shared out among {count} processes"):
        BatchSource(sampler=sampler, size=size, seed=0, processes=Processes(count=count))


def test_alone_there_is_nothing_to_join() -> None:
    with joined("cpu") as processes:
        assert (processes.rank, processes.count, processes.device.type, processes.is_first) == (0, 1, "cpu", True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with (
        pytest.raises(TrainingError, match="sees no GPU: install its CUDA build, or train with --device cpu"),
        joined("cuda"),
    ):
        pass
