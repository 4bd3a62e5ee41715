"""The predictor's own stage, on dynamics that can be learnt."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from tests.worldmodel.latent_store import latent_episodes
from tests.worldmodel.training.power_cut import Stopped
from worldmodel.clips import StepTiming
from worldmodel.data.latents import LatentEpisodes
from worldmodel.errors import DatasetError, TrainingError
from worldmodel.parts.predictor import Predictor, PredictorConfig
from worldmodel.training.predictor_stage import PredictorTraining, StageRun, train_predictor

TIMING = StepTiming(control_steps=2, context_frames=3, horizon=3)
FRAMES = 30
ACTIONS = 2 * TIMING.control_steps


def pushed(folder: Path, episodes: int, seed: int, frames: int = FRAMES) -> LatentEpisodes:
    """Latents that each control step's action moves, in two of their directions; the others rest."""
    generator = Generator().manual_seed(seed)
    actions = torch.rand(episodes, frames, 2, generator=generator) * 2 - 1
    latents = torch.randn(episodes, 1, 16, generator=generator).repeat(1, frames, 1)
    latents[:, 1:, :2] += 0.5 * actions[:, :-1].cumsum(1)
    return latent_episodes(folder / "latents", latents[:, :, None], actions, TIMING)


TRAINING = PredictorTraining(steps=2, batch=64, save_every_s=0.0)


def taught(
    predictor: Predictor,
    data: LatentEpisodes,
    folder: Path,
    training: PredictorTraining = TRAINING,
    *,
    stop_at: int | None = None,
) -> list[float]:
    """The losses; raises Stopped after the step `stop_at`, counted from 0, before it is saved."""
    losses: list[float] = []

    def on_step(step: int, loss: float) -> None:
        losses.append(loss)
        if step == stop_at:
            raise Stopped

    train_predictor(predictor, data, training, StageRun(folder=folder, precision="float32", seed=0, on_step=on_step))
    return losses


def far_error(predictor: Predictor, folder: Path) -> float:
    """The error of the last step imagined, on episodes that nobody learnt from."""
    data, horizon = pushed(folder, 40, seed=1), TIMING.horizon
    starts = FRAMES * torch.arange(40)
    latents = data.clips(starts, horizon + 1).flatten(2)
    with torch.no_grad():
        imagined = predictor.imagine(latents[:, :1], data.actions_between(starts, horizon + 1))
    return float((imagined[:, -1] - latents[:, horizon]).abs().mean())


def test_learns_what_actions_do_further_ahead(tmp_path: Path) -> None:
    predictor = tiny_predictor()
    before = far_error(predictor, tmp_path)
    losses = taught(predictor, pushed(tmp_path, 60, seed=0), tmp_path, PredictorTraining(steps=300, batch=64))
    assert len(losses) == 300 and far_error(predictor, tmp_path) < before / 3
    assert not predictor.training and not any(each.requires_grad for each in predictor.parameters())


def test_tokens_of_a_frame_are_read_side_by_side(tmp_path: Path) -> None:
    """Two tokens of width 8 are learned from as one of width 16."""
    one = pushed(tmp_path, 4, seed=0)
    latents = one.latents[torch.arange(4 * FRAMES)].view(4, FRAMES, 2, 8)
    two = latent_episodes(tmp_path / "latents", latents, one.actions.view(4, FRAMES, 2), TIMING)
    assert two.latents.shape == (2, 8)
    losses = [taught(tiny_predictor(), data, tmp_path / str(k)) for k, data in enumerate((one, two))]
    assert losses[0] == losses[1]


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
    assert taught(predictor, pushed(tmp_path, 4, seed=0), tmp_path, PredictorTraining(steps=0)) == []
    assert all(torch.equal(before[name], value) for name, value in predictor.state_dict().items())


def test_stopped_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Losses too, so nothing is learnt from twice; and once it has ended there is nothing left to do."""
    training = dataclasses.replace(TRAINING, steps=8)
    whole, cut, again, last = (tiny_predictor() for _ in range(4))
    data = pushed(tmp_path, 4, seed=0)
    losses = taught(whole, data, tmp_path / "whole", training)
    with pytest.raises(Stopped):
        taught(cut, data, tmp_path / "cut", training, stop_at=5)
    assert taught(again, data, tmp_path / "cut", training) == losses[5:]
    assert taught(last, data, tmp_path / "cut", training) == []
    for other in (again, last):
        assert all(map(torch.equal, weights(whole), weights(other)))


def weights(predictor: Predictor) -> list[Tensor]:
    return list(predictor.state_dict().values())


@pytest.mark.parametrize("change", [{"steps": 3}, {"batch": 32}, {"learning_rate": 1e-4}])
def test_with_other_settings_what_was_saved_is_not_gone_on_with(change: dict[str, float], tmp_path: Path) -> None:
    taught(tiny_predictor(), pushed(tmp_path, 4, seed=0), tmp_path)
    with pytest.raises(DatasetError, match="other settings"):
        taught(tiny_predictor(), pushed(tmp_path, 4, seed=0), tmp_path, dataclasses.replace(TRAINING, **change))


def test_episodes_just_long_enough_are_learnt_from(tmp_path: Path) -> None:
    frames = TIMING.frames_spanned(TIMING.context_frames + TIMING.horizon)
    assert len(taught(tiny_predictor(), pushed(tmp_path, 4, seed=0, frames=frames), tmp_path)) == 2


def test_a_loss_that_is_no_number_stops_it(tmp_path: Path) -> None:
    data = pushed(tmp_path, 4, seed=0)
    wrong = dataclasses.replace(data, actions=torch.full_like(data.actions, torch.nan))
    with pytest.raises(TrainingError, match="loss is not finite at step 1; lower the learning rate"):
        taught(tiny_predictor(), wrong, tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


def test_batch_norm_keeps_its_statistics(tmp_path: Path) -> None:
    """A planner's batches are not a training's: what was measured with the encoder stays."""
    predictor = tiny_predictor()
    statistics = {name: value.clone() for name, value in predictor.named_buffers()}
    taught(predictor, pushed(tmp_path, 4, seed=0), tmp_path)
    assert statistics and all(torch.equal(statistics[name], value) for name, value in predictor.named_buffers())


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="steps=-1 must be at least 0"):
        PredictorTraining(steps=-1)
