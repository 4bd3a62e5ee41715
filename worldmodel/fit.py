"""From an episode store to a checkpoint: train, learn steps to go, calibrate surprise, probe, write it all down."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from worldmodel.batches import default_readers
from worldmodel.checkpoint import save_checkpoint
from worldmodel.diagnostics import HELD_OUT, collapse_alarms, held_out_metrics
from worldmodel.episodes import Episode, EpisodeStore, WindowSampler
from worldmodel.errors import DatasetError
from worldmodel.imagined import imagine_along
from worldmodel.inverse_dynamics import (
    InverseDynamics,
    InverseDynamicsConfig,
    InverseDynamicsTraining,
    fit_inverse_dynamics,
)
from worldmodel.joint_embedding import JointEmbedding
from worldmodel.latent_episodes import Imagined, LatentEpisodes
from worldmodel.manifest import ActionSpec, Manifest, ObservationSpec, PlanningSpec, SurpriseSpec, WeightsSpec
from worldmodel.origin import Origin
from worldmodel.precision import DTYPES, Precision, faster_precision
from worldmodel.probes import probe_r2
from worldmodel.processes import DeviceChoice, Processes, from_first, joined
from worldmodel.recipes import config_to_json
from worldmodel.steps_to_go import StepsToGo, StepsToGoConfig, StepsToGoTraining, fit_steps_to_go
from worldmodel.training import Row, Run, TrainingConfig, claimed_precision
from worldmodel.windows import Windows
from worldmodel.world_model import LatentWorldModel

CONTROL_STEPS = 5
HORIZON = 5
CONTEXT_FRAMES = 3
QUANTILES = 101
PROBE_EPISODES = 300
IMAGINED_CLIPS = 40_000
EVALUATED = ("predict_mse", "copy_mse", "shuffled_mse", "effective_rank", "latent_std")
"""Of HELD_OUT, what a manifest keeps a curve of."""

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called as (stage, steps done, steps in all, newest metrics)."""


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
    steps_to_go: StepsToGoTraining = dataclasses.field(default_factory=StepsToGoTraining)
    inverse_dynamics: InverseDynamicsTraining = dataclasses.field(default_factory=InverseDynamicsTraining)


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
    train, held_out = store.split(config.training.held_out, config.training.seed)
    with joined(config.device) as processes:
        recipe, run = _train(store, train, held_out, config, run_folder, processes, progress)
    if not processes.is_first:
        return None
    world_model = LatentWorldModel(recipe)
    actions = _actions(store, train)
    latents = _encode_episodes(world_model, store, train, progress)
    head_config = StepsToGoConfig()
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
            context_frames=CONTEXT_FRAMES, horizon=HORIZON, goal_distance_scale=2 * float(latents.latents.var(0).sum())
        ),
        surprise=_calibrate(world_model, store, held_out),
        weights=WeightsSpec(sha256="", bytes=0),
        task=store.description.get("env_id", ""),
        steps_to_go=dataclasses.asdict(head_config),
        inverse_dynamics=dataclasses.asdict(InverseDynamicsConfig()),
        training={
            **provenance,
            **origin.described,
            "config": dataclasses.asdict(run.config),
            "devices": f"{processes.count} x {_device_name(processes.device)}",
            "episodes": {"train": len(train), "held_out": len(held_out)},
            "held_out": run.metrics()[-1],
            "alarms": collapse_alarms(run.metrics()[-1], origin.config.latent_width),
            "probe_r2": _probe(world_model, _untrained(config, store), store, train, held_out),
            "curves": _curves(run.metrics()),
        },
    )
    imagined = _imagine(world_model, latents, actions, config.training.seed)
    distance = _fit_steps_to_go(dataclasses.replace(latents, imagined=imagined), head_config, config, progress)
    inverse = _fit_inverse_dynamics(latents, actions, config, progress)
    return save_checkpoint(out, manifest, world_model, distance, inverse)


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
    cut = functools.partial(WindowSampler, store, clip_frames=origin.config.clip_frames, control_steps=CONTROL_STEPS)
    sampler, held_out_sampler = cut(train, twins=origin.config.wants_twins and config.training.steps > 0), cut(held_out)
    held_out_batches = [batch.to(processes.device) for batch in _held_out_batches(held_out_sampler)]
    batch = sampler.sample(config.training.batch, 0, 0).to(processes.device)
    training = dataclasses.replace(config.training, precision=_precision(config, run_folder, recipe, batch))
    identity = {"recipe": origin.recipe, "config": config_to_json(origin.config), **origin.described}
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


