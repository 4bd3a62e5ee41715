"""Requests that warm up a model and measure its speed before it is served: small ones and a large one."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from planner.presets import PRESETS
from server import schemas
from server.engine.presets import SEARCHING
from server.engine.question import planning_spec
from server.engine.registry import ServedModel
from server.settings import Settings
from worldmodel import SensorSpec

_SIDE_PX = 64
_SHADES = (0.25, 0.5, 0.75)
"""Shades of grey, one for each request, so that no frame is in the cache."""


def warm_up_plans(model: ServedModel, settings: Settings) -> Iterator[schemas.PlanRequest]:
    """A small plan, a large one if the model searches, and a small one again; none for a model that only encodes."""
    if not model.plans:
        return
    small = schemas.PlannerConfig()
    large = small if model.checkpoint.world_model is None else _large(model, settings)
    for shade, planner in zip(_SHADES, (small, large, small), strict=True):
        seen = _observation(model, shade)
        goals = [schemas.Goal(observation=seen)]
        yield schemas.PlanRequest(model=_ref(model), context=[seen], goals=goals, planner=planner)


def warm_up_clips(model: ServedModel) -> Iterator[schemas.EncodeRequest]:
    """Single observations to encode, for a model that only encodes."""
    for shade in () if model.plans else _SHADES:
        yield schemas.EncodeRequest(model=_ref(model), observations=[_observation(model, shade)])


def _ref(model: ServedModel) -> schemas.ModelRef:
    return schemas.ModelRef(name=model.manifest.name)


def _large(model: ServedModel, settings: Settings) -> schemas.PlannerConfig:
    """Plan with as many candidates as a full batch has or one request may have."""
    most = min(settings.max_batch_candidates, settings.max_samples)
    most = min(most, settings.max_imagined_steps // (2 * planning_spec(model.checkpoint).horizon))
    wide = most > PRESETS[SEARCHING].candidates
    return schemas.PlannerConfig(num_samples=most if wide else None, max_iterations=min(2, settings.max_iterations))


def _observation(model: ServedModel, shade: float) -> schemas.Observation:
    """Observation with a grey image from each camera, and each vector at the share `shade` of its range."""
    image = schemas.Image(encoded=_png(round(255 * shade)), format="png")
    sensors = model.manifest.sensors
    return schemas.Observation(
        images={spec.name: image for spec in sensors if spec.kind == "camera"},
        arrays={spec.name: _within(spec, shade) for spec in sensors if spec.kind == "vector"},
    )


def _within(spec: SensorSpec, shade: float) -> np.ndarray:
    return np.asarray(spec.low) * (1 - shade) + np.asarray(spec.high) * shade


def _png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (_SIDE_PX, _SIDE_PX), grey).save(file, format="png")
    return file.getvalue()
