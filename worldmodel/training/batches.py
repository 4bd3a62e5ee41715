"""Batches for a training, read ahead: the model never waits while readers are fast enough.

One thread keeps up with a CPU. HDF5 reads under one lock a process, so what feeds a GPU is several reading processes,
each with the store open for itself.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from worldmodel.clips import Clips
from worldmodel.data.episodes import ClipSampler
from worldmodel.errors import TrainingError
from worldmodel.parts.processes import ALONE, Processes

MOST_READERS = 8
AHEAD = 2
"""Batches that each reading process keeps ready."""


@dataclass(frozen=True, kw_only=True)
class BatchSource:
    """Source of the batch of each training step: a pure function of (seed, step), so a resumed run gets the same.

    This process reads its own share of each batch of `size` clips.
    """

    sampler: ClipSampler
    size: int
    seed: int
    processes: Processes = ALONE
    readers: int = 0
    """Processes that read; 0 reads in a thread of this one."""

    def __post_init__(self) -> None:
        if self.size % self.processes.count or self.size // self.processes.count < 2:
            raise TrainingError(
                f"batch={self.size} cannot be shared out among {self.processes.count} processes; give a multiple of "
                "their number, at least twice it"
            )
        if self.readers < 0:
            raise TrainingError(f"readers={self.readers}; give 0 (a thread) or more (processes)")

    def share(self, step: int) -> Clips:
        """This process's part of the batch of a step."""
        return self.sampler.sample(self.size, self.seed, step, part=(self.processes.rank, self.processes.count))

    def read(self, first: int, last: int) -> Iterator[Clips]:
        """The shares of steps first..last-1, on this process's device; each is read while the model learns."""
        device = self.processes.device
        for clips in self._by_processes(first, last) if self.readers else self._by_thread(first, last):
            yield clips.to(device)

    def _by_thread(self, first: int, last: int) -> Iterator[Clips]:
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = None
            for step in range(first, last):
                current = ahead or reader.submit(self.share, step)
                ahead = reader.submit(self.share, step + 1) if step + 1 < last else None
                yield current.result()

    def _by_processes(self, first: int, last: int) -> Iterator[Clips]:
        on_gpu = self.processes.device.type == "cuda"
        yield from DataLoader(
            _Shares(self),
            batch_size=None,
            sampler=range(first, last),
            num_workers=self.readers,
            prefetch_factor=AHEAD,
            # Started afresh: neither HDF5 nor CUDA survives a fork.
            multiprocessing_context="spawn",
            pin_memory=on_gpu,
        )


class _Shares(Dataset[Clips]):
    """Indexed by training step."""

    def __init__(self, source: BatchSource) -> None:
        self._source = source

    def __getitem__(self, step: int) -> Clips:
        return self._source.share(step)


def default_readers(device: torch.device) -> int:
    """A thread on a CPU, which has no core to spare; on a GPU, this process's share of the machine's cores."""
    if device.type == "cpu":
        return 0
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(MOST_READERS, (os.cpu_count() or 1) // beside))
