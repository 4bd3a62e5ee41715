"""From an episode store to a checkpoint: train, learn steps to go, calibrate surprise, probe, write it all down."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.checkpoint import save_checkpoint
from worldmodel.clips import Windows, frames_spanned
from worldmodel.data.episodes import Episode, EpisodeStore, WindowSampler
from worldmodel.data.latent_episodes import LatentEpisodes
from worldmodel.data.task_truth import apart
from worldmodel.errors import DatasetError
from worldmodel.heads.probes import probe_r2
from worldmodel.heads.task_distance import TaskDistance, columns, task_truth
from worldmodel.inference.world_model import LatentWorldModel
from worldmodel.manifest import ActionSpec, Manifest, ObservationSpec, PlanningSpec, SurpriseSpec, WeightsSpec
from worldmodel.parts.precision import DTYPES, Precision, faster_precision
from worldmodel.parts.processes import DeviceChoice, Processes, from_first, joined
from worldmodel.recipes import config_to_json
from worldmodel.recipes.joint_embedding import JointEmbedding
from worldmodel.training.batches import default_readers
from worldmodel.training.diagnostics import HELD_OUT, collapse_alarms, held_out_metrics
from worldmodel.training.heads import (
    HeadsConfig,
    Progress,
    actions_after,
    encode_episodes,
    encode_frames,
    fit_heads,
    told,
)
from worldmodel.training.loop import Row, Run, TrainingConfig, claimed_precision
from worldmodel.training.origin import Origin
from worldmodel.training.predictor_stage import ImaginationTraining, fit_imagination

CONTROL_STEPS = 5
HORIZON = 5
CONTEXT_FRAMES = 3
QUANTILES = 101
PROBE_EPISODES = 300
EVALUATED = ("predict_mse", "copy_mse", "shuffled_mse", "effective_rank", "latent_std")
"""Of HELD_OUT, what a manifest keeps a curve of."""


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
    imagination: ImaginationTraining = dataclasses.field(default_factory=ImaginationTraining)
    heads: HeadsConfig = dataclasses.field(default_factory=HeadsConfig)


def fit(
    store: EpisodeStore, config: FitConfig, run_folder: Path, out: Path, provenance: dict[str, Any], progress: Progress
) -> Manifest | None:
    """Train on `store`, resuming what `run_folder` holds, and write the checkpoint `out`.

    Under torchrun every process trains, and the first does the rest; the others get None. `provenance` goes into the
    manifest's training record. Raises DatasetError when store and model do not fit, and TrainingError when batch,
    device, processes or a checkpoint's weights do not.
    """
    origin = config.origin
    if store.image_px != origin.config.image_px:
        raise DatasetError(
            f"the store's images are {store.image_px} px, the model's {origin.config.image_px} px: collect with "
            f"--image-size {origin.config.image_px} or choose another preset"
        )
    if config.heads.task is not None:  # now, rather than after hours of training
        columns(config.heads.task, store.description["features"]["names"])
    train, held_out = store.split(config.training.held_out, config.training.seed)
    if config.imagination.steps:
        _require_long_episodes(train)
    with joined(config.device) as processes:
        recipe, run = _train(store, train, held_out, config, run_folder, processes, progress)
    if not processes.is_first:
        return None
    world_model = LatentWorldModel(recipe)
    latents = encode_episodes(world_model, store, train, progress)
    actions = actions_after(store, train).to(world_model.device)
    measured = run.metrics()[-1]
    if config.imagination.steps:
        _imagine(recipe, latents, actions, config, run, progress)
        measured |= held_out_metrics(recipe, _held_out_clips(recipe, store, held_out))
        world_model = LatentWorldModel(recipe)  # which folds the weights that have changed
    heads = fit_heads(
        world_model,
        store,
        train,
        latents,
        actions,
        config.heads,
        seed=config.training.seed,
        control_steps=CONTROL_STEPS,
        context_frames=CONTEXT_FRAMES,
        horizon=HORIZON,
        progress=progress,
    )
    task = heads.task_distance
    manifest = Manifest(
        name=out.name,
        version="1",
        recipe=origin.recipe,
        config=config_to_json(origin.config),
        observation=ObservationSpec(
            camera=store.description["image"]["camera"], height_px=store.image_px, width_px=store.image_px
        ),
        action=_action_spec(store),
        planning=PlanningSpec(
            context_frames=CONTEXT_FRAMES, horizon=HORIZON, goal_distance_scale=heads.goal_distance_scale
        ),
        surprise=_calibrate(world_model, store, held_out),
        weights=WeightsSpec(sha256="", bytes=0),
        task=store.description.get("env_id", ""),
        steps_to_go=dataclasses.asdict(heads.steps_to_go.config),
        inverse_dynamics=dataclasses.asdict(heads.inverse_dynamics.config),
        task_distance=None if task is None else dataclasses.asdict(task.config),
        training={
            **provenance,
            **origin.described,
            "config": dataclasses.asdict(run.config),
            "devices": f"{processes.count} x {_device_name(processes.device)}",
            "episodes": {"train": len(train), "held_out": len(held_out)},
            "imagination": dataclasses.asdict(config.imagination),
            "held_out": measured,
            "alarms": collapse_alarms(measured, origin.config.latent_width),
            "probe_r2": _probe(world_model, _untrained(config, store), store, train, held_out),
            "task_error": {} if task is None else _task_error(task, world_model, store, held_out),
            "curves": _curves(run.metrics()),
        },
    )
    return save_checkpoint(out, manifest, world_model, heads.steps_to_go, heads.inverse_dynamics, task)


def _train(
    store: EpisodeStore,
    train: list[Episode],
    held_out: list[Episode],
    config: FitConfig,
    run_folder: Path,
    processes: Processes,
    progress: Progress,
) -> tuple[JointEmbedding, Run]:
    origin = config.origin
    recipe = origin.module(_action_spec(store).width, config.training.seed).to(processes.device)
    sampler = WindowSampler(
        store,
        train,
        clip_frames=origin.config.clip_frames,
        control_steps=CONTROL_STEPS,
        twins=origin.config.wants_twins and config.training.steps > 0,
    )
    held_out_batches = _held_out_clips(recipe, store, held_out)
    batch = sampler.sample(config.training.batch, 0, 0).to(processes.device)
    training = dataclasses.replace(config.training, precision=_precision(config, run_folder, recipe, batch))
    identity = {
        "recipe": origin.recipe,
        "config": config_to_json(origin.config),
        **origin.described,
        "data": store.descriptions,
        "episodes": len(store.episodes),
    }
    run = Run(run_folder, recipe, training, identity, processes)
    if processes.device.type == "cuda":
        _compile(recipe)
    run.train(
        sampler,
        lambda: held_out_metrics(recipe, held_out_batches),
        lambda step, metrics: progress("world model", step, training.steps, metrics) if processes.is_first else None,
        default_readers(processes.device) if config.readers is None else config.readers,
    )
    return recipe, run


def _compile(recipe: JointEmbedding) -> None:
    """Where kernels are launched faster than Python can: not BatchNorm, which exchanges its statistics."""
    recipe.encoder.compile()
    for block in recipe.predictor.every_block():
        block.compile()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _untrained(config: FitConfig, store: EpisodeStore) -> JointEmbedding:
    return config.origin.untrained(_action_spec(store).width, config.training.seed)


def _precision(config: FitConfig, run_folder: Path, recipe: JointEmbedding, batch: Windows) -> Precision:
    """What a run began with it keeps; the first process's word counts."""
    if config.precision != "auto":
        return config.precision
    found = claimed_precision(run_folder) or faster_precision(recipe, batch)
    choices = list(DTYPES)
    return choices[from_first(choices.index(found), batch.frames.device)]


