"""Collapse alarms and probes, on data whose answer is known."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from tests.episodes import write_dot_store
from tests.tiny import tiny_body, tiny_recipe
from worldmodel.clips import Clips, StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.heads.probes import probe_r2
from worldmodel.parts.rollout import naive_rollout
from worldmodel.recipes.lewm import LeWM, tiny
from worldmodel.recipes.network import imagining
from worldmodel.training.diagnostics import collapse_alarms, effective_rank, held_out_metrics, pairwise_cosine, rank_me
from worldmodel.training.loop import Run, TrainingConfig


def noise(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=Generator().manual_seed(seed))


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_counts_equally_strong_directions(rank: int) -> None:
    directions = torch.linalg.qr(noise(20, rank)).Q
    latents = torch.linalg.qr(noise(4000, rank, 1)).Q @ directions.T + 5
    assert effective_rank(latents) == pytest.approx(rank, rel=0.01)


def test_effective_rank_of_white_latents_is_their_width() -> None:
    assert effective_rank(noise(4000, 32)) == pytest.approx(32, rel=0.02)


def test_effective_rank_knows_no_scale_and_survives_collapse_to_a_point() -> None:
    """That is why it never stands alone: the latents' standard deviation is reported beside it."""
    latents = noise(500, 8)
    assert effective_rank(1e-4 * latents) == pytest.approx(effective_rank(latents), rel=1e-3)
    assert effective_rank(torch.full((50, 8), 3.0)) == 1


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_rank_me_counts_equally_long_directions(rank: int) -> None:
    directions = torch.linalg.qr(noise(20, rank)).Q
    assert rank_me(torch.linalg.qr(noise(400, rank, 1)).Q @ directions.T) == pytest.approx(rank, rel=0.01)


def test_pairwise_cosine_is_the_mean_over_pairs() -> None:
    features = noise(9, 4) + 0.5
    pairs = [
        float(torch.cosine_similarity(features[i], features[j], dim=0)) for i in range(9) for j in range(9) if i != j
    ]
    assert pairwise_cosine(features) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    assert pairwise_cosine(torch.ones(5, 3) * torch.arange(1, 6)[:, None]) == pytest.approx(1)
    assert pairwise_cosine(noise(2000, 32)) == pytest.approx(0, abs=0.01)


def test_a_linear_function_is_read_perfectly() -> None:
    x, x_test = noise(300, 10), noise(100, 10, 1)
    matrix = noise(10, 2, 2)
    scores = probe_r2(x, x @ matrix + 3, x_test, x_test @ matrix + 3)
    assert scores.tolist() == pytest.approx([1, 1], abs=1e-4)


def test_noise_is_not_read_from_held_out_rows() -> None:
    """A probe judged on the rows that it was fitted on would score well above 0 here."""
    x, y, x_test, y_test = noise(60, 30), noise(60, 4, 1), noise(500, 30, 2), noise(500, 4, 3)
    assert (probe_r2(x, y, x_test, y_test) < 0.05).all()
    assert (probe_r2(x, y, x, y) > 0.3).all()


def test_probes_rescale_and_so_cannot_see_a_collapse_of_scale() -> None:
    x, x_test = 1e-5 * noise(300, 5), 1e-5 * noise(100, 5, 1)
    assert float(probe_r2(x, x[:, :1], x_test, x_test[:, :1])) > 0.99


def test_a_feature_that_does_not_vary_scores_zero() -> None:
    y = torch.full((50, 1), 7.0)
    assert probe_r2(noise(50, 3), y, noise(50, 3, 1), y).tolist() == [0]


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> ClipSampler:
    store = EpisodeStore(write_dot_store(tmp_path_factory.mktemp("dots") / "store"))
    return ClipSampler(store, store.episodes, clip_frames=4, timing=StepTiming(control_steps=5))


def measured(recipe: LeWM, batch: Clips) -> dict[str, float]:
    return held_out_metrics(recipe, recipe, imagining(recipe), [batch])


