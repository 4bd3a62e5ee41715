"""Measures which arithmetic trains faster on this machine."""

import time
from typing import cast

import torch
from torch import Generator, nn

from worldmodel.clips import Clips
from worldmodel.parts.precision import Precision, autocast
from worldmodel.recipe import Recipe, Step


def faster_precision(module: nn.Module, batch: Clips, repeats: int = 2) -> Precision:
    """bfloat16 on a GPU; on a CPU the faster of both, timed forward and backward on one batch after a warm-up.

    The weights stay unchanged."""
    if batch.device.type == "cuda":
        return "bfloat16"
    saved = {key: value.clone() for key, value in module.state_dict().items()}
    seconds = {precision: _seconds(module, batch, precision, repeats) for precision in ("float32", "bfloat16")}
    module.load_state_dict(saved)
    module.zero_grad(set_to_none=True)
    return "bfloat16" if seconds["bfloat16"] < seconds["float32"] else "float32"


def _seconds(module: nn.Module, batch: Clips, precision: Precision, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with autocast(precision, batch.device):
            losses = cast(Recipe, module).losses(batch, Step(0, 1, Generator().manual_seed(0)))
        torch.stack(list(losses.values())).sum().backward()
        times.append(time.perf_counter() - start)
    return min(times[1:])