def _action_spec(store: EpisodeStore) -> ActionSpec:
    action = store.description["action"]
    return ActionSpec(
        names=tuple(action["names"]),
        units=tuple(action["units"]),
        low=tuple(float(x) for x in action["low"]),
        high=tuple(float(x) for x in action["high"]),
        dt_s=float(store.description["dt_s"]),
        control_steps=CONTROL_STEPS,
    )


def _held_out_clips(recipe: JointEmbedding, store: EpisodeStore, held_out: list[Episode]) -> list[Windows]:
    """What `held_out_metrics` is measured on."""
    sampler = WindowSampler(store, held_out, clip_frames=recipe.config.clip_frames, control_steps=CONTROL_STEPS)
    return [batch.to(recipe.pixel_scale.device) for batch in _held_out_batches(sampler)]


def _require_long_episodes(train: list[Episode]) -> None:
    wanted = frames_spanned(CONTEXT_FRAMES + HORIZON, CONTROL_STEPS)
    longest = max(each.frames for each in train)
    if longest < wanted:
        raise DatasetError(
            f"the longest training episode has {longest} frames; a predictor learns alone from {wanted} or more: give "
            "longer episodes, or no steps of the predictor alone"
        )


def _imagine(
    recipe: JointEmbedding,
    latents: LatentEpisodes,
    actions: Float[Tensor, "rows x"],
    config: FitConfig,
    run: Run,
    progress: Progress,
) -> None:
    """The second stage, of the predictor alone."""
    fit_imagination(
        recipe.predictor,
        latents,
        actions,
        config.imagination,
        context=CONTEXT_FRAMES,
        horizon=HORIZON,
        control_steps=CONTROL_STEPS,
        precision=run.config.precision,
        seed=config.training.seed,
        folder=run.folder / "predictor",
        on_step=told(progress, "predictor", config.imagination.steps),
    )


