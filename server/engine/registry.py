"""The models that this process serves."""

import dataclasses
import logging
from pathlib import Path

import torch

from planner.presets import PRESETS
from planner.threads import threads_for
from server.engine.frames import FrameReader
from server.engine.presets import as_config
from server.errors import Code, refuse
from server.schemas import ActionInfo, ModelInfo, ModelRef, PlannerConfig, Provenance, SensorInfo
from server.settings import Settings, SettingsError
from server.validation import shorten, unknown_model
from telos import __version__
from worldmodel.checkpoint import Checkpoint, load_checkpoint

log = logging.getLogger("telos")


class ServedModel:
    """A checkpoint, the frames it has seen, and whether it was warmed up."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        self.checkpoint = checkpoint
        self.manifest = checkpoint.manifest
        self.frames = FrameReader(checkpoint, settings)
        self.latent_shape = _latent_shape(checkpoint)
        """[n, d] of one frame."""
        self.ready = False

    @property
    def space_id(self) -> str:
        """Latents of different weights or preprocessing are not comparable: the manifest's hash covers both."""
        return self.checkpoint.manifest_sha256

    def provenance(self, effective_planner: PlannerConfig | None = None) -> Provenance:
        model = self.checkpoint.world_model
        return Provenance(
            model_name=self.manifest.name,
            model_version=self.manifest.version,
            weights_sha256=self.manifest.weights.sha256,
            manifest_sha256=self.checkpoint.manifest_sha256,
            effective_planner=effective_planner,
            server_version=__version__,
            device=str(model.device),
            dtype=model.precision,
        )

    def info(self) -> ModelInfo:
        manifest, action = self.manifest, self.manifest.action
        return ModelInfo(
            name=manifest.name,
            version=manifest.version,
            recipe=manifest.recipe,
            task=manifest.task,
            ready=self.ready,
            sensors=[
                SensorInfo(
                    name=spec.name,
                    kind=spec.kind,
                    shape=list(spec.shape),
                    names=list(spec.names),
                    units=list(spec.units),
                    low=list(spec.low),
                    high=list(spec.high),
                )
                for spec in self.frames.sensors
            ],
            latent_shape=list(self.latent_shape),
            action=ActionInfo(
                names=list(action.names),
                units=list(action.units),
                low=list(action.low),
                high=list(action.high),
                dt_ms=action.dt_s * 1e3,
                control_steps=action.control_steps,
            ),
            context_frames=manifest.planning.context_frames,
            horizon=manifest.planning.horizon,
            presets=[
                as_config(name, dataclasses.replace(preset, horizon=manifest.planning.horizon))
                for name, preset in PRESETS.items()
                if preset.proposal == "none" or self.checkpoint.inverse_dynamics is not None
            ],
            surprise_threshold=manifest.surprise.threshold,
            space_id=self.space_id,
            weights_sha256=manifest.weights.sha256,
            manifest_sha256=self.checkpoint.manifest_sha256,
            device=str(self.checkpoint.world_model.device),
            dtype=self.checkpoint.world_model.precision,
        )


def open_model(folder: Path, settings: Settings) -> ServedModel:
    """Raises CheckpointError.

    With one thread: OpenMP's helpers of a thread that computed once stay, and those of the torch thread stop spinning
    between products as soon as there are more of them than cores.
    """
    with threads_for(1):
        return ServedModel(load_checkpoint(folder, settings.device, settings.precision), settings)


class Registry:
    """Models by name."""

    def __init__(self, models: dict[str, ServedModel]) -> None:
        self.models = models

    @classmethod
    def load(cls, settings: Settings) -> "Registry":
        """Every checkpoint of the settings' folder. Raises CheckpointError, and SettingsError without any."""
        models: dict[str, ServedModel] = {}
        for path in settings.checkpoint_folders():
            model = open_model(path, settings)
            name = model.manifest.name
            if name in models:
                raise SettingsError(f"two checkpoints call themselves {name}; remove one or rename it in its manifest")
            models[name] = model
            log.info("loaded %s version %s", name, model.manifest.version)
        return cls(models)

    def find(self, ref: ModelRef) -> ServedModel:
        """Raises ServiceError (model-not-found, model-mismatch)."""
        model = self.models.get(ref.name)
        if model is None:
            raise unknown_model(ref.name, self.models)
        if ref.version is not None and ref.version != model.manifest.version:
            given = f"given '{shorten(ref.version)}'; this server has version {model.manifest.version} of {ref.name}"
            raise refuse(Code.MODEL_NOT_FOUND, "/model/version", given)
        if ref.expect_sha256 is not None and ref.expect_sha256 != model.manifest.weights.sha256:
            has = f"{model.manifest.weights.sha256}"
            reason = f"the weights served are {has}; expect those, or have the expected ones deployed"
            raise refuse(Code.MODEL_MISMATCH, "/model/expect_sha256", reason)
        return model


def _latent_shape(checkpoint: Checkpoint) -> tuple[int, ...]:
    size = checkpoint.manifest.observation
    black = torch.zeros((1, size.height_px, size.width_px, 3), dtype=torch.uint8, device=checkpoint.world_model.device)
    with torch.inference_mode():
        return tuple(checkpoint.world_model.encode(black).shape[1:])