def test_held_out_metrics_are_what_their_names_say(sampler: ClipSampler) -> None:
    recipe = tiny_recipe()
    batch = sampler.sample(10, 0, 0)
    metrics = measured(recipe, batch)
    recipe.eval()
    with torch.no_grad():
        assert batch.actions is not None
        z = recipe.encode(batch.frames).tokens.flatten(1).unflatten(0, (10, 4))
        predicted = recipe.predictor(z[:, :-1], batch.actions)
        shuffled = recipe.predictor(z[:, :-1], batch.actions.roll(5, 0))
        imagined = naive_rollout(recipe.predictor, z[:, :1], batch.actions[:, :0], batch.actions[:, None])[:, 0]
    wanted = {
        "predict_mse": predicted - z[:, 1:],
        "copy_mse": z[:, :-1] - z[:, 1:],
        "shuffled_mse": shuffled - z[:, 1:],
        "open_loop_mse": imagined[:, -1] - z[:, -1],
        "copy_open_loop_mse": z[:, 0] - z[:, -1],
    }
    for name, error in wanted.items():
        assert metrics[name] == pytest.approx(float(error.square().mean()), rel=1e-4), name
    assert metrics["latent_std"] == pytest.approx(float(z.flatten(0, 1).std(0).mean()), rel=1e-4)


def test_measuring_leaves_the_recipe_in_training_with_its_statistics(sampler: ClipSampler) -> None:
    """One evaluation in training mode would spoil BatchNorm's running statistics."""
    recipe = tiny_recipe().train()
    before = {key: value.clone() for key, value in recipe.state_dict().items()}
    measured(recipe, sampler.sample(8, 0, 0))
    assert recipe.training
    assert all(torch.equal(value, before[key]) for key, value in recipe.state_dict().items())


def test_without_a_world_model_only_the_latents_are_measured(sampler: ClipSampler) -> None:
    recipe, batch = tiny_recipe(), sampler.sample(10, 0, 0)
    everything = measured(recipe, batch)
    alone = held_out_metrics(recipe, recipe, None, [batch])
    assert alone == {name: everything[name] for name in ("latent_std", "effective_rank")}
    assert collapse_alarms({**alone, "latent_std": 1.0, "effective_rank": 16.0}, latent_size=16) == []


def trained_std(sampler: ClipSampler, sigreg_weight: float, folder: Path) -> float:
    """Spread of the latents after 120 steps."""
    torch.manual_seed(0)
    recipe = LeWM(dataclasses.replace(tiny(), sigreg_weight=sigreg_weight), tiny_body())
    config = TrainingConfig(steps=120, batch=16, precision="float32", evaluate_every_steps=1000, warm_up=0.1)
    Run(folder, recipe, config, {}).train(sampler, lambda: {})
    return measured(recipe, sampler.sample(64, 1, 0))["latent_std"]


def test_without_sigreg_the_latents_collapse(sampler: ClipSampler, tmp_path: Path) -> None:
    """The control: if predicting alone did not collapse, then the alarm above would prove nothing."""
    regularised = trained_std(sampler, tiny().sigreg_weight, tmp_path / "regularised")
    alone = trained_std(sampler, 0.0, tmp_path / "alone")
    assert regularised > 0.4
    assert alone < 0.3 * regularised


HEALTHY = {"latent_std": 0.98, "effective_rank": 50.0, "predict_mse": 0.01, "copy_mse": 1.0}


def test_a_healthy_model_raises_no_alarm() -> None:
    assert collapse_alarms(HEALTHY, latent_size=64) == []


@pytest.mark.parametrize(
    ("metric", "value"), [("latent_std", 0.05), ("latent_std", 2.0), ("effective_rank", 21.0), ("predict_mse", 0.6)]
)
def test_each_alarm_names_its_metric(metric: str, value: float) -> None:
    (alarm,) = collapse_alarms({**HEALTHY, metric: value}, latent_size=64)
    assert alarm.startswith(metric)
