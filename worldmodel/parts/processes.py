"""Training in several processes that share every batch: losses and statistics are those of the whole batch.

torchrun starts the processes; without it there is one. Each takes equally many samples, so a mean over the batch
(SIGReg's characteristic function, BatchNorm's statistics) is the average of the processes' means. Gradients flow
through that average to the samples of every process.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from worldmodel.errors import TrainingError

CPU = torch.device("cpu")
DeviceChoice = Literal["auto", "cpu", "cuda"]
"""`auto` takes a GPU where there is one."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The processes that train together, and the rank of this one."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """True for the first process, which alone evaluates and writes."""
        return self.rank == 0


ALONE = Processes()
"""This process, without others."""


@contextlib.contextmanager
def joined(device: DeviceChoice) -> Iterator[Processes]:
    """Join the processes that torchrun started, over NCCL on GPUs and Gloo on CPUs.

    Raises TrainingError when `device` is not available.
    """
    chosen = chosen_device(device)
    if "WORLD_SIZE" not in os.environ:
        yield Processes(device=chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        dist.init_process_group("nccl", device_id=chosen)
    else:
        dist.init_process_group("gloo")
    try:
        yield Processes(rank=dist.get_rank(), count=dist.get_world_size(), device=chosen)
    finally:
        dist.destroy_process_group()


def process_count() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def average(tensor: Tensor) -> Tensor:
    """Mean of the processes' tensors, differentiable for all of them; the tensor itself when there is one process.

    The processes' losses count as averaged too: each process's gradient is then averaged by `average_gradients`.
    """
    return _Average.apply(tensor) if process_count() > 1 else tensor  # type: ignore[no-any-return]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """After every process's backward pass: the gradient of the mean of their losses, in one exchange."""
    if process_count() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = _mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def from_first(number: int, device: torch.device) -> int:
    """The first process's number, in every process."""
    if process_count() == 1:
        return number
    shared = torch.tensor(number, device=device)
    dist.broadcast(shared, src=0)
    return int(shared)


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return _mean(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The mean of the gradients, since every process's loss depends on every process's tensor."""
        return _mean(*gradients)


def _mean(tensor: Tensor) -> Tensor:
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / dist.get_world_size()


def chosen_device(choice: DeviceChoice) -> torch.device:
    """Device of this process. Raises TrainingError when `choice` is not available."""
    if choice == "cpu" or (choice == "auto" and not torch.cuda.is_available()):
        return CPU
    if not torch.cuda.is_available():
        raise TrainingError(
            f"device is {choice!r}, but PyTorch {torch.__version__} sees no GPU: install its CUDA build, "
            "or train with --device cpu"
        )
    index, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if index >= there:
        raise TrainingError(
            f"process {index} of this machine wants a GPU of its own; there are {there}: give --nproc-per-node {there}"
        )
    return torch.device("cuda", index)
