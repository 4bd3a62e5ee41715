"""The stages after the first: a trained module's heads, and the measurements in its manifest."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from worldmodel.clips import Clips
from worldmodel.data.latents import LatentEpisodes, StandIns, weights_hash
from worldmodel.errors import TrainingError
from worldmodel.heads.task_distance import TaskDistance
from worldmodel.inference.world_model import fast_encoder, fast_world_model
from worldmodel.manifest import CalibrationSpec, LatentSpec, Manifest, PlanningSpec, WeightsSpec
from worldmodel.parts.world_model import CausalWorldModel
from worldmodel.recipe import Body, Encoder, Entry, WorldModel
from worldmodel.recipes import config_to_json
from worldmodel.training.config import FitConfig
from worldmodel.training.diagnostics import (
    collapse_alarms,
    held_out_metrics,
    spread_alarms,
    spread_metrics,
    spread_shares,
)
from worldmodel.training.head_stage import head_specs, recorded_truth, stage_callback, train_heads
from worldmodel.training.latent_stage import (
    FrozenEncoder,
    Progress,
    encode_episodes,
    imagined_stand_ins,
    twin_stand_ins,
)
from worldmodel.training.loop import Row, Run
from worldmodel.training.predictor_stage import StageRun, train_predictor
from worldmodel.training.report import Split, calibrate, curves, probe, settle, task_error
from worldmodel.training.robot import action_spec


@dataclass(frozen=True)
class TrainedHeads:
    """Trained heads, and the scale of the latent goal distance."""

    modules: Mapping[str, nn.Module]
    goal_distance_scale: float | None
    """Mean squared distance between latents of unrelated frames; None where nothing plans."""


@dataclass(frozen=True)
class Trained:
    """A module after the first stage, with the stages that follow."""

    config: FitConfig
    split: Split
    body: Body
    module: nn.Module
    run: Run

    @property
    def device(self) -> torch.device:
        """Device of the module."""
        return next(self.module.parameters()).device

    @property
    def frozen(self) -> FrozenEncoder:
        """The encoder in its serving form; its latents are stored in the run's folder."""
        return _frozen(self.config.entry, self.module, self.run.folder / "latents")

    @property
    def latent(self) -> LatentSpec:
        """Shape of a frame's latents."""
        tokens, width = self._encoder.latent_shape
        return LatentSpec(tokens=tokens, width=width)

    @property
    def learned_size(self) -> int:
        """Numbers in a frame's learned tokens."""
        return len(self._encoder.learned) * self.latent.width

    @property
    def _encoder(self) -> Encoder:
        """The plain encoder, which gives its shape at less cost than `frozen`."""
        assert self.config.entry.encoder is not None
        return self.config.entry.encoder(self.module)

    @property
    def _imagines(self) -> bool:
        return self.config.entry.world_model is not None

    @property
    def world_model(self) -> WorldModel | None:
        """The world model in its serving form, with the current weights."""
        make = self.config.entry.world_model
        return None if make is None else fast_world_model(make(self.module), "float32")

    def train_heads(self, progress: Progress) -> TrainedHeads:
        """The stages after the first: the predictor alone, then the heads.

        Heads are for planning with a world model: a recipe without one has none, and an encoder alone no scale either.
        """
        self.module.eval().requires_grad_(False)
        if not self.config.entry.plans:
            return TrainedHeads({}, None)
        split, seed = self.split, self.config.training.seed
        data = encode_episodes(self.frozen, split.store, split.train, split.timing, progress)
        scale = 2 * data.latents.variance()
        if not self._imagines:
            return TrainedHeads({}, scale)
        self._train_predictor(data, progress)
        truth = recorded_truth(split.store, split.train, self.config.heads.goal, self.device)
        whole = dataclasses.replace(data, stand_ins=self._stand_ins(data, progress), task=truth)
        return TrainedHeads(
            train_heads(whole, self.latent, self.body.action_width, self.config.heads, seed, progress), scale
        )

    def _train_predictor(self, data: LatentEpisodes, progress: Progress) -> None:
        training, make = self.config.predictor, self.config.entry.world_model
        plain = None if make is None else make(self.module)
        if training.steps == 0:
            return
        if not isinstance(plain, CausalWorldModel):
            raise TrainingError(f"the predictor of recipe {self.config.origin.recipe} does not learn alone")
        run = StageRun(
            folder=self.run.folder / "predictor",
            precision=self.run.config.precision,
            seed=self.config.training.seed,
            on_step=stage_callback(progress, "predictor", training.steps),
        )
        train_predictor(plain.predictor, data, training, run)

    def _stand_ins(self, data: LatentEpisodes, progress: Progress) -> tuple[StandIns, ...]:
        model, frozen, split = self.world_model, self.frozen, self.split
        assert model is not None
        found = imagined_stand_ins(data, frozen, model, self.config.training.seed, progress)
        if split.store.has_twins:
            found.append(twin_stand_ins(data, frozen, split.store, split.train, progress))
        return tuple(found)

    def manifest(self, name: str, heads: TrainedHeads, provenance: dict[str, Any], progress: Progress) -> Manifest:
        """Calibrate, probe, and describe the checkpoint; only the weights' hash is still empty."""
        config, store = self.config, self.split.store
        return Manifest(
            name=name,
            version="1",
            recipe=config.origin.recipe,
            config=config_to_json(config.origin.config),
            sensors=self.body.sensors,
            latent=self.latent,
            action=action_spec(store, config.timing) if config.entry.plans else None,
            planning=self._planning(heads),
            calibration=self._calibration(progress),
            heads=head_specs(heads.modules),
            parents=config.origin.parents,
            weights=WeightsSpec(sha256="", bytes=0),
            task=store.description.get("env_id", ""),
            training={**provenance, **config.origin.described, **self._record(heads, progress)},
        )

    def _planning(self, heads: TrainedHeads) -> PlanningSpec | None:
        timing, scale = self.config.timing, heads.goal_distance_scale
        if scale is None:
            return None
        frames, horizon = (timing.context_frames, timing.horizon) if self._imagines else (1, 1)
        return PlanningSpec(context_frames=frames, horizon=horizon, goal_distance_scale=scale)

    def _calibration(self, progress: Progress) -> CalibrationSpec | None:
        model = self.world_model
        return None if model is None else calibrate(self.frozen, model, self.split, progress)

    def _record(self, heads: TrainedHeads, progress: Progress) -> dict[str, Any]:
        """Record for readers of the manifest: settings, held-out errors, probes and curves."""
        config, split, rows = self.config, self.split, self.run.metrics()
        measured: Row = dict(rows[-1])  # a copy, since the row is also a point of the curves
        if config.predictor.steps:
            measured |= measure(config.entry, self.module, held_out_batches(config, split, self.device))
            self.module.eval()
        task = heads.modules.get("task_distance")
        return {
            "config": dataclasses.asdict(self.run.config),
            "episodes": {"train": len(split.train), "held_out": len(split.held_out)},
            "predictor": dataclasses.asdict(config.predictor),
            "heads": {name: dataclasses.asdict(config.heads.training(name)) for name in heads.modules},
            "held_out": measured,
            "learned_size": self.learned_size,
            "alarms": self._alarms(measured),
            "probe_r2": probe(self.frozen, self._random_encoder(progress), split, progress),
            "task_error": task_error(task, self.frozen, split) if isinstance(task, TaskDistance) else {},
            "curves": curves(rows),
        }

    def _alarms(self, measured: Row) -> list[str]:
        if self.config.entry.plans:
            return collapse_alarms(measured, self.learned_size)
        return spread_alarms(measured)

    def _random_encoder(self, progress: Progress) -> FrozenEncoder:
        """The control of the probes."""
        entry = self.config.entry
        module = self.config.origin.untrained(self.body, self.config.training.seed).to(self.device)
        assert entry.encoder is not None
        settle(module, entry.encoder(module), self.split, self.device, progress)
        return _frozen(entry, module, self.run.folder / "latents")


