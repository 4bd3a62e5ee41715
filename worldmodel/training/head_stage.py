"""The last stage of training: every head that can be learned, on the frozen model's latents."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from worldmodel.data.episodes import Episode, EpisodeStore
from worldmodel.data.latents import LatentEpisodes
from worldmodel.data.task_truth import TaskTruth
from worldmodel.heads import HEADS, Goal, head_configs
from worldmodel.heads.task_distance import TaskDistanceConfig, task_truth
from worldmodel.manifest import HeadSpec, LatentSpec
from worldmodel.training.latent_stage import Progress


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """Settings of the heads' trainings, and the goal of the task."""

    trainings: Mapping[str, Any] = field(default_factory=dict)
    """Training settings by head; heads that are not named use their defaults."""
    goal: Goal = ()
    """Tolerances of the features that a goal is judged by; without any there is no task distance."""

    def training(self, name: str) -> Any:
        """Training settings of this head."""
        return self.trainings.get(name) or HEADS[name].training()


def train_heads(
    data: LatentEpisodes, latent: LatentSpec, action_width: int, config: HeadsConfig, seed: int, progress: Progress
) -> dict[str, nn.Module]:
    """Train every head on the device of the latents, where they stay. Returns them by name."""
    heads: dict[str, nn.Module] = {}
    for name, head_config in head_configs(config.goal, latent).items():
        entry, training = HEADS[name], config.training(name)
        torch.manual_seed(seed)
        head = entry.module(head_config, latent, action_width).to(data.device)
        entry.fit(head, data, training, seed, stage_callback(progress, entry.stage, training.steps))
        heads[name] = head
    return heads


def head_specs(heads: Mapping[str, nn.Module]) -> dict[str, HeadSpec]:
    """The manifest's description of them."""
    return {name: HeadSpec(type=name, config=dataclasses.asdict(head.config)) for name, head in heads.items()}  # type: ignore[call-overload]


def recorded_truth(store: EpisodeStore, episodes: list[Episode], goal: Goal, device: torch.device) -> TaskTruth | None:
    """The task's quantities in every frame; None without a goal, which names them."""
    if not goal:
        return None
    recorded = np.concatenate([store.features(episode, 0, episode.frames, 1) for episode in episodes])
    names = store.description["features"]["names"]
    return task_truth(TaskDistanceConfig(tolerances=goal), names, torch.from_numpy(recorded).to(device))


def stage_callback(progress: Progress, stage: str, steps: int) -> Callable[[int, float], None]:
    """Step callback that reports one named stage to `progress`."""
    return lambda step, loss: progress(stage, step + 1, steps, {"loss": loss})
