"""From an episode store to a checkpoint: train, learn the heads, calibrate surprise, probe, write it all down."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from worldmodel.checkpoint import TrainedModel, save_checkpoint
from worldmodel.clips import Clips, StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.data.latents import LatentEpisodes, StandIns, weights_hash
from worldmodel.errors import DatasetError, TrainingError
from worldmodel.heads.task_distance import TaskDistance, TaskDistanceConfig, columns
from worldmodel.inference.world_model import fast_encoder, fast_world_model
from worldmodel.manifest import ActionSpec, CalibrationSpec, LatentSpec, Manifest, PlanningSpec, WeightsSpec
from worldmodel.observation import SensorSpec
from worldmodel.parts.encoders import ConvEncoder, ViTEncoder
from worldmodel.parts.precision import DTYPES, Precision
from worldmodel.parts.predictor import Block
from worldmodel.parts.processes import DeviceChoice, Processes, from_first, joined
from worldmodel.parts.world_model import CausalWorldModel
from worldmodel.recipe import Body, Entry, WorldModel
from worldmodel.recipes import RECIPES, config_to_json
from worldmodel.training.batches import default_readers
from worldmodel.training.diagnostics import collapse_alarms, held_out_metrics
from worldmodel.training.head_stage import HeadsConfig, head_specs, recorded_truth, stage_callback, train_heads
from worldmodel.training.latent_stage import (
    FrozenEncoder,
    Progress,
    encode_episodes,
    imagined_stand_ins,
    twin_stand_ins,
)
from worldmodel.training.loop import Row, Run, TrainingConfig, claimed_precision
from worldmodel.training.origin import Origin, alike
from worldmodel.training.precision import faster_precision
from worldmodel.training.predictor_stage import PredictorTraining, StageRun, train_predictor
from worldmodel.training.report import Split, calibrate, curves, probe, settle, task_error

COMPILED = (ConvEncoder, ViTEncoder, Block)
"""Not BatchNorm, which exchanges its statistics between processes."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Everything about a training that is chosen, and not read from the store."""

    origin: Origin = dataclasses.field(default_factory=Origin.of_preset)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Overrides the training's; `auto` takes the faster of both, as measured."""
    device: DeviceChoice = "cpu"
    readers: int | None = None
    """Processes that read batches (`BatchSource`); None decides by the device."""
    timing: StepTiming = dataclasses.field(default_factory=StepTiming)
    predictor: PredictorTraining = dataclasses.field(default_factory=PredictorTraining)
    heads: HeadsConfig = dataclasses.field(default_factory=HeadsConfig)

    @property
    def entry(self) -> Entry:
        """The recipe's row of the table."""
        return RECIPES[self.origin.recipe]


def fit(
    store: EpisodeStore, config: FitConfig, run_folder: Path, out: Path, provenance: dict[str, Any], progress: Progress
) -> Manifest | None:
    """Train on `store`, resuming what `run_folder` holds, and write the checkpoint `out`.

    Under torchrun every process trains, and the first does the rest; the others get None. `provenance` goes into the
    manifest's training record. Raises DatasetError when store and model do not fit, and TrainingError when batch,
    device, processes or a checkpoint's weights do not.
    """
    train, held_out = store.split(config.training.held_out, config.training.seed)
    split = Split(store=store, train=train, held_out=held_out, timing=config.timing)
    _check(config, split)
    with joined(config.device) as processes:
        module, run = _train_module(config, split, run_folder, processes, progress)
    if not processes.is_first:
        return None
    model = _Trained(config, split, module, run)
    heads = model.train_heads(progress)
    manifest = model.manifest(out.name, heads, {**provenance, "devices": _devices(processes)})
    return save_checkpoint(out, manifest, TrainedModel(module, heads.modules))


def _check(config: FitConfig, split: Split) -> None:
    """Everything that can be refused before hours of training."""
    if config.heads.goal:
        columns(TaskDistanceConfig(tolerances=config.heads.goal), split.store.description["features"]["names"])
    if not config.predictor.steps:
        return
    if config.entry.world_model is None:
        raise TrainingError(f"recipe {config.origin.recipe} has no predictor; leave out --predictor-steps")
    timing = config.timing
    wanted, longest = timing.frames_spanned(timing.context_frames + timing.horizon), max(e.frames for e in split.train)
    if longest < wanted:
        raise DatasetError(
            f"the longest training episode has {longest} frames; a predictor learns alone from {wanted} or more: give "
            "longer episodes, or no steps of the predictor alone"
        )


