"""Calibrates input novelty on the episodes of a store: on their pictures and twins, and on all of them as JPEG."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from worldmodel.data.episodes import Episode, EpisodeStore
from worldmodel.heads.novelty import Calibrated, calibrated_novelty
from worldmodel.observation import SensorSpec
from worldmodel.training.latent_stage import Progress

STAGE = "calibrate novelty"
FRAMES_AN_EPISODE = 8
MOST_FITTED = 500
"""Episodes that distributions are learned from; more change nothing."""
FITTED_SHARE = 0.2
"""Share of the episodes that distributions are learned from, where none of them trained the model."""
JPEG_QUALITY = 90
"""Robots often send JPEG, whose pictures differ a little from those recorded."""

EpisodeReadings = dict[str, Tensor]
"""Some readings of one episode, by sensor: [n ...]."""


def calibrate_novelty(
    store: EpisodeStore,
    sensors: Sequence[SensorSpec],
    split: tuple[Sequence[Episode], Sequence[Episode]],
    progress: Progress,
) -> Calibrated:
    """Learn what readings are like from the first episodes of `split`, and the threshold from the second ones."""
    fitted, held_out = list(_some(split[0])), split[1]
    done = iter(range(1, len(fitted) + len(held_out) + 1))

    def readings(episodes: Sequence[Episode]) -> Iterator[EpisodeReadings]:
        for episode in episodes:
            yield _every_look(store, sensors, episode)
            progress(STAGE, next(done), len(fitted) + len(held_out), {})

    return calibrated_novelty(sensors, readings(fitted), readings(held_out))


def calibrate_on(store: EpisodeStore, sensors: Sequence[SensorSpec], progress: Progress) -> Calibrated:
    """Calibrate on a store that the model was not trained on. Raises DatasetError for fewer than two episodes."""
    held_out, fitted = store.split(min(FITTED_SHARE, MOST_FITTED / len(store.episodes)), seed=0)
    return calibrate_novelty(store, sensors, (fitted, held_out), progress)


def stored_readings(store: EpisodeStore, episode: Episode, twins: bool = False) -> EpisodeReadings:
    """Readings of up to FRAMES_AN_EPISODE evenly spaced frames of an episode, or of their twins."""
    read = store.twins if twins else store.observations
    rows = np.unique(np.linspace(0, episode.frames - 1, FRAMES_AN_EPISODE).round().astype(int))
    frames = [read(episode, int(row), 1, 1) for row in rows]
    return {name: torch.from_numpy(np.concatenate([frame[name] for frame in frames])) for name in frames[0]}


def _every_look(store: EpisodeStore, sensors: Sequence[SensorSpec], episode: Episode) -> EpisodeReadings:
    """Frames, and twins where the store has them; of cameras also as JPEG."""
    seen = [stored_readings(store, episode, twins) for twins in ([False, True] if store.has_twins else [False])]
    together = {sensor.name: torch.cat([each[sensor.name] for each in seen]) for sensor in sensors}
    cameras = [sensor.name for sensor in sensors if sensor.kind == "camera"]
    return together | {name: torch.cat([together[name], _as_jpeg(together[name])]) for name in cameras}


def _as_jpeg(pictures: UInt8[Tensor, "b h w 3"]) -> UInt8[Tensor, "b h w 3"]:
    return torch.from_numpy(np.stack([_one_as_jpeg(picture.numpy()) for picture in pictures]))


def _one_as_jpeg(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="jpeg", quality=JPEG_QUALITY)
    return np.asarray(Image.open(file))


def _some(episodes: Sequence[Episode]) -> Iterator[Episode]:
    """Evenly picked, MOST_FITTED at most."""
    picked = np.unique(np.linspace(0, len(episodes) - 1, min(len(episodes), MOST_FITTED)).round().astype(int))
    return (episodes[index] for index in picked)
