"""Models of an engine, and their loading from the checkpoints folder."""

import logging
import re
from pathlib import Path

import torch

from planner.threads import threads_for
from server.engine.frames import FrameReader
from server.engine.presets import presets_of
from server.errors import Code, ServiceError, refuse
from server.schemas import ActionInfo, ModelInfo, ModelRef, PlannerConfig, Provenance, SensorInfo
from server.settings import Settings, SettingsError
from server.validation import shorten, unknown_model
from telos import __version__
from worldmodel import ActionSpec, CalibrationSpec, Checkpoint, CheckpointError, SensorSpec, load_checkpoint

log = logging.getLogger("telos")

_FOLDER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
_FILES, _OPTIONAL_FILES = ("manifest.json", "model.safetensors"), ("novelty.safetensors",)


class ServedModel:
    """A loaded checkpoint with its cache of frames."""

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        """Raises CheckpointError for a model without an encoder."""
        if checkpoint.encoder is None:
            raise CheckpointError(f"{checkpoint.manifest.name} has no encoder, so nothing can be asked of it")
        self.checkpoint = checkpoint
        self.manifest = checkpoint.manifest
        self.frames = FrameReader(checkpoint, settings)
        self.latent_shape = (self.manifest.latent.tokens, self.manifest.latent.width)
        """Shape of the latents of one frame: [n, d]."""
        self.presets = presets_of(checkpoint)
        """Presets that the model can run."""
        self.ready = False

    @property
    def space_id(self) -> str:
        """Identifier of the latent space: the manifest's hash, which covers the weights and the preprocessing."""
        return self.checkpoint.manifest_sha256

    @property
    def plans(self) -> bool:
        """True if the model has a world model or a policy to plan with."""
        checkpoint = self.checkpoint
        return self.manifest.planning is not None and (checkpoint.world_model or checkpoint.policy) is not None

    def check_plans(self) -> None:
        """Raises ServiceError for a model that only encodes."""
        if not self.plans:
            reason = f"{self.manifest.name} only encodes: it has neither a world model nor a policy to plan with"
            raise refuse(Code.VALIDATION_FAILED, "/model/name", f"{reason}; use /v1/encode, or name another model")

    def surprise_calibration(self, pointer: str) -> CalibrationSpec:
        """Calibration of the surprise. Raises ServiceError that names `pointer` for a model without one."""
        calibration = self._calibration
        if calibration is None:
            lack = "has no world model" if self.checkpoint.world_model is None else "was not calibrated"
            reason = f"{self.manifest.name} {lack}, so it has no surprise; leave this out or name another model"
            raise refuse(Code.VALIDATION_FAILED, pointer, reason)
        return calibration

    @property
    def _calibration(self) -> CalibrationSpec | None:
        return None if self.checkpoint.world_model is None else self.manifest.calibration

    def provenance(self, effective_planner: PlannerConfig | None = None) -> Provenance:
        """Provenance of an answer of this model."""
        return Provenance(
            model_name=self.manifest.name,
            model_version=self.manifest.version,
            weights_sha256=self.manifest.weights.sha256,
            manifest_sha256=self.checkpoint.manifest_sha256,
            effective_planner=effective_planner,
            server_version=__version__,
            device=str(self.checkpoint.device),
            dtype=self.checkpoint.precision,
        )

    def info(self) -> ModelInfo:
        """Entry of `/v1/models`."""
        manifest, planning = self.manifest, self.manifest.planning if self.plans else None
        return ModelInfo(
            name=manifest.name,
            version=manifest.version,
            recipe=manifest.recipe,
            task=manifest.task,
            ready=self.ready,
            sensors=[_sensor_info(spec) for spec in manifest.sensors],
            latent_shape=list(self.latent_shape),
            action=None if manifest.action is None else _action_info(manifest.action),
            context_frames=None if planning is None else planning.context_frames,
            horizon=None if planning is None else planning.horizon,
            presets=self.presets,
            surprise_threshold=None if self._calibration is None else self._calibration.threshold,
            novelty_false_alarm_rate=None if manifest.novelty is None else manifest.novelty.false_alarm_rate,
            space_id=self.space_id,
            weights_sha256=manifest.weights.sha256,
            manifest_sha256=self.checkpoint.manifest_sha256,
            device=str(self.checkpoint.device),
            dtype=self.checkpoint.precision,
        )


