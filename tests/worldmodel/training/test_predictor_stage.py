"""The predictor's own stage, held against the plain rollout and on dynamics that can be learnt."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor
from worldmodel.data.latent_episodes import LatentEpisodes

from tests.worldmodel.power_cut import Stopped
from worldmodel.clips import frames_spanned
from worldmodel.errors import DatasetError, TrainingError
from worldmodel.parts.predictor import Predictor, PredictorConfig
from worldmodel.parts.rollout import naive_rollout
from worldmodel.training.predictor_stage import ImaginationTraining, fit_imagination, imagine

CONTEXT, HORIZON, CONTROL_STEPS, FRAMES = 3, 3, 2, 30
ACTIONS = 2 * CONTROL_STEPS


def lively_predictor(**changes: object) -> Predictor:
    """Whose gates are open: fresh ones are shut, and whatever is behind them would go untested."""
    torch.manual_seed(0)
    shape = {"width": 32, "depth": 2, "heads": 2, "head_width": 16, "mlp_width": 64, "projector_width": 32}
    config = PredictorConfig(**{**shape, "dropout": 0.0, **changes})  # type: ignore[arg-type]
    predictor = Predictor(config, 16, ACTIONS)
    for block in predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.5)
    return predictor.eval()


@pytest.mark.parametrize("seen", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {"positions": "rotary", "window": 6, "double_norm": False},
        {"positions": "rotary", "window": 2, "residual": True},
        {"positions": "learned", "window": 3},
    ],
)
@torch.no_grad()
def test_imagines_as_the_plain_rollout_does(changes: dict[str, object], seen: int) -> None:
    predictor = lively_predictor(**changes)
    generator = Generator().manual_seed(0)
    context = torch.randn(4, seen, 16, generator=generator)
    actions = torch.rand(4, seen - 1 + HORIZON, ACTIONS, generator=generator) * 2 - 1
    said = imagine(predictor, context, actions)
    assert said.shape == (4, seen - 1 + HORIZON, 16)
    told = predictor(context, actions[:, :seen])
    torch.testing.assert_close(said[:, :seen], told, rtol=1e-4, atol=1e-5)
    wanted = naive_rollout(predictor, context, actions[:, : seen - 1], actions[:, None, seen - 1 :])[:, 0]
    torch.testing.assert_close(said[:, seen - 1 :], wanted, rtol=1e-4, atol=1e-5)


def pushed(episodes: int, seed: int, frames: int = FRAMES) -> tuple[LatentEpisodes, Tensor]:
    """Latents that each control step's action moves, in two of their directions; the others rest."""
    generator = Generator().manual_seed(seed)
    actions = torch.rand(episodes, frames, 2, generator=generator) * 2 - 1
    latents = torch.randn(episodes, 1, 16, generator=generator).repeat(1, frames, 1)
    latents[:, 1:, :2] += 0.5 * actions[:, :-1].cumsum(1)
    rows = torch.arange(episodes * frames)
    return LatentEpisodes(latents.flatten(0, 1), (rows // frames + 1) * frames - 1), actions.flatten(0, 1)


TRAINING = ImaginationTraining(steps=2, batch=64, save_every_s=0.0)


def taught(
    predictor: Predictor,
    data: LatentEpisodes,
    actions: Tensor,
    folder: Path,
    training: ImaginationTraining = TRAINING,
    *,
    stop_at: int | None = None,
) -> list[float]:
    """The losses; raises Stopped after the step `stop_at`, counted from 0, before it is saved."""
    losses: list[float] = []

    def on_step(step: int, loss: float) -> None:
        losses.append(loss)
        if step == stop_at:
            raise Stopped

    fit_imagination(
        predictor,
        data,
        actions,
        training,
        context=CONTEXT,
        horizon=HORIZON,
        control_steps=CONTROL_STEPS,
        precision="float32",
        seed=0,
        folder=folder,
        on_step=on_step,
    )
    return losses


def far_error(predictor: Predictor) -> float:
    """Of the last step imagined, on episodes that nobody learnt from."""
    data, actions = pushed(40, seed=1)
    latents = data.latents.unflatten(0, (40, FRAMES))[:, ::CONTROL_STEPS]
    done = actions.unflatten(0, (40, FRAMES)).unflatten(1, (-1, CONTROL_STEPS)).flatten(2)[:, :HORIZON]
    with torch.no_grad():
        return float((imagine(predictor, latents[:, :1], done)[:, -1] - latents[:, HORIZON]).abs().mean())


def test_learns_what_actions_do_further_ahead(tmp_path: Path) -> None:
    predictor = tiny_predictor()
    before = far_error(predictor)
    losses = taught(predictor, *pushed(60, seed=0), tmp_path, ImaginationTraining(steps=300, batch=64))
    assert len(losses) == 300 and far_error(predictor) < before / 3
    assert not predictor.training and not any(each.requires_grad for each in predictor.parameters())


def tiny_predictor() -> Predictor:
    torch.manual_seed(0)
    config = PredictorConfig(
        width=32, depth=2, heads=2, head_width=16, mlp_width=64, projector_width=32, action_bottleneck=8, dropout=0.0,
        positions="rotary", window=4, double_norm=False, residual=True,
    )  # fmt: skip
    return Predictor(config, 16, ACTIONS)


def test_no_steps_change_nothing(tmp_path: Path) -> None:
    predictor = tiny_predictor()
    before = copy.deepcopy(predictor.state_dict())
    assert taught(predictor, *pushed(4, seed=0), tmp_path, ImaginationTraining(steps=0)) == []
    assert all(torch.equal(before[name], value) for name, value in predictor.state_dict().items())


def test_stopped_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Losses too, so nothing is learnt from twice; and once it has ended there is nothing left to do."""
    training = dataclasses.replace(TRAINING, steps=8)
    whole, cut, again, last = (tiny_predictor() for _ in range(4))
    data = pushed(4, seed=0)
    losses = taught(whole, *data, tmp_path / "whole", training)
    with pytest.raises(Stopped):
        taught(cut, *data, tmp_path / "cut", training, stop_at=5)
    assert taught(again, *data, tmp_path / "cut", training) == losses[5:]
    assert taught(last, *data, tmp_path / "cut", training) == []
    for other in (again, last):
        assert all(map(torch.equal, weights(whole), weights(other)))


def weights(predictor: Predictor) -> list[Tensor]:
    return list(predictor.state_dict().values())


@pytest.mark.parametrize("change", [{"steps": 3}, {"batch": 32}, {"learning_rate": 1e-4}])
def test_with_other_settings_what_was_saved_is_not_gone_on_with(change: dict[str, float], tmp_path: Path) -> None:
    taught(tiny_predictor(), *pushed(4, seed=0), tmp_path)
    with pytest.raises(DatasetError, match="other settings"):
        taught(tiny_predictor(), *pushed(4, seed=0), tmp_path, dataclasses.replace(TRAINING, **change))


def test_episodes_just_long_enough_are_learnt_from(tmp_path: Path) -> None:
    data, actions = pushed(4, seed=0, frames=frames_spanned(CONTEXT + HORIZON, CONTROL_STEPS))
    assert len(taught(tiny_predictor(), data, actions, tmp_path)) == 2


def test_a_loss_that_is_no_number_stops_it(tmp_path: Path) -> None:
    data, actions = pushed(4, seed=0)
    with pytest.raises(TrainingError, match="loss is not finite at step 1; lower the learning rate"):
        taught(tiny_predictor(), data, torch.full_like(actions, torch.nan), tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_batch_norm_keeps_its_statistics(tmp_path: Path) -> None:
    """A planner's batches are not a training's: what was measured with the encoder stays."""
    predictor = tiny_predictor()
    statistics = {name: value.clone() for name, value in predictor.named_buffers()}
    taught(predictor, *pushed(4, seed=0), tmp_path)
    assert statistics and all(torch.equal(statistics[name], value) for name, value in predictor.named_buffers())


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="steps=-1 must be at least 0"):
        ImaginationTraining(steps=-1)