def measure(entry: Entry, module: nn.Module, batches: list[Clips]) -> dict[str, float]:
    """The held-out metrics of a recipe's module; those of predictions only where it has a world model."""
    assert entry.encoder is not None
    model = None if entry.world_model is None else entry.world_model(module)
    return held_out_metrics(module, entry.encoder(module), model, batches)


def held_out_batches(config: FitConfig, split: Split, device: torch.device) -> list[Clips]:
    """Held-out clips as long as those that the recipe trains on, the same in every call."""
    clips = split.held_out_clips(config.origin.config.clip_frames, actions=config.entry.plans)
    return [batch.to(device) for batch in clips]


def held_out_measure(
    config: FitConfig, split: Split, body: Body, device: torch.device
) -> Callable[[nn.Module], dict[str, float]]:
    """Measures a module on held-out clips, the same in every call; an encoder alone against its random weights."""
    entry, batches = config.entry, held_out_batches(config, split, device)
    if entry.plans:
        return lambda module: measure(entry, module, batches)

    def spread(module: nn.Module) -> dict[str, float]:
        assert entry.encoder is not None
        return spread_metrics(module, entry.encoder(module), batches)

    untrained = spread(config.origin.untrained(body, config.training.seed).to(device))

    def with_shares(module: nn.Module) -> dict[str, float]:
        found = spread(module)
        return {**found, **spread_shares(found, untrained)}

    return with_shares


def _frozen(entry: Entry, module: nn.Module, folder: Path) -> FrozenEncoder:
    assert entry.encoder is not None
    device = next(module.parameters()).device
    return FrozenEncoder(
        encoder=fast_encoder(entry.encoder(module)),
        device=device,
        weights=weights_hash(module.state_dict()),
        folder=folder,
    )