def _sensor_info(spec: SensorSpec) -> SensorInfo:
    return SensorInfo(
        name=spec.name,
        kind=spec.kind,
        shape=list(spec.shape),
        names=list(spec.names),
        units=list(spec.units),
        low=list(spec.low),
        high=list(spec.high),
        aspect_ratio=spec.aspect_ratio,
    )


def _action_info(spec: ActionSpec) -> ActionInfo:
    return ActionInfo(
        names=list(spec.names),
        units=list(spec.units),
        low=list(spec.low),
        high=list(spec.high),
        dt_ms=spec.dt_s * 1e3,
        control_steps=spec.control_steps,
    )


class Registry:
    """Models by name."""

    def __init__(self, models: dict[str, ServedModel]) -> None:
        self.models = models

    @classmethod
    def load(cls, settings: Settings) -> "Registry":
        """Every checkpoint of the settings' folder. Raises CheckpointError; SettingsError without a model or device."""
        _check_device(settings.device)
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
        """The model that a request names. Raises ServiceError (model-not-found, model-mismatch)."""
        model = self.models.get(ref.name)
        if model is None:
            raise unknown_model(ref.name, self.models)
        if ref.version is not None and ref.version != model.manifest.version:
            given = f"given '{shorten(ref.version)}'; this server has version {model.manifest.version} of {ref.name}"
            raise refuse(Code.MODEL_NOT_FOUND, "/model/version", given)
        if ref.expect_sha256 is not None and ref.expect_sha256 != model.manifest.weights.sha256:
            reason = (
                f"the weights served are {model.manifest.weights.sha256}; expect those, or deploy the expected ones"
            )
            raise refuse(Code.MODEL_MISMATCH, "/model/expect_sha256", reason)
        return model


def _check_device(device: str) -> None:
    """Raises SettingsError for a device that torch cannot use on this machine."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises one or the other, depending on its build
        reason = str(error).split("\n", 1)[0]
        raise SettingsError(f"device={device} cannot be used: {reason}; choose cpu, cuda or cuda:0") from error


def open_model(folder: Path, settings: Settings) -> ServedModel:
    """A loaded model. Raises CheckpointError.

    Loading uses one thread. OpenMP keeps the helper threads of every thread that has computed, and those of the torch
    thread stop spinning between products, and so get slow, once there are more of them than cores.
    """
    with threads_for(1):
        return ServedModel(load_checkpoint(folder, settings.device, settings.precision), settings)


def load_model(folder: str, settings: Settings) -> ServedModel:
    """A model that an operator names by its folder in the checkpoints folder.

    Its weights are read whole and checked against their hash before use. Raises ServiceError (model-refused).
    """
    path = _inside(settings.checkpoints, folder)
    try:
        return open_model(path, settings)
    except CheckpointError as error:
        raise model_refused(str(error)) from error


def model_refused(reason: str) -> ServiceError:
    """Error for a model that cannot be loaded; nothing has changed."""
    return ServiceError(Code.MODEL_REFUSED, f"{reason}; the models served before are unchanged")


def _inside(checkpoints: Path, folder: str) -> Path:
    """The folder, if no link leads its files out of the checkpoints folder. Raises ServiceError (model-refused)."""
    if not _FOLDER.fullmatch(folder):
        raise model_refused(f"'{shorten(folder)}' is not a folder name in the checkpoints folder")
    root = checkpoints.resolve()
    for name in _FILES + _OPTIONAL_FILES:
        file = root / folder / name
        if not file.resolve().is_relative_to(root):
            raise model_refused(f"{name} of {folder} is a link that leads out of the checkpoints folder")
        if name in _FILES and not file.is_file():
            raise model_refused(f"{folder} has no {name}; put both files of the checkpoint there")
    return root / folder
