"""Imagining with a predictor, held against a loop that runs it over all frames again; rotary and learned positions."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from worldmodel.parts.predictor import Pass, Predictor, PredictorConfig

LATENT, ACTIONS = 16, 4
ROTARY: dict[str, Any] = {"positions": "rotary", "window": 6, "double_norm": False}
PREDICTORS: dict[str, dict[str, Any]] = {
    "rotary": ROTARY,
    "rotary, a window shorter than the clip": {"positions": "rotary", "window": 2},
    "rotary, residual": {"positions": "rotary", "window": 3, "residual": True},
    "learned": {"positions": "learned", "window": 3},
    "learned, a window longer than the clip": {"positions": "learned", "window": 8, "residual": True},
}


def lively_predictor(name: str) -> Predictor:
    """Its gates are open: fresh ones are shut, and the blocks behind them would go untested."""
    torch.manual_seed(0)
    shape = {"width": 32, "depth": 2, "heads": 2, "head_width": 16, "mlp_width": 64, "projector_width": 32}
    predictor = Predictor(PredictorConfig(**{**shape, "dropout": 0.0, **PREDICTORS[name]}), LATENT, ACTIONS)
    for block in predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.5)
    torch.nn.init.normal_(predictor.leaving.weight, std=0.3)
    return predictor.eval()


def clip(frames: int, steps: int) -> tuple[Tensor, Tensor]:
    """Latents [4 frames d] and actions [4 steps a]."""
    generator = Generator().manual_seed(1)
    return (
        torch.randn(4, frames, LATENT, generator=generator),
        torch.rand(4, steps, ACTIONS, generator=generator) * 2 - 1,
    )


def one_by_one(predictor: Predictor, context: Tensor, actions: Tensor) -> Tensor:
    """Each next latent from all that is known by then; learned positions reach over the newest `window` of it."""
    reach = predictor.config.window if predictor.config.positions == "learned" else actions.shape[1]
    known, predicted = list(context.unbind(1)), []
    for step in range(actions.shape[1]):
        first = max(0, step + 1 - reach)
        newest = predictor(torch.stack(known[first : step + 1], dim=1), actions[:, first : step + 1])[:, -1]
        predicted.append(newest)
        if step + 1 == len(known):
            known.append(newest)
    return torch.stack(predicted, dim=1)


@pytest.mark.parametrize("seen", [1, 2, 3])
@pytest.mark.parametrize("name", PREDICTORS)
def test_imagines_as_a_plain_loop_does_with_its_gradients(name: str, seen: int) -> None:
    """Of the frames seen each is predicted from those before it; after them, from what was imagined."""
    predictor, (context, actions) = lively_predictor(name), clip(seen, seen + 3)
    given = [(context.clone().requires_grad_(), actions.clone().requires_grad_()) for _ in range(2)]
    imagined, wanted = predictor.imagine(*given[0]), one_by_one(predictor, *given[1])
    assert imagined.shape == (4, seen + 3, LATENT) and wanted.std() > 0.3
    torch.testing.assert_close(imagined, wanted, rtol=1e-4, atol=1e-5)
    gradients = [
        torch.autograd.grad(each[:, -1].sum(), inputs) for each, inputs in zip((imagined, wanted), given, strict=True)
    ]
    for one, other in zip(*gradients, strict=True):
        assert other.abs().sum() > 0
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("pieces", [(1, 1, 1), (1, 2), (2, 1), (3,)])
@pytest.mark.parametrize("name", PREDICTORS)
@torch.no_grad()
def test_a_pass_in_pieces_is_one_pass(name: str, pieces: tuple[int, ...]) -> None:
    predictor, (latents, actions) = lively_predictor(name), clip(3, 3)
    conditions, begun = predictor.action_encoder(actions), Pass()
    parts = [
        predictor.advance(begun, *part)
        for part in zip(latents.split(pieces, dim=1), conditions.split(pieces, dim=1), strict=True)
    ]
    assert begun.tokens == 3 and len(begun.kept) == 2
    torch.testing.assert_close(torch.cat(parts, dim=1), predictor(latents, actions), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_pass_goes_on_beyond_its_window_where_positions_are_relative() -> None:
    predictor, (latents, actions) = lively_predictor("rotary, a window shorter than the clip"), clip(7, 7)
    conditions, begun = predictor.action_encoder(actions), Pass()
    parts = [predictor.advance(begun, latents[:, k : k + 1], conditions[:, k : k + 1]) for k in range(7)]
    torch.testing.assert_close(torch.cat(parts, dim=1), predictor(latents, actions), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_pass_of_learned_positions_ends_with_its_window() -> None:
    predictor, (latents, actions) = lively_predictor("learned"), clip(3, 3)
    conditions, begun = predictor.action_encoder(actions), Pass()
    predictor.advance(begun, latents, conditions)
    with pytest.raises(ValueError, match="4 frames given; learned positions reach 3"):
        predictor.advance(begun, latents[:, :1], conditions[:, :1])
