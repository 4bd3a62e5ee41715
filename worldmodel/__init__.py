"""Learns and predicts latents. Knows no goal, no planner, no simulator, no transport.

These names are the whole public interface; nothing outside the package imports its modules. Each is loaded on first
use: a server that plans reads no episodes, and must not wait for HDF5.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldmodel.checkpoint import (
        Checkpoint,
        TrainedModel,
        load_checkpoint,
        save_checkpoint,
        save_novelty,
        verify_checkpoint,
    )
    from worldmodel.clips import Clips, StepTiming
    from worldmodel.data.episodes import ClipSampler, EpisodeStore
    from worldmodel.errors import CheckpointError, DatasetError, SensorError, TrainingError
    from worldmodel.heads import HEADS
    from worldmodel.heads.task_distance import Tolerance
    from worldmodel.inference.fast_steps_to_go import fast_distance
    from worldmodel.inference.packed_linear import PackedLinear
    from worldmodel.inference.world_model import fast_encoder, fast_world_model
    from worldmodel.manifest import (
        ActionSpec,
        CalibrationSpec,
        LatentSpec,
        Manifest,
        NoveltySpec,
        PlanningSpec,
        WeightsSpec,
        read_manifest,
    )
    from worldmodel.observation import ObservationBatch, SensorSpec, observe
    from worldmodel.parts.precision import DTYPES, Precision, PrecisionChoice
    from worldmodel.published.lewm import Published, import_lewm
    from worldmodel.recipe import Body, Encoder, LatentPolicy, Latents, Step, WorldModel
    from worldmodel.recipes import RECIPES
    from worldmodel.training.estimate import estimate
    from worldmodel.training.fit import FitConfig, fit
    from worldmodel.training.head_stage import HeadsConfig
    from worldmodel.training.loop import TrainingConfig
    from worldmodel.training.novelty_stage import calibrate_on, stored_readings
    from worldmodel.training.origin import Origin
    from worldmodel.training.predictor_stage import PredictorTraining
    from worldmodel.training.report import HELD_OUT_CURVES

_HOMES = {
    "checkpoint": (
        "Checkpoint",
        "TrainedModel",
        "load_checkpoint",
        "save_checkpoint",
        "save_novelty",
        "verify_checkpoint",
    ),
    "clips": ("Clips", "StepTiming"),
    "data.episodes": ("ClipSampler", "EpisodeStore"),
    "errors": ("CheckpointError", "DatasetError", "SensorError", "TrainingError"),
    "heads": ("HEADS",),
    "heads.task_distance": ("Tolerance",),
    "inference.fast_steps_to_go": ("fast_distance",),
    "inference.packed_linear": ("PackedLinear",),
    "inference.world_model": ("fast_encoder", "fast_world_model"),
    "manifest": (
        "ActionSpec",
        "CalibrationSpec",
        "LatentSpec",
        "Manifest",
        "NoveltySpec",
        "PlanningSpec",
        "WeightsSpec",
        "read_manifest",
    ),
    "observation": ("ObservationBatch", "SensorSpec", "observe"),
    "parts.precision": ("DTYPES", "Precision", "PrecisionChoice"),
    "published.lewm": ("Published", "import_lewm"),
    "recipe": ("Body", "Encoder", "LatentPolicy", "Latents", "Step", "WorldModel"),
    "recipes": ("RECIPES",),
    "training.estimate": ("estimate",),
    "training.fit": ("FitConfig", "fit"),
    "training.head_stage": ("HeadsConfig",),
    "training.loop": ("TrainingConfig",),
    "training.novelty_stage": ("calibrate_on", "stored_readings"),
    "training.origin": ("Origin",),
    "training.predictor_stage": ("PredictorTraining",),
    "training.report": ("HELD_OUT_CURVES",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - in the order of the imports above
    "Checkpoint", "TrainedModel", "load_checkpoint", "save_checkpoint", "save_novelty", "verify_checkpoint", "Clips",
    "StepTiming", "ClipSampler", "EpisodeStore", "CheckpointError", "DatasetError", "SensorError", "TrainingError",
    "HEADS", "Tolerance", "fast_distance", "PackedLinear", "fast_encoder", "fast_world_model", "ActionSpec",
    "CalibrationSpec", "LatentSpec", "Manifest", "NoveltySpec", "PlanningSpec", "WeightsSpec", "read_manifest",
    "ObservationBatch", "SensorSpec", "observe", "DTYPES", "Precision", "PrecisionChoice", "Published", "import_lewm",
    "Body", "Encoder", "LatentPolicy", "Latents", "Step", "WorldModel", "RECIPES", "estimate", "FitConfig", "fit",
    "HeadsConfig", "TrainingConfig", "calibrate_on", "stored_readings", "Origin", "PredictorTraining",
    "HELD_OUT_CURVES",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name not in _HOME_OF:
        raise AttributeError(f"worldmodel has no {name!r}; it has {', '.join(sorted(_HOME_OF))}")
    return getattr(importlib.import_module(f"worldmodel.{_HOME_OF[name]}"), name)
