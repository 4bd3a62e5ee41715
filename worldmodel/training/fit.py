"""Trains a checkpoint on an episode store: world model, heads, calibration of surprise and novelty, probes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from worldmodel.checkpoint import TrainedModel, save_checkpoint
from worldmodel.clips import Clips
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.errors import DatasetError, TrainingError
from worldmodel.heads.task_distance import TaskDistanceConfig, columns
from worldmodel.manifest import Manifest
from worldmodel.parts.encoders import ConvEncoder, ViTEncoder
from worldmodel.parts.precision import DTYPES, Precision
from worldmodel.parts.predictor import Block
from worldmodel.parts.processes import Processes, from_first, joined
from worldmodel.recipe import Body
from worldmodel.recipes import config_to_json
from worldmodel.training.batches import default_readers
from worldmodel.training.config import FitConfig
from worldmodel.training.latent_stage import Progress
from worldmodel.training.loop import Run, claimed_precision
from worldmodel.training.novelty_stage import calibrate_novelty
from worldmodel.training.precision import faster_precision
from worldmodel.training.report import Split
from worldmodel.training.robot import body_of
from worldmodel.training.trained import Trained, held_out_measure

COMPILED = (ConvEncoder, ViTEncoder, Block)
"""Parts compiled on a GPU; not BatchNorm, which exchanges its statistics between processes."""


def fit(
    store: EpisodeStore, config: FitConfig, run_folder: Path, out: Path, provenance: dict[str, Any], progress: Progress
) -> Manifest | None:
    """Train on `store`, resuming what `run_folder` holds, and write the checkpoint `out`.

    Under torchrun every process trains, and the first does the rest; the others get None. `provenance` goes into the
    manifest's training record. Raises DatasetError when store and model do not fit, and TrainingError when batch,
    device, processes or a checkpoint's weights do not.
    """
    split = checked_split(store, config)
    with joined(config.device) as processes:
        body = body_of(config.origin, split)  # once, since it reads every vector of the training episodes
        module = config.origin.module(body, config.training.seed).to(processes.device)
        if processes.device.type == "cuda":
            _compile(module)
        run = train_module(config, split, (module, body), (run_folder, processes), progress)
    if not processes.is_first:
        return None
    model = Trained(config, split, body, module, run)
    heads = model.train_heads(progress)
    manifest = model.manifest(out.name, heads, {**provenance, "devices": _devices(processes)}, progress)
    novelty = calibrate_novelty(store, body.sensors, (split.train, split.held_out), progress)
    return save_checkpoint(out, manifest, TrainedModel(module, heads.modules), novelty)


def checked_split(store: EpisodeStore, config: FitConfig) -> Split:
    """The store's episodes, split. Raises DatasetError and TrainingError, before hours of training, where configuration
    and episodes do not go together."""
    train, held_out = store.split(config.training.held_out, config.training.seed)
    split = Split(store=store, train=train, held_out=held_out, timing=config.timing)
    _check(config, split)
    return split


def _check(config: FitConfig, split: Split) -> None:
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


def train_module(
    config: FitConfig,
    split: Split,
    made: tuple[nn.Module, Body],
    where: tuple[Path, Processes],
    progress: Progress,
) -> Run:
    """The first stage: the recipe's losses on clips."""
    origin, store, (module, body), (run_folder, processes) = config.origin, split.store, made, where
    sampler = ClipSampler(
        store,
        split.train,
        clip_frames=origin.config.clip_frames,
        timing=config.timing,
        twins=origin.config.wants_twins and config.training.steps > 0,
        actions=config.entry.plans,
    )
    measured = held_out_measure(config, split, body, processes.device)
    precision = _precision(config, run_folder, module, lambda: sampler.sample(config.training.batch, 0, 0))
    training = dataclasses.replace(config.training, precision=precision)
    run = Run(run_folder, module, training, _identity(config, store), processes)
    run.train(
        sampler,
        lambda: measured(module),
        lambda step, metrics: progress("world model", step, training.steps, metrics) if processes.is_first else None,
        default_readers(processes.device) if config.readers is None else config.readers,
    )
    return run


def _identity(config: FitConfig, store: EpisodeStore) -> dict[str, Any]:
    """Identity of this training: one with another identity must not continue in its folder."""
    return {
        "recipe": config.origin.recipe,
        "config": config_to_json(config.origin.config),
        **config.origin.described,
        "timing": dataclasses.asdict(config.timing),
        "data": store.descriptions,
        "sensors": [sensor.name for sensor in store.sensors],
        "episodes": len(store.episodes),
    }


def _compile(module: nn.Module) -> None:
    """Compile the parts that launch many small kernels."""
    for part in module.modules():
        if isinstance(part, COMPILED):
            part.compile()


def _devices(processes: Processes) -> str:
    device = processes.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{processes.count} x {name}"


def _precision(config: FitConfig, run_folder: Path, module: nn.Module, batch: Callable[[], Clips]) -> Precision:
    """The precision of a resumed run, or the measured one; the first process decides for all."""
    if config.precision != "auto":
        return config.precision
    device = next(module.parameters()).device
    found = claimed_precision(run_folder) or faster_precision(module, batch().to(device))
    choices = list(DTYPES)
    return choices[from_first(choices.index(found), device)]