def _held_out_batches(sampler: WindowSampler, batches: int = 4, size: int = 128) -> list[Windows]:
    return [sampler.sample(size, seed=0, step=index) for index in range(batches)]


@torch.inference_mode()
def _calibrate(world_model: LatentWorldModel, store: EpisodeStore, episodes: list[Episode]) -> SurpriseSpec:
    """Surprise of held-out transitions with as many context frames as the service uses."""
    sampler = WindowSampler(store, episodes, clip_frames=CONTEXT_FRAMES, control_steps=CONTROL_STEPS)
    values = []
    for batch in (batch.to(world_model.device) for batch in _held_out_batches(sampler, batches=32)):
        clips, steps = batch.frames.shape[:2]
        latents = world_model.encode(batch.frames.flatten(0, 1)).unflatten(0, (clips, steps))
        values.append(world_model.surprise(latents, batch.actions).flatten().cpu())
    surprise = torch.cat(values).double()
    ranks = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    return SurpriseSpec(
        quantiles=tuple(surprise.quantile(ranks).tolist()),
        transitions=len(surprise),
        threshold=float(surprise.quantile(0.99)),
    )


def _probe(
    world_model: LatentWorldModel,
    untrained: JointEmbedding,
    store: EpisodeStore,
    train: list[Episode],
    held_out: list[Episode],
) -> dict[str, dict[str, float]]:
    """Linear R^2 of each simulator feature on held-out episodes, for the trained encoder and for a random one."""
    results: dict[str, dict[str, float]] = {}
    control = LatentWorldModel(_settled(untrained.to(world_model.device), store, train))
    for name, model in (("trained", world_model), ("random_encoder", control)):
        x, y = _probe_rows(model, store, train[:PROBE_EPISODES])
        x_test, y_test = _probe_rows(model, store, held_out[:PROBE_EPISODES])
        names = store.description["features"]["names"]
        results[name] = dict(zip(names, probe_r2(x, y, x_test, y_test).tolist(), strict=True))
    return results


def _task_error(
    head: TaskDistance, world_model: LatentWorldModel, store: EpisodeStore, held_out: list[Episode]
) -> dict[str, float]:
    """How far what the head reads from held-out frames is from what was recorded: medians, in tolerances."""
    latents, recorded = _probe_rows(world_model, store, held_out[:PROBE_EPISODES])
    truth = task_truth(head.config, store.description["features"]["names"], recorded)
    names = [",".join(tolerance.features) for tolerance in head.config.tolerances]
    errors = apart(head.quantities(latents), truth.quantities, truth.sizes).median(0).values
    return dict(zip(names, errors.tolist(), strict=True))


def _probe_rows(model: LatentWorldModel, store: EpisodeStore, episodes: list[Episode]) -> tuple[Tensor, Tensor]:
    latents = [encode_frames(model, _spaced_frames(store, episode)) for episode in episodes]
    truth = [store.features(episode, 0, _spaced(episode), CONTROL_STEPS) for episode in episodes]
    return torch.cat(latents).clone(), torch.from_numpy(np.concatenate(truth)).to(model.device)


def _spaced(episode: Episode) -> int:
    """Frames one model step apart that an episode has."""
    return (episode.frames - 1) // CONTROL_STEPS + 1


def _spaced_frames(store: EpisodeStore, episode: Episode) -> np.ndarray:
    return store.frames(episode, 0, _spaced(episode), CONTROL_STEPS)


@torch.no_grad()
def _settled(recipe: JointEmbedding, store: EpisodeStore, episodes: list[Episode]) -> JointEmbedding:
    """A random encoder with BatchNorm statistics of real frames: a fair control."""
    frames = np.concatenate([_spaced_frames(store, episode) for episode in episodes[:20]])
    recipe.train()
    for _ in range(20):
        recipe.encode(torch.from_numpy(frames).to(recipe.pixel_scale.device))
    return recipe.eval()


def _curves(rows: list[Row], points: int = 100) -> dict[str, list[int | float]]:
    """The losses thinned to about `points`, and every evaluation."""
    losses, evaluations = ([row for row in rows if key in row] for key in ("predict", EVALUATED[0]))
    names = [name for name in losses[0] if name not in ("step", *HELD_OUT)] if losses else []
    thin = losses[:: max(1, len(losses) // points)]
    return {
        "step": [row["step"] for row in thin],
        **{name: [round(row[name], 5) for row in thin] for name in names},
        "evaluation_step": [row["step"] for row in evaluations],
        **{name: [round(row[name], 5) for row in evaluations] for name in EVALUATED},
    }
