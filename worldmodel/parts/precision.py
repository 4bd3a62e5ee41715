"""Which arithmetic trains faster on this machine? Measured, not assumed."""

import time
from typing import Literal

import torch
from torch import Generator, nn

from worldmodel.clips import Windows

Precision = Literal["float32", "bfloat16"]
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
"""`auto` measures."""
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CLOSE = 0.03
"""Relative error (L2, over all imagined latents) that bfloat16 imagining may have against float32. A number has eight
bits; measured on random weights over five steps: 0.4 % on `paper`, 0.6 % on `small`."""


def faster_precision(recipe: nn.Module, batch: Windows, repeats: int = 2) -> Precision:
    """bfloat16 on a GPU. On a CPU, times forward and backward of one batch in both, after one warm-up each. Leaves the
    weights as they were."""
    if batch.frames.is_cuda:
        return "bfloat16"
    saved = {key: value.clone() for key, value in recipe.state_dict().items()}
    seconds = {precision: _seconds(recipe, batch, precision, repeats) for precision in ("float32", "bfloat16")}
    recipe.load_state_dict(saved)
    recipe.zero_grad(set_to_none=True)
    return "bfloat16" if seconds["bfloat16"] < seconds["float32"] else "float32"


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which a recipe's losses are computed."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def _seconds(recipe: nn.Module, batch: Windows, precision: Precision, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with autocast(precision, batch.frames.device):
            losses = recipe.losses(batch, Generator().manual_seed(0))  # type: ignore[operator]
        torch.stack(list(losses.values())).sum().backward()
        times.append(time.perf_counter() - start)
    return min(times[1:])