def _held_out_batches(sampler: WindowSampler, batches: int = 4, size: int = 128) -> list[Windows]:
    return [sampler.sample(size, seed=0, step=index) for index in range(batches)]


@torch.inference_mode()
def _encode(world_model: LatentWorldModel, frames: np.ndarray) -> Float[Tensor, "rows d"]:
    return world_model.encode(torch.from_numpy(frames).to(world_model.device)).squeeze(1).cpu()


def _encode_episodes(
    world_model: LatentWorldModel, store: EpisodeStore, episodes: list[Episode], progress: Progress
) -> LatentEpisodes:
    parts, last_rows, row = [], [], 0
    for done, episode in enumerate(episodes, start=1):
        parts.append(_encode(world_model, store.frames(episode, 0, episode.frames, 1)))
        row += episode.frames
        last_rows.append(torch.full((episode.frames,), row - 1))
        progress("encode episodes", done, len(episodes), {})
    return LatentEpisodes(torch.cat(parts).clone(), torch.cat(last_rows))


def _imagine(
    world_model: LatentWorldModel, latents: LatentEpisodes, actions: Float[Tensor, "rows x"], seed: int
) -> Imagined | None:
    return imagine_along(
        world_model,
        latents,
        actions,
        clips=IMAGINED_CLIPS,
        context=CONTEXT_FRAMES,
        horizon=HORIZON,
        control_steps=CONTROL_STEPS,
        generator=Generator().manual_seed(seed),
    )


def _fit_steps_to_go(
    latents: LatentEpisodes, head: StepsToGoConfig, config: FitConfig, progress: Progress
) -> StepsToGo:
    torch.manual_seed(config.training.seed)
    return fit_steps_to_go(
        latents,
        head,
        config.steps_to_go,
        CONTROL_STEPS,
        Generator().manual_seed(config.training.seed),
        lambda step, loss: progress("steps to go", step + 1, config.steps_to_go.steps, {"loss": loss}),
    )


def _fit_inverse_dynamics(
    latents: LatentEpisodes, actions: Float[Tensor, "rows x"], config: FitConfig, progress: Progress
) -> InverseDynamics:
    torch.manual_seed(config.training.seed)
    return fit_inverse_dynamics(
        latents,
        actions,
        InverseDynamicsConfig(),
        config.inverse_dynamics,
        CONTROL_STEPS,
        Generator().manual_seed(config.training.seed),
        lambda step, loss: progress("inverse dynamics", step + 1, config.inverse_dynamics.steps, {"loss": loss}),
    )


def _actions(store: EpisodeStore, episodes: list[Episode]) -> Float[Tensor, "rows x"]:
    """What was done after each frame, row by row as `_encode_episodes` has them; zero after the last of an episode."""
    parts = [np.pad(store.actions(episode, 0, episode.frames - 1), ((0, 1), (0, 0))) for episode in episodes]
    return torch.from_numpy(np.concatenate(parts))


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


def _probe_rows(model: LatentWorldModel, store: EpisodeStore, episodes: list[Episode]) -> tuple[Tensor, Tensor]:
    latents = [_encode(model, _spaced_frames(store, episode)) for episode in episodes]
    truth = [store.features(episode, 0, _spaced(episode), CONTROL_STEPS) for episode in episodes]
    return torch.cat(latents).clone(), torch.from_numpy(np.concatenate(truth))


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
