"""The tiny preset in the processes that torchrun starts: tests.worldmodel.training.train_together STORE RUN [STOP].

With STOP, every process dies after that step, which was logged and not saved.
"""

import os
import sys
from pathlib import Path

import torch

from tests.tiny import tiny_body
from worldmodel.clips import StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.parts.processes import joined
from worldmodel.recipes.lewm import LeWM, tiny
from worldmodel.training.loop import Run, TrainingConfig

CONFIG = TrainingConfig(
    steps=12, batch=16, precision="float32", metrics_every_steps=1, evaluate_every_steps=6, save_every_s=0.0
)


def train_together(store: Path, folder: Path, stop_at: int | None = None) -> Run:
    """In this process, and in its fellows when there are any. An evaluation tells two norms."""

    def on_step(step: int, metrics: dict[str, float]) -> None:
        if step == stop_at:
            os._exit(1)

    opened = EpisodeStore(store)
    sampler = ClipSampler(opened, opened.episodes, clip_frames=4, timing=StepTiming(control_steps=5))
    with joined("cpu") as processes:
        torch.manual_seed(0)
        recipe = LeWM(tiny(), tiny_body())
        for block in recipe.predictor.every_block():
            torch.nn.init.normal_(block.modulation.weight, std=0.2)  # else nothing of a batch matters at first
        run = Run(folder, recipe, CONFIG, {}, processes)
        run.train(sampler, lambda: _sums(recipe), on_step)
    return run


def _sums(recipe: LeWM) -> dict[str, float]:
    return {
        "weights": float(torch.nn.utils.parameters_to_vector(recipe.parameters()).detach().norm()),
        # Not of the running means: a bias before BatchNorm has no gradient but rounding, which Adam makes steps of.
        "variances": float(sum(value.norm() for key, value in recipe.named_buffers() if "running_var" in key)),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_together(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
