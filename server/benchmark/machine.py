"""Peak rate of matrix products on a machine, and its instruction sets."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldmodel import DTYPES, PackedLinear, Precision

SIDES = (1024, 2048)
REPEATS = 12
MATRIX_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")


def peak_gflops(precision: Precision, device: str) -> float:
    """Best rate of two ways to multiply, over two sizes and a dozen repeats. Models are compared with it."""
    best = 0.0
    for side in SIDES:
        left, right = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
        packed = PackedLinear(right, torch.zeros(side, device=device), DTYPES[precision])
        for product in (lambda a=left, b=right: a @ b, lambda a=left, layer=packed: layer(a)):
            best = max(best, 2 * side**3 / _least_seconds(product, device) / 1e9)
    return best


def machine(device: str) -> dict[str, Any]:
    """Description of the machine of a measurement."""
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
        "cpu_flags": {flag: flag in _cpu_flags() for flag in MATRIX_FLAGS},
        "onednn": torch.backends.mkldnn.is_available(),
        "compiled": False,
    }


def synchronise(device: str) -> None:
    """Wait until a GPU has done all its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _least_seconds(work: Callable[[], Tensor], device: str) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())
