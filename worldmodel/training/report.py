"""Measurements of a trained model for its manifest: calibration, probes, errors and curves."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from worldmodel.clips import Clips, StepTiming
from worldmodel.data.episodes import ClipSampler, Episode, EpisodeStore
from worldmodel.data.task_truth import apart
from worldmodel.heads.probes import probe_r2
from worldmodel.heads.surprise import calibrated, surprise
from worldmodel.heads.task_distance import TaskDistance, task_truth
from worldmodel.manifest import CalibrationSpec
from worldmodel.observation import ObservationBatch
from worldmodel.parts.tokens import pool, pooling_of
from worldmodel.recipe import Encoder, WorldModel
from worldmodel.training.diagnostics import HELD_OUT, OF_SPREAD
from worldmodel.training.latent_stage import FrozenEncoder, Progress
from worldmodel.training.loop import Row

BATCH = 128
"""Clips in a batch of held-out clips."""
REPEATS = 4
"""Number of times that a held-out clip is drawn, on average and at most."""
CALIBRATION_BATCHES = 32
PROBE_EPISODES = 300
SETTLING_EPISODES = 20
SETTLING_PASSES = 20
HELD_OUT_CURVES = ("predict_mse", "copy_mse", "shuffled_mse", "effective_rank", "latent_std", *OF_SPREAD)
"""The held-out metrics that a manifest keeps a curve of."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """A store's episodes, split into training and held-out ones."""

    store: EpisodeStore
    train: list[Episode]
    held_out: list[Episode]
    timing: StepTiming

    def held_out_clips(
        self, clip_frames: int, batches: int = 4, size: int = BATCH, *, actions: bool = True
    ) -> list[Clips]:
        """Clips of held-out episodes, the same in every call; fewer batches where they would only repeat few clips."""
        sampler = ClipSampler(self.store, self.held_out, clip_frames=clip_frames, timing=self.timing, actions=actions)
        enough = math.ceil(REPEATS * len(sampler) / size)
        return [sampler.sample(size, seed=0, step=index) for index in range(min(batches, enough))]


@torch.inference_mode()
def calibrate(frozen: FrozenEncoder, model: WorldModel, split: Split, progress: Progress) -> CalibrationSpec:
    """Surprise of held-out transitions with as many context frames as the service uses."""
    values = []
    drawn = split.held_out_clips(split.timing.context_frames, CALIBRATION_BATCHES)
    for done, clips in enumerate(drawn, start=1):
        batch = clips.to(frozen.device)
        assert batch.actions is not None
        latents = frozen.encoder.encode(batch.frames).tokens.unflatten(0, batch.shape)
        values.append(surprise(model, latents, batch.actions))
        progress("calibrate", done, len(drawn), {})
    return calibrated(values)


def probe(
    trained: FrozenEncoder, control: FrozenEncoder, split: Split, progress: Progress
) -> dict[str, dict[str, float]]:
    """Linear R^2 of each recorded feature on held-out episodes, for the trained encoder and for a random one.

    A probe reads a frame as a head does: its tokens side by side, or the mean of many.
    """
    results: dict[str, dict[str, float]] = {}
    names = split.store.description["features"]["names"]
    pooling = pooling_of(*trained.encoder.latent_shape)
    for done, (name, frozen) in enumerate((("trained", trained), ("random_encoder", control)), start=1):
        x, y = probe_rows(frozen, split, split.train, lambda latents: pool(latents, pooling))
        x_test, y_test = probe_rows(frozen, split, split.held_out, lambda latents: pool(latents, pooling))
        scores = probe_r2(x, y, x_test, y_test)
        results[name] = dict(zip(names, scores.tolist(), strict=True))
        progress("probe", done, 2, {})
    return results


def task_error(head: TaskDistance, frozen: FrozenEncoder, split: Split) -> dict[str, float]:
    """Median error of the head's readings of held-out frames against the recorded features, in tolerances."""
    quantities, recorded = probe_rows(frozen, split, split.held_out, head.quantities)
    truth = task_truth(head.config, split.store.description["features"]["names"], recorded)
    names = [",".join(tolerance.features) for tolerance in head.config.tolerances]
    errors = apart(quantities, truth.quantities, truth.sizes).median(0).values
    return dict(zip(names, errors.tolist(), strict=True))


@torch.no_grad()
def probe_rows(
    frozen: FrozenEncoder, split: Split, episodes: Sequence[Episode], read: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Rows for frames one model step apart in some episodes: `read` of their latents [rows n d], and features."""
    skip, some = split.timing.control_steps, episodes[:PROBE_EPISODES]
    seen = [read(frozen.frames(split.store.observations(e, 0, _spaced(e, skip), skip)).clone()) for e in some]
    truth = [split.store.features(episode, 0, _spaced(episode, skip), skip) for episode in some]
    return torch.cat(seen), torch.from_numpy(np.concatenate(truth)).to(frozen.device)


def settles(module: nn.Module) -> bool:
    """Whether a module has BatchNorm statistics, which `settle` estimates."""
    return any(isinstance(part, nn.BatchNorm1d) for part in module.modules())


@torch.no_grad()
def settle(module: nn.Module, encoder: Encoder, split: Split, device: torch.device, progress: Progress) -> None:
    """Give a random encoder the BatchNorm statistics of real frames, where it has any: a fair control."""
    if not settles(module):
        return
    skip, store = split.timing.control_steps, split.store
    frames = [store.observations(e, 0, _spaced(e, skip), skip) for e in split.train[:SETTLING_EPISODES]]
    together = {name: torch.from_numpy(np.concatenate([each[name] for each in frames])) for name in frames[0]}
    module.train()
    for done in range(1, SETTLING_PASSES + 1):
        encoder.encode(ObservationBatch(together).to(device))
        progress("prepare a random encoder", done, SETTLING_PASSES, {})
    module.eval()


def curves(rows: list[Row], points: int = 100) -> dict[str, list[int | float]]:
    """The losses thinned to about `points`, and every evaluation."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("step", *HELD_OUT)))
    losses = [row for row in rows if names and names[0] in row]
    evaluations = [row for row in rows if "latent_std" in row]
    thin = losses[:: max(1, len(losses) // points)]
    return {
        "step": [row["step"] for row in thin],
        **{name: [round(row[name], 5) for row in thin] for name in names},
        "evaluation_step": [row["step"] for row in evaluations],
        **{name: [round(row[name], 5) for row in evaluations if name in row] for name in HELD_OUT_CURVES},
    }


def measured_frames(split: Split) -> dict[str, int]:
    """Number of frames that `calibrate`, `settle` and `probe` encode, by stage."""
    skip = split.timing.control_steps
    settled = sum(_spaced(episode, skip) for episode in split.train[:SETTLING_EPISODES])
    held_out = sum(episode.frames for episode in split.held_out)
    probed = sum(_spaced(e, skip) for e in (*split.train[:PROBE_EPISODES], *split.held_out[:PROBE_EPISODES]))
    return {
        "calibrate": min(CALIBRATION_BATCHES * BATCH, REPEATS * held_out) * split.timing.context_frames,
        "prepare a random encoder": SETTLING_PASSES * settled,
        "probe": 2 * probed,
    }


def _spaced(episode: Episode, skip: int) -> int:
    """Number of frames, one model step apart, of an episode."""
    return (episode.frames - 1) // skip + 1
