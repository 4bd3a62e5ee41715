"""Estimate of a training's duration, from a few steps of each stage that are timed before it begins."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from worldmodel.data.episodes import Episode, EpisodeStore
from worldmodel.heads import HEADS
from worldmodel.parts.precision import Precision, PrecisionChoice
from worldmodel.parts.processes import Processes, chosen_device
from worldmodel.training.config import FitConfig
from worldmodel.training.fit import checked_split, train_module
from worldmodel.training.latent_stage import IMAGINED_CLIPS, encode_episodes, imagine_stage
from worldmodel.training.loop import claimed_precision
from worldmodel.training.novelty_stage import MOST_FITTED, calibrate_novelty
from worldmodel.training.novelty_stage import STAGE as NOVELTY_STAGE
from worldmodel.training.report import Split, measured_frames, settles
from worldmodel.training.robot import body_of
from worldmodel.training.saved_training import steps_done
from worldmodel.training.trained import Trained

TIMED_STEPS = 3
"""Steps that are timed of each stage; the fastest counts, since the first also warms up."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The expected duration of a training, and the arithmetic that it was measured in."""

    precision: Precision
    seconds: Mapping[str, float]
    """Expected seconds of each stage, in the order of the stages."""


class _Stopwatch:
    """A `Progress` that keeps the shortest time per unit of each stage."""

    def __init__(self) -> None:
        self.each: dict[str, float] = {}
        self._done: dict[str, int] = {}
        self._before = time.perf_counter()

    def __call__(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        now = time.perf_counter()
        took = (now - self._before) / (done - self._done.get(stage, 0))
        self.each[stage] = min(took, self.each.get(stage, took))
        self._done[stage], self._before = done, now


def estimate(store: EpisodeStore, config: FitConfig, run_folder: Path) -> Estimate:
    """Time each stage of the training on the longest episode, in a temporary folder, and scale to the whole store.

    Steps that an interrupted run in `run_folder` has done are not counted. Raises the errors of `fit`.
    """
    split = checked_split(store, config)
    longest = max(split.train, key=lambda episode: episode.frames)
    sample = dataclasses.replace(split, train=[longest, longest])
    short = _shortened(config, claimed_precision(run_folder) or config.precision)
    seconds = _Stopwatch()
    with TemporaryDirectory() as folder:
        processes = Processes(device=chosen_device(config.device))
        body = body_of(config.origin, sample)
        module = config.origin.module(body, config.training.seed).to(processes.device)
        run = train_module(short, sample, (module, body), (Path(folder), processes), seconds)
        model = Trained(short, sample, body, module, run)
        model.train_heads(seconds)
        if not config.entry.plans:  # an encoder alone has no heads, but probes encode frames too
            encode_episodes(model.frozen, store, sample.train, split.timing, seconds)
    calibrate_novelty(store, body.sensors, ([longest], [longest]), seconds)
    counts = _counts(config, split, longest, steps_done(run_folder))
    by_stage = {stage: seconds.each[stage] * count for stage, count in counts.items() if stage in seconds.each}
    frame = seconds.each["encode episodes"] / longest.frames
    by_stage |= {stage: frame * frames for stage, frames in measured_frames(split).items()}
    for stage in _left_out(config, module):
        del by_stage[stage]
    by_stage[NOVELTY_STAGE] = seconds.each[NOVELTY_STAGE] * (min(len(split.train), MOST_FITTED) + len(split.held_out))
    return Estimate(precision=run.config.precision, seconds=by_stage)


def _shortened(config: FitConfig, precision: PrecisionChoice) -> FitConfig:
    """The same training with few steps of each stage, read in this process."""
    few = partial(dataclasses.replace, steps=TIMED_STEPS)
    return dataclasses.replace(
        config,
        precision=precision,
        readers=0,
        training=few(config.training) if config.training.steps else config.training,
        predictor=few(config.predictor) if config.predictor.steps else config.predictor,
        heads=dataclasses.replace(config.heads, trainings={name: few(config.heads.training(name)) for name in HEADS}),
    )


def _left_out(config: FitConfig, module: nn.Module) -> list[str]:
    """The timed stages that this recipe's training does not have."""
    has = {
        "encode episodes": config.entry.plans,
        "calibrate": config.entry.world_model is not None,
        "prepare a random encoder": settles(module),
    }
    return [stage for stage, runs in has.items() if not runs]


def _counts(config: FitConfig, split: Split, longest: Episode, done: int) -> dict[str, int | float]:
    """Number of timed units in each stage: steps, episodes as long as the longest, or clips."""
    timing, frames = split.timing, [episode.frames for episode in split.train]
    episodes = sum(frames) / longest.frames
    clips = {
        imagine_stage(context): min(
            IMAGINED_CLIPS // 2,
            sum(max(0, each - timing.frames_spanned(context + timing.horizon) + 1) for each in frames),
        )
        for context in (1, timing.context_frames)
    }
    return {
        "world model": config.training.steps - done,
        "encode episodes": episodes,
        "predictor": config.predictor.steps,
        **clips,
        "encode twins": episodes,
        **{entry.stage: config.heads.training(name).steps for name, entry in HEADS.items()},
    }
