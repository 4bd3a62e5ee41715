"""An encoder that learns alone: no actions, a checkpoint that encodes, and a monitor that sees a collapse."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.episodes import write_dot_store
from tests.tiny import TOP
from tests.worldmodel.training.power_cut import Stopped
from worldmodel.checkpoint import load_checkpoint
from worldmodel.clips import StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.errors import TrainingError
from worldmodel.manifest import Manifest
from worldmodel.parts.targets import Momentum
from worldmodel.recipe import Body
from worldmodel.recipes import RECIPES
from worldmodel.training.config import FitConfig
from worldmodel.training.diagnostics import OF_SPREAD, spread_alarms, spread_metrics, spread_shares
from worldmodel.training.fit import fit
from worldmodel.training.loop import Run, TrainingConfig
from worldmodel.training.origin import Origin
from worldmodel.training.predictor_stage import PredictorTraining

TRAINING = TrainingConfig(
    steps=20, batch=8, held_out=0.34, metrics_every_steps=1, evaluate_every_steps=10, save_every_s=0.0
)
NAMES = ("ijepa", "vjepa", "vjepa2", "vjepa2-1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dot_store(tmp_path_factory.mktemp("dots") / "store", episodes=3, steps=30)


def pretrain(store: Path, out: Path, name: str, **changes: Any) -> Manifest | None:
    config = FitConfig(origin=Origin.of_preset(name, "tiny"), training=TRAINING, precision="float32", **changes)
    return fit(EpisodeStore(store), config, out / "run", out / "encoder", {"command": "a test"}, lambda *_: None)


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    pretrain(folder, out, request.param)
    return out / "encoder"


def test_its_checkpoint_encodes_and_does_nothing_else(trained: Path) -> None:
    loaded = load_checkpoint(trained)
    manifest = loaded.manifest
    assert (manifest.action, manifest.planning, manifest.calibration, manifest.heads) == (None, None, None, {})
    assert loaded.encoder is not None and loaded.world_model is None and loaded.policy is None
    assert loaded.encoder.latent_shape == (manifest.latent.tokens, manifest.latent.width) == (16, 32)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_its_record_says_how_far_apart_latents_are(trained: Path) -> None:
    record = load_checkpoint(trained).manifest.training
    assert {"latent_std", *OF_SPREAD} < set(record["held_out"])
    curves = record["curves"]
    assert curves["evaluation_step"] == [10, 20] and len(curves["std_share"]) == 2 and curves["predict_mse"] == []
    assert set(record["probe_r2"]) == {"trained", "random_encoder"}
    losses = [name for name in curves if name.startswith("predict_") or name == "predict"]
    assert losses and all(len(curves[name]) == 20 for name in losses if name != "predict_mse")


def test_killed_and_run_again_it_is_the_same(folder: Path, tmp_path: Path) -> None:
    """Masks are a function of the step, and the standard deviation at random weights is measured again."""
    whole = pretrain(folder, tmp_path / "whole", "vjepa2")

    def stop(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if done == 13:
            raise Stopped

    config = FitConfig(origin=Origin.of_preset("vjepa2", "tiny"), training=TRAINING, precision="float32")
    cut = tmp_path / "cut"
    with pytest.raises(Stopped):
        fit(EpisodeStore(folder), config, cut / "run", cut / "encoder", {}, stop)
    again = pretrain(folder, cut, "vjepa2")
    assert whole is not None and again is not None
    assert again.weights.sha256 == whole.weights.sha256
    assert again.training["curves"] == whole.training["curves"]


def test_it_has_no_predictor_to_train_alone(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="recipe ijepa has no predictor; leave out --predictor-steps"):
        pretrain(folder, tmp_path, "ijepa", predictor=PredictorTraining(steps=5))


def test_clips_without_actions(folder: Path) -> None:
    store = EpisodeStore(folder)
    timing = StepTiming(control_steps=5)
    samplers = [
        ClipSampler(store, store.episodes, clip_frames=3, timing=timing, actions=actions) for actions in (True, False)
    ]
    with_actions, without = (sampler.sample(4, 0, 0) for sampler in samplers)
    assert with_actions.actions is not None and without.actions is None
    assert torch.equal(with_actions.sensors["top"], without.sensors["top"])
    assert without.to(torch.device("cpu")).actions is None


def test_clips_of_one_frame_have_no_steps(folder: Path) -> None:
    store = EpisodeStore(folder)
    clips = ClipSampler(store, store.episodes, clip_frames=1, timing=StepTiming(control_steps=5)).sample(4, 0, 0)
    assert clips.actions is not None and clips.actions.shape == (4, 0, 10) and clips.shape == (4, 1)


HEALTHY = {"std_share": 0.8, "rank_share": 0.6, "cosine_gap_share": 0.3}


def test_healthy_latents_raise_no_alarm() -> None:
    assert spread_alarms(HEALTHY) == []


@pytest.mark.parametrize("metric", HEALTHY)
def test_each_alarm_names_its_metric(metric: str) -> None:
    (alarm,) = spread_alarms({**HEALTHY, metric: 0.05})
    assert alarm.startswith(metric)


def test_shares_are_of_random_weights() -> None:
    untrained = {"latent_std": 0.5, "rank_me": 20.0, "pairwise_cosine": 0.6}
    trained = {"latent_std": 0.1, "rank_me": 5.0, "pairwise_cosine": 0.9}
    assert spread_shares(trained, untrained) == pytest.approx(
        {"std_share": 0.2, "rank_share": 0.25, "cosine_gap_share": 0.25}
    )
    assert set(spread_shares(untrained, untrained).values()) == {1.0}


class TestMonitor:
    """The control: a monitor that no collapse trips proves nothing."""

    def measured(self, folder: Path, out: Path, *, live_target: bool) -> list[str]:
        """Alarms after some steps; a live target is the encoder itself, with gradients and without a norm."""
        store, timing = EpisodeStore(folder), StepTiming(control_steps=1)
        entry, config = RECIPES["vjepa2"], RECIPES["vjepa2"].presets["tiny"]()
        changes = {"momentum": Momentum(first=0.99, last=0.99)}
        if live_target:
            changes = {"target_norm": "none", "momentum": Momentum(first=0.0, last=0.0)}
        torch.manual_seed(0)
        module = entry.module(dataclasses.replace(config, **changes), Body(sensors=(TOP,)))
        if live_target:
            module._targets = lambda pixels: module.encoder(pixels)
        sampler = ClipSampler(store, store.episodes, clip_frames=4, timing=timing, actions=False)
        assert entry.encoder is not None
        encoder, batches = entry.encoder(module), [sampler.sample(64, 1, 0)]
        before = spread_metrics(module, encoder, batches)
        training = TrainingConfig(steps=40, batch=16, learning_rate=2e-3, precision="float32", warm_up=0.1)
        Run(out, module, training, {}).train(sampler, dict)
        shares = spread_shares(spread_metrics(module, encoder, batches), before)
        return spread_alarms({**shares})

    def test_a_live_target_collapses_and_is_seen(self, folder: Path, tmp_path: Path) -> None:
        alarms = self.measured(folder, tmp_path, live_target=True)
        assert [alarm.split()[0] for alarm in alarms] == ["std_share", "rank_share", "cosine_gap_share"]

    def test_a_moving_average_does_not(self, folder: Path, tmp_path: Path) -> None:
        alarms = self.measured(folder, tmp_path, live_target=False)
        assert alarms == []
