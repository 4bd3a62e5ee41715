"""Configurations check themselves: a model that cannot work is never built."""

import dataclasses

import pytest

from worldmodel.heads.steps_to_go import StepsToGoConfig
from worldmodel.parts.encoders import ConvConfig, ViTConfig
from worldmodel.parts.predictor import PredictorConfig
from worldmodel.recipes.gcbc import GCBCConfig
from worldmodel.recipes.lewm import LeWMConfig
from worldmodel.recipes.pldm import PLDMConfig
from worldmodel.training.loop import TrainingConfig

WRONG = [
    (ConvConfig, {"groups": 0}),
    (ConvConfig, {"kernels": (4, 3)}),
    (ConvConfig, {"strides": (4, 0, 2)}),
    (ConvConfig, {"channels": ()}),
    (ConvConfig, {"channels": (12,)}),
    (ViTConfig, {"patch": 0}),
    (ViTConfig, {"depth": 10**9}),
    (ViTConfig, {"heads": 5}),
    (PredictorConfig, {"width": -1}),
    (PredictorConfig, {"window": 0}),
    (PredictorConfig, {"dropout": 1.5}),
    (PredictorConfig, {"head_width": 7, "positions": "rotary"}),
    (LeWMConfig, {"clip_frames": 1}),
    (LeWMConfig, {"sigreg_weight": -0.1}),
    (LeWMConfig, {"smoothness_weight": -0.1}),
    (LeWMConfig, {"inverse_weight": -0.1}),
    (LeWMConfig, {"inverse_width": 0}),
    (LeWMConfig, {"rollout_weight": -0.1}),
    (LeWMConfig, {"twin_weight": -0.1}),
    (LeWMConfig, {"rollout_weight": 0.1, "clip_frames": 2}),
    (LeWMConfig, {"pixel_std": (0.5, 0.0, 0.5)}),
    (LeWMConfig, {"latent_width": 0}),
    (LeWMConfig, {"projector_width": 0}),
    (PLDMConfig, {"covariance_weight": -0.1}),
    (GCBCConfig, {"policy_width": 0}),
    (StepsToGoConfig, {"longest": 0.0}),
    (TrainingConfig, {"steps": -1}),
    (TrainingConfig, {"batch": 1}),
]


@pytest.mark.parametrize(("config", "wrong"), WRONG, ids=[f"{c.__name__}-{next(iter(w))}" for c, w in WRONG])
def test_a_wrong_value_is_named_and_shown(config: type, wrong: dict) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=name) as caught:
        config(**wrong)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    "config", list(dict.fromkeys(config for config, _ in WRONG)), ids=lambda config: config.__name__
)
def test_configurations_are_frozen_and_refuse_unknown_names(config: type) -> None:
    made = config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(made)[0].name, 1)
    with pytest.raises(TypeError):
        config(widht=1)
