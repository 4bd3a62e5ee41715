"""A second stage of training: the predictor alone, on latents of the frozen encoder, imagining as a planner does.

A plan fails where the predictor is wrong, and the effect of a push in contact is hard to learn. With the encoder frozen
every frame is encoded once, and latents cannot collapse, so none of the other losses is needed. The predictor learns
what a search asks it: predictions from one to `context_frames` real frames, then from imagined ones. The error is
absolute, as that of V-JEPA 2-AC (arXiv:2506.09985), which also has a frozen encoder and one loss on real and one on
imagined frames: on PushT it left less squared error after as many steps than the squared error did.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.optim import Optimizer

from worldmodel.data.latents import LatentEpisodes
from worldmodel.heads.fitting import OnStep, minimise
from worldmodel.parts.precision import Precision, autocast
from worldmodel.parts.predictor import Predictor
from worldmodel.training.saved_training import SavedTraining


@dataclass(frozen=True, kw_only=True)
class PredictorTraining:
    """Settings of the predictor's own training."""

    steps: int = 0
    """Number of optimiser steps; 0 skips the stage."""
    batch: int = 256
    learning_rate: float = 1e-3
    save_every_s: float = 30.0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch < 1:
            raise ValueError(f"steps={self.steps} must be at least 0 and batch={self.batch} at least 1")


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """The folder of a stage's saved state, and the settings that it shares with the stage before."""

    folder: Path
    precision: Precision
    seed: int
    on_step: OnStep = lambda step, loss: None


def train_predictor(predictor: Predictor, data: LatentEpisodes, training: PredictorTraining, run: StageRun) -> None:
    """Train `predictor` in place, with its BatchNorm frozen.

    Episodes shorter than a clip of context and horizon are left out; at least one must be long enough. After an
    interruption, a call with the same folder, predictor and data continues. Raises DatasetError when the folder holds a
    training with other settings.
    """
    if training.steps == 0:
        return
    timing, generator = data.timing, Generator().manual_seed(run.seed)
    starts = data.starts(timing.context_frames + timing.horizon)

    def loss() -> Tensor:
        chosen = starts[torch.randint(len(starts), (training.batch,), generator=generator)]
        seen = int(torch.randint(1, timing.context_frames + 1, (1,), generator=generator))
        frames = seen + timing.horizon
        latents = data.clips(chosen, frames).flatten(2)  # [b t n*d]
        with autocast(run.precision, data.device):
            predicted = predictor.imagine(latents[:, :seen], data.actions_between(chosen, frames))
        errors = F.l1_loss(predicted.float(), latents[:, 1:], reduction="none").mean((0, 2))  # [t-1]
        return errors[:seen].mean() + errors[seen:].mean()

    def saved_by(optimiser: Optimizer) -> SavedTraining:
        saved = SavedTraining(run.folder, predictor, optimiser, generator, training.save_every_s)
        saved.claim({**dataclasses.asdict(training), "precision": run.precision, "seed": run.seed})
        return saved

    predictor.eval().requires_grad_(True)
    minimise(
        predictor,
        loss,
        steps=training.steps,
        learning_rate=training.learning_rate,
        on_step=run.on_step,
        saved_by=saved_by,
    )