def _train_module(
    config: FitConfig, split: Split, run_folder: Path, processes: Processes, progress: Progress
) -> tuple[nn.Module, Run]:
    """The first stage: the recipe's losses on clips."""
    origin, store = config.origin, split.store
    module = origin.module(_body(config, split), config.training.seed).to(processes.device)
    sampler = ClipSampler(
        store,
        split.train,
        clip_frames=origin.config.clip_frames,
        timing=config.timing,
        twins=origin.config.wants_twins and config.training.steps > 0,
    )
    held_out = _held_out(config, split, processes.device)
    batch = sampler.sample(config.training.batch, 0, 0).to(processes.device)
    training = dataclasses.replace(config.training, precision=_precision(config, run_folder, module, batch))
    run = Run(run_folder, module, training, _identity(config, store), processes)
    if processes.device.type == "cuda":
        _compile(module)
    run.train(
        sampler,
        lambda: _measured(config.entry, module, held_out),
        lambda step, metrics: progress("world model", step, training.steps, metrics) if processes.is_first else None,
        default_readers(processes.device) if config.readers is None else config.readers,
    )
    return module, run


@dataclass(frozen=True)
class _Trained:
    """A module after the first stage, and all that is learned and measured on it after that."""

    config: FitConfig
    split: Split
    module: nn.Module
    run: Run

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return next(self.module.parameters()).device

    @property
    def frozen(self) -> FrozenEncoder:
        """The encoder as it is served; its latents are kept beside the run."""
        return _frozen(self.config.entry, self.module, self.run.folder / "latents")

    @property
    def latent(self) -> LatentSpec:
        """Shape of a frame's latents."""
        tokens, width = self.frozen.encoder.latent_shape
        return LatentSpec(tokens=tokens, width=width)

    @property
    def learned_size(self) -> int:
        """Numbers in a frame's learned tokens."""
        return len(self.frozen.encoder.learned) * self.latent.width

    @property
    def world_model(self) -> WorldModel | None:
        """The world model as it is served: made of the weights as they are now."""
        make = self.config.entry.world_model
        return None if make is None else fast_world_model(make(self.module), "float32")

    def train_heads(self, progress: Progress) -> "_Heads":
        """The stages after the first: the predictor alone, then the heads.

        Heads are for planning with a world model: a recipe without one has none.
        """
        self.module.eval().requires_grad_(False)
        split, seed = self.split, self.config.training.seed
        data = encode_episodes(self.frozen, split.store, split.train, split.timing, progress)
        scale = 2 * data.latents.variance()
        if self.config.entry.world_model is None:
            return _Heads({}, scale)
        self._train_predictor(data, progress)
        truth = recorded_truth(split.store, split.train, self.config.heads.goal, self.device)
        whole = dataclasses.replace(data, stand_ins=self._stand_ins(data), task=truth)
        width = _action_spec(split.store, split.timing).width
        return _Heads(train_heads(whole, self.latent, width, self.config.heads, seed, progress), scale)

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

    def _stand_ins(self, data: LatentEpisodes) -> tuple[StandIns, ...]:
        model, frozen, split = self.world_model, self.frozen, self.split
        assert model is not None
        found = imagined_stand_ins(data, frozen, model, self.config.training.seed)
        twins = [twin_stand_ins(data, frozen, split.store, split.train)] if split.store.has_twins else []
        return (*found, *twins)

    def manifest(self, name: str, heads: "_Heads", provenance: dict[str, Any]) -> Manifest:
        """Everything that the checkpoint says of itself, but for the weights' hash."""
        config, store, timing = self.config, self.split.store, self.config.timing
        horizon = 1 if self.world_model is None else timing.horizon
        frames = 1 if self.world_model is None else timing.context_frames
        return Manifest(
            name=name,
            version="1",
            recipe=config.origin.recipe,
            config=config_to_json(config.origin.config),
            sensors=_sensors(config.origin, self.split),
            latent=self.latent,
            action=_action_spec(store, timing),
            planning=PlanningSpec(
                context_frames=frames, horizon=horizon, goal_distance_scale=heads.goal_distance_scale
            ),
            calibration=self._calibration(),
            heads=head_specs(heads.modules),
            parents=config.origin.parents,
            weights=WeightsSpec(sha256="", bytes=0),
            task=store.description.get("env_id", ""),
            training={**provenance, **config.origin.described, **self._record(heads)},
        )

    def _calibration(self) -> CalibrationSpec | None:
        return None if self.world_model is None else calibrate(self.frozen, self.world_model, self.split)

    def _record(self, heads: "_Heads") -> dict[str, Any]:
        """For people: settings, held-out errors, probes and curves."""
        config, split, rows = self.config, self.split, self.run.metrics()
        measured: Row = rows[-1]
        if config.predictor.steps:
            measured |= _measured(config.entry, self.module, _held_out(config, split, self.device))
            self.module.eval()
        task = heads.modules.get("task_distance")
        return {
            "config": dataclasses.asdict(self.run.config),
            "episodes": {"train": len(split.train), "held_out": len(split.held_out)},
            "predictor": dataclasses.asdict(config.predictor),
            "held_out": measured,
            "learned_size": self.learned_size,
            "alarms": collapse_alarms(measured, self.learned_size),
            "probe_r2": probe(self.frozen, self._random_encoder(), split),
            "task_error": task_error(task, self.frozen, split) if isinstance(task, TaskDistance) else {},
            "curves": curves(rows),
        }

    def _random_encoder(self) -> FrozenEncoder:
        """The control of the probes."""
        body, entry = _body(self.config, self.split), self.config.entry
        module = self.config.origin.untrained(body, self.config.training.seed).to(self.device)
        assert entry.encoder is not None
        settle(module, entry.encoder(module), self.split, self.device)
        return _frozen(entry, module, self.run.folder / "latents")


