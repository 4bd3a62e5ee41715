"""A short training with all stages, here or as python -m … STORE RUN CHECKPOINT [DEVICE]."""

import dataclasses
import sys
from pathlib import Path

import torch

from worldmodel.data.episodes import EpisodeStore
from worldmodel.heads.inverse_dynamics import InverseDynamicsTraining
from worldmodel.heads.steps_to_go import StepsToGoTraining
from worldmodel.heads.task_distance import TaskDistanceTraining, Tolerance
from worldmodel.manifest import Manifest
from worldmodel.parts.processes import DeviceChoice
from worldmodel.training.config import FitConfig
from worldmodel.training.fit import fit
from worldmodel.training.head_stage import HeadsConfig
from worldmodel.training.latent_stage import Progress
from worldmodel.training.loop import TrainingConfig
from worldmodel.training.origin import Origin

STEPS = 100
CONFIG = FitConfig(
    origin=Origin.of_preset(preset="tiny"),
    precision="float32",
    training=TrainingConfig(
        steps=STEPS,
        batch=16,
        held_out=0.25,
        metrics_every_steps=1,
        evaluate_every_steps=50,
        save_every_s=0.0,
    ),
    heads=HeadsConfig(
        trainings={
            "steps_to_go": StepsToGoTraining(steps=10, batch=64),
            "inverse_dynamics": InverseDynamicsTraining(steps=10, batch=64),
            "task_distance": TaskDistanceTraining(steps=10, batch=64),
        },
        goal=(Tolerance(features=("x", "y"), within=0.1),),
    ),
)


def train_dot(
    store: Path, run: Path, out: Path, progress: Progress = lambda *_: None, device: DeviceChoice = "cpu"
) -> Manifest | None:
    """Train the tiny preset; the state is saved after every step."""
    config = dataclasses.replace(CONFIG, device=device)
    return fit(EpisodeStore(store), config, run, out, {"command": "train_dot"}, progress)


if __name__ == "__main__":
    torch.set_num_threads(1)
    store, run, out = map(Path, sys.argv[1:4])
    train_dot(store, run, out, device="cuda" if sys.argv[4:] == ["cuda"] else "cpu")
