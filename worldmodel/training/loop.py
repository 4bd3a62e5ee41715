"""One training loop for every recipe, in one process or in several that share out each batch.

Everything random is a function of (seed, step), and the whole state is saved every half minute at most, so a run that
was killed goes on as if nothing had happened. The state is safetensors: no pickle.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from worldmodel.clips import Clips
from worldmodel.data.atomic_file import write_atomically
from worldmodel.data.episodes import ClipSampler
from worldmodel.errors import TrainingError
from worldmodel.parts.precision import Precision, autocast
from worldmodel.parts.processes import ALONE, Processes, average, average_gradients
from worldmodel.parts.schedule import cosine
from worldmodel.recipe import Recipe, Step
from worldmodel.training.batches import BatchSource
from worldmodel.training.saved_training import SavedTraining, claimed


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimisation; the model's own configuration is the recipe's."""

    steps: int = 3000
    """Number of optimiser steps; with 0 the model is only measured and its heads are trained."""
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    weight_decay_end: float | None = None
    """Weight decay at the last step, reached along a cosine; None keeps it constant."""
    warm_up: float = 0.02
    """Share of the steps over which the learning rate rises; then it falls as a cosine to zero."""
    gradient_clip: float = 1.0
    precision: Precision = "bfloat16"
    seed: int = 0
    held_out: float = 0.05
    metrics_every_steps: int = 10
    evaluate_every_steps: int = 200
    save_every_s: float = 30.0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch < 2:
            raise ValueError(f"steps={self.steps} must be at least 0 and batch={self.batch} at least 2")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"learning_rate={self.learning_rate} must be above 0 and at most 1")


Row = dict[str, int | float]
"""Metrics of one step, and its number: a line of metrics.jsonl."""


class Run:
    """A training run in a folder: state.safetensors (model, optimiser), metrics.jsonl, run.json (settings and data)."""

    def __init__(
        self,
        folder: Path,
        recipe: nn.Module,
        config: TrainingConfig,
        identity: dict[str, Any],
        processes: Processes = ALONE,
    ) -> None:
        """Continues the folder's run when there is one; several processes must all see that folder, and have the same
        weights. Raises DatasetError when the run there is of another kind."""
        self.folder = folder
        self.recipe = recipe
        self.config = config
        self.processes = processes
        self.groups = cast(Recipe, recipe).groups()
        self.optimiser = torch.optim.AdamW(
            [{"params": list(group.parameters)} for group in self.groups], lr=config.learning_rate
        )
        self._saved = SavedTraining(folder, recipe, self.optimiser, every_s=config.save_every_s)
        if processes.is_first:
            self._saved.claim({"training": dataclasses.asdict(config), **identity})
        self.step = self._saved.restore()
        if processes.is_first:
            self._trim_metrics()

    def train(
        self,
        sampler: ClipSampler,
        evaluate: Callable[[], dict[str, float]],
        on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
        readers: int = 0,
    ) -> None:
        """Train to the configured number of steps. `on_step(steps done, newest metrics)` after each.

        The first process alone evaluates and writes. `readers` is of `BatchSource`.
        """
        config, is_first = self.config, self.processes.is_first
        source = BatchSource(
            sampler=sampler, size=config.batch, seed=config.seed, processes=self.processes, readers=readers
        )
        if is_first and config.steps == 0 and not self.metrics():
            self._log(evaluate())
        for clips in source.read(self.step, config.steps):
            losses = self._advance(clips)
            self.step += 1
            metrics: dict[str, float] = {}
            if self.step % config.metrics_every_steps == 0 or self.step == config.steps:
                metrics = {name: float(average(value.detach())) for name, value in losses.items()}
                if not all(math.isfinite(value) for value in metrics.values()):
                    raise TrainingError(f"loss is not finite at step {self.step}: {metrics}; lower the learning rate")
            if is_first and (self.step % config.evaluate_every_steps == 0 or self.step == config.steps):
                metrics |= evaluate()
            if is_first and metrics:
                self._log(metrics)
            on_step(self.step, metrics)
            if is_first:
                self._saved.save(self.step, last=self.step == config.steps)

    def metrics(self) -> list[Row]:
        """Every row logged so far."""
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def _advance(self, clips: Clips) -> dict[str, Tensor]:
        self._set_rates()
        seed, recipe = self.config.seed * 1_000_003 + self.step, cast(Recipe, self.recipe)
        # Dropout draws from the global generator; no two processes drop the same of their own samples.
        torch.manual_seed(seed + (self.processes.rank << 40))
        step = Step(self.step, self.config.steps, Generator().manual_seed(seed))
        with autocast(self.config.precision, clips.device):
            losses = recipe.losses(clips, step)
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        learned = [parameter for group in self.groups for parameter in group.parameters]
        average_gradients(learned)
        nn.utils.clip_grad_norm_(learned, self.config.gradient_clip)
        self.optimiser.step()
        recipe.after_step(Step(self.step + 1, self.config.steps, step.generator))
        return losses

    def _set_rates(self) -> None:
        learning_rate = self.config.learning_rate * learning_rate_share(self.step, self.config)
        weight_decay = weight_decay_at(self.step, self.config)
        for group, rates in zip(self.groups, self.optimiser.param_groups, strict=True):
            rates["lr"] = group.learning_rate * learning_rate
            rates["weight_decay"] = group.weight_decay * weight_decay

    def _log(self, metrics: dict[str, float]) -> None:
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": self.step, **metrics}) + "\n")

    def _trim_metrics(self) -> None:
        """Drop rows that were logged after the saved state: they will be logged again."""
        path = self.folder / "metrics.jsonl"
        if path.is_file():
            rows = [row for row in _parsable(path.read_text().splitlines()) if row["step"] <= self.step]
            write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def claimed_precision(folder: Path) -> Precision | None:
    """The precision of the run in `folder`, when there is one."""
    identity = claimed(folder)
    return None if identity is None else identity["training"]["precision"]


def learning_rate_share(step: int, config: TrainingConfig) -> float:
    """Linear warm-up from 1/k, then half a cosine down to zero."""
    rising = max(1, round(config.warm_up * config.steps))
    if step < rising:
        return (step + 1) / rising
    return cosine(step - rising, max(1, config.steps - rising))


def weight_decay_at(step: int, config: TrainingConfig) -> float:
    """Constant, or on a cosine to its end."""
    if config.weight_decay_end is None:
        return config.weight_decay
    share = cosine(step, max(1, config.steps))
    return config.weight_decay_end + share * (config.weight_decay - config.weight_decay_end)


def _parsable(lines: list[str]) -> Iterator[Row]:
    """A kill can cut the last line."""
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return
