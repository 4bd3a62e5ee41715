"""The heads of a checkpoint: what a planner asks beside the world model, learnt on its frozen latents."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from worldmodel.data.episodes import Episode, EpisodeStore
from worldmodel.data.latent_episodes import LatentEpisodes, StandIns
from worldmodel.data.task_truth import TaskTruth
from worldmodel.heads.inverse_dynamics import (
    InverseDynamics,
    InverseDynamicsConfig,
    InverseDynamicsTraining,
    fit_inverse_dynamics,
)
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig, StepsToGoTraining, fit_steps_to_go
from worldmodel.heads.task_distance import (
    TaskDistance,
    TaskDistanceConfig,
    TaskDistanceTraining,
    Tolerance,
    fit_task_distance,
    task_truth,
)
from worldmodel.inference.world_model import LatentWorldModel
from worldmodel.training.imagined import imagine_along

IMAGINED_CLIPS = 40_000

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called as (stage, steps done, steps in all, newest metrics)."""


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """How the heads are trained."""

    steps_to_go: StepsToGoTraining = dataclasses.field(default_factory=StepsToGoTraining)
    inverse_dynamics: InverseDynamicsTraining = dataclasses.field(default_factory=InverseDynamicsTraining)
    task_distance: TaskDistanceTraining = dataclasses.field(default_factory=TaskDistanceTraining)
    goal: tuple[Tolerance, ...] = ()
    """What counts of a goal; without any there is no task distance."""

    @property
    def task(self) -> TaskDistanceConfig | None:
        """Of the task distance, if there is to be one."""
        return TaskDistanceConfig(tolerances=self.goal) if self.goal else None


@dataclass(frozen=True)
class Heads:
    """All of them, trained, and the scale of the distance that needs no training."""

    goal_distance_scale: float
    """Mean squared distance between latents of unrelated frames."""
    steps_to_go: StepsToGo
    inverse_dynamics: InverseDynamics
    task_distance: TaskDistance | None


def fit_heads(
    world_model: LatentWorldModel,
    store: EpisodeStore,
    episodes: list[Episode],
    latents: LatentEpisodes,
    actions: Float[Tensor, "rows x"],
    config: HeadsConfig,
    *,
    seed: int,
    control_steps: int,
    context_frames: int,
    horizon: int,
    progress: Progress,
) -> Heads:
    """Encode the twins of `episodes`, imagine along some of them, and train every head on what came out.

    `latents` and `actions` are of the same episodes, as `encode_episodes` and `actions_after` give them; the heads
    learn, and stay, on the world model's device.
    """
    imagined = [
        imagine_along(
            world_model,
            latents,
            actions,
            clips=IMAGINED_CLIPS // 2,
            context=context,
            horizon=horizon,
            control_steps=control_steps,
            generator=Generator().manual_seed(seed),
        )
        for context in (1, context_frames)  # a first plan has one frame to go on
    ]
    twins = [_encode_twins(world_model, store, episodes, control_steps)] if store.has_twins else []
    stand_ins = [each for each in (*imagined, *twins) if each is not None]
    task = _task_truth(store, episodes, config, world_model.device)
    data = dataclasses.replace(latents, stand_ins=_joined(stand_ins), task=task)
    return Heads(
        2 * float(latents.latents.var(0).sum()),
        _fit_steps_to_go(data, config, seed, control_steps, progress),
        _fit_inverse_dynamics(latents, actions, config, seed, control_steps, progress),
        _fit_task_distance(data, config, seed, progress),
    )


@torch.inference_mode()
def encode_frames(world_model: LatentWorldModel, frames: np.ndarray) -> Float[Tensor, "rows d"]:
    """Of RGB uint8 [rows h w 3]; on the world model's device."""
    return world_model.encode(torch.from_numpy(frames).to(world_model.device)).squeeze(1)


def encode_episodes(
    world_model: LatentWorldModel, store: EpisodeStore, episodes: list[Episode], progress: Progress
) -> LatentEpisodes:
    """The latent of every frame, on the world model's device."""
    parts, last_rows, row = [], [], 0
    for done, episode in enumerate(episodes, start=1):
        parts.append(encode_frames(world_model, store.frames(episode, 0, episode.frames, 1)))
        row += episode.frames
        last_rows.append(torch.full((episode.frames,), row - 1))
        progress("encode episodes", done, len(episodes), {})
    return LatentEpisodes(torch.cat(parts).clone(), torch.cat(last_rows).to(world_model.device))


def actions_after(store: EpisodeStore, episodes: list[Episode]) -> Float[Tensor, "rows x"]:
    """What was done after each frame, row by row as `encode_episodes` has them; zero after the last of an episode."""
    parts = [np.pad(store.actions(episode, 0, episode.frames - 1), ((0, 1), (0, 0))) for episode in episodes]
    return torch.from_numpy(np.concatenate(parts))


def _encode_twins(
    world_model: LatentWorldModel, store: EpisodeStore, episodes: list[Episode], control_steps: int
) -> StandIns:
    """One for each model step of each episode."""
    parts, rows, first = [], [], 0
    for episode in episodes:
        own_rows = torch.arange(0, episode.frames, control_steps)
        parts.append(encode_frames(world_model, store.twins(episode, 0, len(own_rows), control_steps)))
        rows.append(first + own_rows)
        first += episode.frames
    return StandIns(torch.cat(parts).clone(), torch.cat(rows).to(world_model.device))


def _joined(parts: list[StandIns]) -> StandIns | None:
    if not parts:
        return None
    return StandIns(torch.cat([part.latents for part in parts]), torch.cat([part.rows for part in parts]))


def _task_truth(
    store: EpisodeStore, episodes: list[Episode], config: HeadsConfig, device: torch.device
) -> TaskTruth | None:
    if config.task is None:
        return None
    recorded = np.concatenate([store.features(episode, 0, episode.frames, 1) for episode in episodes])
    return task_truth(config.task, store.description["features"]["names"], torch.from_numpy(recorded).to(device))


def _fit_steps_to_go(
    latents: LatentEpisodes, config: HeadsConfig, seed: int, control_steps: int, progress: Progress
) -> StepsToGo:
    torch.manual_seed(seed)
    return fit_steps_to_go(
        latents,
        StepsToGoConfig(),
        config.steps_to_go,
        control_steps,
        Generator().manual_seed(seed),
        told(progress, "steps to go", config.steps_to_go.steps),
    )


def _fit_inverse_dynamics(
    latents: LatentEpisodes,
    actions: Float[Tensor, "rows x"],
    config: HeadsConfig,
    seed: int,
    control_steps: int,
    progress: Progress,
) -> InverseDynamics:
    torch.manual_seed(seed)
    return fit_inverse_dynamics(
        latents,
        actions,
        InverseDynamicsConfig(),
        config.inverse_dynamics,
        control_steps,
        Generator().manual_seed(seed),
        told(progress, "inverse dynamics", config.inverse_dynamics.steps),
    )


def _fit_task_distance(
    latents: LatentEpisodes, config: HeadsConfig, seed: int, progress: Progress
) -> TaskDistance | None:
    if config.task is None:
        return None
    torch.manual_seed(seed)
    return fit_task_distance(
        latents,
        config.task,
        config.task_distance,
        Generator().manual_seed(seed),
        told(progress, "task distance", config.task_distance.steps),
    )


def told(progress: Progress, stage: str, steps: int) -> Callable[[int, float], None]:
    """What a training of so many steps tells after each of them, as a stage of `progress`."""
    return lambda step, loss: progress(stage, step + 1, steps, {"loss": loss})
