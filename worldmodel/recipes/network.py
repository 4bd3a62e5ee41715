"""The networks of LeWorldModel, which its baselines use too, so that only the losses differ."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from worldmodel.parts.encoders import ConvConfig
from worldmodel.parts.frames import FrameConfig
from worldmodel.parts.predictor import Predictor, PredictorConfig
from worldmodel.parts.world_model import CausalWorldModel

C = TypeVar("C", bound=FrameConfig)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(FrameConfig):
    """An encoder of frames and a predictor of the next frame. Defaults are the published ones: 18.0 M parameters."""

    predictor: PredictorConfig = field(default_factory=PredictorConfig)


def imagining(module: Any) -> CausalWorldModel:
    """The world model of a module with `predictor` and `sensors`."""
    return CausalWorldModel(module.predictor, len(module.sensors))


def make_predictor(config: NetworkConfig, tokens: int, action_width: int) -> Predictor:
    """A predictor that reads the tokens of a frame side by side."""
    return Predictor(config.predictor, tokens * config.latent_width, action_width, tokens)


SMALL: Mapping[str, Any] = {
    "pixel_mean": (0.5, 0.5, 0.5),
    "pixel_std": (0.5, 0.5, 0.5),
    "latent_width": 64,
    "clip_frames": 6,
    "encoder": ConvConfig(),
    "projector_width": 512,
    "predictor": PredictorConfig(
        width=128,
        depth=3,
        heads=2,
        mlp_width=512,
        projector_width=512,
        action_bottleneck=32,
        dropout=0.0,
        positions="rotary",
        window=6,
        double_norm=False,
    ),
}
"""Trains on two CPU cores in under an hour and plans in tens of milliseconds."""

TINY: Mapping[str, Any] = {
    "pixel_mean": (0.5, 0.5, 0.5),
    "pixel_std": (0.5, 0.5, 0.5),
    "latent_width": 16,
    "clip_frames": 4,
    "encoder": ConvConfig(channels=(8, 16), kernels=(4, 3), strides=(4, 2), groups=4),
    "projector_width": 32,
    "predictor": PredictorConfig(
        width=32,
        depth=2,
        heads=2,
        head_width=16,
        mlp_width=64,
        projector_width=32,
        action_bottleneck=8,
        dropout=0.0,
        positions="rotary",
        window=4,
        double_norm=False,
    ),
}
"""For tests: learns next to nothing, in milliseconds."""


def presets(config: Callable[..., C], **tiny: Any) -> dict[str, Callable[[], C]]:
    """`paper`, `small` and `tiny` of a recipe on these networks; `tiny` sets more fields of the one for tests.

    A recipe without a predictor leaves that field out.
    """
    known = {each.name for each in dataclasses.fields(config)}  # type: ignore[arg-type]
    small, least = ({key: value for key, value in each.items() if key in known} for each in (SMALL, TINY))
    return {
        "paper": config,
        "small": functools.partial(config, **small),
        "tiny": functools.partial(config, **{**least, **tiny}),
    }
