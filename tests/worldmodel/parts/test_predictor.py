"""The predictor sees the past and never the future, and takes each action where it was taken."""

from typing import Literal

import pytest
import torch
from torch import Generator, Tensor

from worldmodel.observation import SensorSpec
from worldmodel.parts.predictor import Predictor, PredictorConfig, band
from worldmodel.recipe import Body
from worldmodel.recipes.lewm import LeWM, paper

LATENT, ACTION = 6, 4
Positions = Literal["learned", "rotary"]
SMALL = {
    "width": 16,
    "depth": 2,
    "heads": 2,
    "head_width": 8,
    "mlp_width": 32,
    "projector_width": 16,
    "action_bottleneck": 4,
    "dropout": 0.0,
}


def make(
    positions: Positions, window: int, *, depth: int = 2, double_norm: bool = False, residual: bool = False
) -> Predictor:
    torch.manual_seed(0)
    config = PredictorConfig(
        **{**SMALL, "depth": depth}, positions=positions, window=window, double_norm=double_norm, residual=residual
    )
    predictor = Predictor(config, LATENT, ACTION)
    for block in predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.3)
    torch.nn.init.normal_(predictor.head[-1].weight, std=0.3)
    return predictor.eval().requires_grad_(False)


def sequence(steps: int) -> tuple[Tensor, Tensor]:
    generator = Generator().manual_seed(1)
    return torch.randn(3, steps, LATENT, generator=generator), torch.randn(3, steps, ACTION, generator=generator)


def changed_steps(before: Tensor, after: Tensor) -> list[bool]:
    return [not torch.allclose(before[:, step], after[:, step], atol=1e-6) for step in range(before.shape[1])]


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("changed", range(5))
def test_an_action_changes_its_own_prediction_and_later_ones_only(positions: Positions, changed: int) -> None:
    predictor = make(positions, window=5)
    latents, actions = sequence(5)
    other = actions.clone()
    other[:, changed] += 1
    assert changed_steps(predictor(latents, actions), predictor(latents, other)) == [
        step >= changed for step in range(5)
    ]


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("changed", range(5))
def test_a_frame_changes_its_own_prediction_and_later_ones_only(positions: Positions, changed: int) -> None:
    predictor = make(positions, window=5)
    latents, actions = sequence(5)
    other = latents.clone()
    other[:, changed] += 1
    assert changed_steps(predictor(latents, actions), predictor(other, actions)) == [
        step >= changed for step in range(5)
    ]


def test_an_action_modulates_its_own_position_only() -> None:
    """With a window of one token there is no other way for an action to be felt."""
    predictor = make("rotary", window=1)
    latents, actions = sequence(5)
    other = actions.clone()
    other[:, 2] += 1
    assert changed_steps(predictor(latents, actions), predictor(latents, other)) == [
        False,
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("window", [1, 2, 3])
def test_one_block_sees_its_window_and_no_further(window: int) -> None:
    predictor = make("rotary", window=window, depth=1)
    latents, actions = sequence(6)
    other = latents.clone()
    other[:, 0] += 1
    assert changed_steps(predictor(latents, actions), predictor(other, actions)) == [step < window for step in range(6)]


def test_band_is_causal_and_as_wide_as_the_window() -> None:
    assert band(4, 2, torch.device("cpu")).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


def test_rotary_predictions_do_not_depend_on_where_the_clip_starts() -> None:
    """The last prediction of a window-wide clip is the same with older frames, once no block can see them."""
    predictor = make("rotary", window=3, depth=1)
    latents, actions = sequence(8)
    torch.testing.assert_close(predictor(latents, actions)[:, -1], predictor(latents[:, -3:], actions[:, -3:])[:, -1])


def test_learned_positions_refuse_what_they_cannot_reach() -> None:
    with pytest.raises(ValueError, match="4 frames given; learned positions reach 3"):
        make("learned", window=3)(*sequence(4))


def test_a_new_predictor_ignores_actions() -> None:
    """AdaLN-zero: every block starts as the identity, so training starts from a calm place."""
    torch.manual_seed(0)
    predictor = Predictor(PredictorConfig(**SMALL), LATENT, ACTION).eval()
    latents, actions = sequence(3)
    assert torch.equal(predictor(latents, actions), predictor(latents, -actions))


def test_a_new_residual_predictor_expects_that_all_rests() -> None:
    torch.manual_seed(0)
    latents, actions = sequence(3)
    predictor = Predictor(PredictorConfig(**SMALL, residual=True), LATENT, ACTION).eval()
    assert torch.equal(predictor(latents, actions), latents)


def test_a_residual_predictor_adds_what_another_one_with_its_weights_predicts() -> None:
    residual, plain = make("rotary", 5, residual=True), make("rotary", 5)
    weights = {name.replace("change.", "leave."): value for name, value in residual.state_dict().items()}
    plain.load_state_dict(weights)
    latents, actions = sequence(4)
    torch.testing.assert_close(residual(latents, actions), latents + plain(latents, actions))


def test_dropout_is_drawn_in_training_only() -> None:
    torch.manual_seed(0)
    predictor = Predictor(PredictorConfig(**{**SMALL, "dropout": 0.5}), LATENT, ACTION)
    inputs = sequence(3)
    assert not torch.equal(predictor(*inputs), predictor(*inputs))
    predictor.eval()
    assert torch.equal(predictor(*inputs), predictor(*inputs))


def test_the_published_model_has_exactly_its_number_of_parameters() -> None:
    camera = SensorSpec(name="top", kind="camera", shape=(224, 224, 3))
    with torch.device("meta"):
        recipe = LeWM(paper(), Body(sensors=(camera,), action_width=10))
    assert sum(parameter.numel() for parameter in recipe.parameters()) == 18_034_478