@dataclass(frozen=True)
class _Heads:
    """Trained heads, and the scale of the distance that needs no training."""

    modules: Mapping[str, nn.Module]
    goal_distance_scale: float
    """Mean squared distance between latents of unrelated frames."""


def _frozen(entry: Entry, module: nn.Module, folder: Path) -> FrozenEncoder:
    assert entry.encoder is not None
    device = next(module.parameters()).device
    return FrozenEncoder(
        encoder=fast_encoder(entry.encoder(module)),
        device=device,
        weights=weights_hash(module.state_dict()),
        folder=folder,
    )


def _measured(entry: Entry, module: nn.Module, batches: list[Clips]) -> dict[str, float]:
    assert entry.encoder is not None
    model = None if entry.world_model is None else entry.world_model(module)
    return held_out_metrics(module, entry.encoder(module), model, batches)


def _held_out(config: FitConfig, split: Split, device: torch.device) -> list[Clips]:
    return [clips.to(device) for clips in split.held_out_clips(config.origin.config.clip_frames)]


def _body(config: FitConfig, split: Split) -> Body:
    width = _action_spec(split.store, split.timing).width
    return Body(sensors=_sensors(config.origin, split), action_width=width)


def _sensors(origin: Origin, split: Split) -> tuple[SensorSpec, ...]:
    """The store's sensors: a checkpoint's own standardised as it knows them, others by the training episodes."""
    known = {sensor.name: sensor for sensor in origin.sensors}

    def spec(sensor: SensorSpec) -> SensorSpec:
        own = known.get(sensor.name)
        if own is not None and alike(own, sensor):
            return dataclasses.replace(own, low=sensor.low, high=sensor.high)
        return split.store.standardised(sensor, split.train)

    return tuple(map(spec, split.store.sensors))


def _identity(config: FitConfig, store: EpisodeStore) -> dict[str, Any]:
    """Another training must not go on in the same folder."""
    return {
        "recipe": config.origin.recipe,
        "config": config_to_json(config.origin.config),
        **config.origin.described,
        "data": store.descriptions,
        "sensors": [sensor.name for sensor in store.sensors],
        "episodes": len(store.episodes),
    }


def _compile(module: nn.Module) -> None:
    """Parts that launch many small kernels, on a GPU."""
    for part in module.modules():
        if isinstance(part, COMPILED):
            part.compile()


def _devices(processes: Processes) -> str:
    device = processes.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{processes.count} x {name}"


def _precision(config: FitConfig, run_folder: Path, module: nn.Module, batch: Clips) -> Precision:
    """A resumed run keeps its own; the first process decides for all."""
    if config.precision != "auto":
        return config.precision
    found = claimed_precision(run_folder) or faster_precision(module, batch)
    choices = list(DTYPES)
    return choices[from_first(choices.index(found), batch.device)]


def _action_spec(store: EpisodeStore, timing: StepTiming) -> ActionSpec:
    action = store.description["action"]
    return ActionSpec(
        names=tuple(action["names"]),
        units=tuple(action["units"]),
        low=tuple(float(x) for x in action["low"]),
        high=tuple(float(x) for x in action["high"]),
        dt_s=float(store.description["dt_s"]),
        control_steps=timing.control_steps,
    )
