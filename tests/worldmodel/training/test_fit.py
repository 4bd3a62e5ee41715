"""From a store to a checkpoint; killed in the middle, and nothing is lost."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.episodes import write_dot_store
from tests.worldmodel.training.train_dot import CONFIG, STEPS, train_dot
from worldmodel.checkpoint import load_checkpoint
from worldmodel.clips import StepTiming
from worldmodel.data.episodes import EpisodeStore
from worldmodel.errors import DatasetError, TrainingError
from worldmodel.heads.task_distance import Tolerance
from worldmodel.manifest import Manifest
from worldmodel.observation import ObservationBatch, SensorSpec
from worldmodel.recipe import Latents
from worldmodel.training.fit import fit
from worldmodel.training.loop import TrainingConfig
from worldmodel.training.origin import Origin


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dot_store(tmp_path_factory.mktemp("dots") / "store")


class TrainedDot:
    """A run that nobody interrupted."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.run, self.out = folder / "run", folder / "dot"
        self.stages: list[tuple[str, int, int]] = []
        self.manifest = train_dot(store, self.run, self.out, lambda *step: self.stages.append(step[:3]))


@pytest.fixture(scope="module")
def trained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedDot:
    return TrainedDot(store, tmp_path_factory.mktemp("trained"))


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_loss_falls(trained: TrainedDot) -> None:
    totals = [row["predict"] + row["sigreg"] for row in rows(trained.run)]
    assert len(totals) == STEPS
    assert np.mean(totals[-10:]) < 0.6 * np.mean(totals[:10])


def test_the_checkpoint_loads_and_plans(trained: TrainedDot) -> None:
    loaded = load_checkpoint(trained.out)
    assert loaded.manifest == Manifest.from_json(trained.manifest.to_json())
    frames = ObservationBatch({"top": torch.zeros(3, 32, 32, 3, dtype=torch.uint8)})
    assert loaded.encoder is not None and loaded.world_model is not None and loaded.policy is not None
    latents = loaded.encoder.encode(frames).tokens[None]  # [1 3 1 d]
    begun = loaded.world_model.begin(Latents(latents), torch.zeros(1, 2, 10))
    future = loaded.world_model.rollout(begun, torch.zeros(1, 4, 5, 10))
    assert [(name, weight) for name, (weight, _) in loaded.distances.items()] == [
        ("steps_to_go", 1.0),
        ("task_distance", 3.0),
    ]
    for _, distance in loaded.distances.values():
        measured = distance(future, latents[:, 0])
        assert measured.shape == (1, 4, 5) and measured.isfinite().all()
    actions = loaded.policy(latents[:, :1], latents[:, 2])
    assert actions.shape == (1, 1, 10) and actions.abs().max() <= 1


def test_the_manifest_carries_its_evidence(trained: TrainedDot) -> None:
    manifest, record = trained.manifest, trained.manifest.training
    assert (manifest.name, manifest.recipe, manifest.task) == ("dot", "lewm", "tests/Dot-v0")
    assert manifest.action.names == ("x", "y") and manifest.action.low == (-2.0, 0.0)
    assert (manifest.action.dt_s, manifest.action.control_steps, manifest.action.width) == (0.1, 5, 10)
    assert manifest.sensors == (SensorSpec(name="top", kind="camera", shape=(32, 32, 3)),)
    assert (manifest.latent.tokens, manifest.latent.width) == (1, 16) and manifest.parents == ()
    assert (manifest.planning.context_frames, manifest.planning.horizon) == (3, 5)
    assert manifest.planning.goal_distance_scale > 0
    assert list(manifest.heads) == ["steps_to_go", "inverse_dynamics", "task_distance"]
    assert record["predictor"]["steps"] == 0
    assert record["command"] == "train_dot" and record["config"]["steps"] == STEPS
    assert record["episodes"] == {"train": 9, "held_out": 3}
    curves = record["curves"]
    assert curves["step"][0] == 1 and len(curves["predict"]) == len(curves["sigreg"]) == len(curves["step"])
    assert curves["evaluation_step"] == [50, 100] and len(curves["effective_rank"]) == 2
    assert record["held_out"]["step"] == STEPS and record["held_out"]["copy_mse"] > 0


def test_the_alarm_is_calibrated_on_held_out_transitions(trained: TrainedDot) -> None:
    surprise = trained.manifest.calibration
    assert len(surprise.quantiles) == 101 and list(surprise.quantiles) == sorted(surprise.quantiles)
    assert surprise.threshold == surprise.quantiles[99]
    assert surprise.transitions == 2 * 128 * 2, "63 different clips, drawn four times or a little more often"


def test_probes_are_compared_with_an_untrained_encoder(trained: TrainedDot) -> None:
    """A feature that never varied once made the scores, and then the manifest, not a number."""
    probes = trained.manifest.training["probe_r2"]
    assert set(probes) == {"trained", "random_encoder"}
    for scores in probes.values():
        assert set(scores) == {"x", "y", "constant"} and scores["constant"] == 0
        assert all(np.isfinite(score) and score <= 1 for score in scores.values())


def test_what_the_task_distance_reads_is_held_against_what_was_recorded(trained: TrainedDot) -> None:
    (name,), (error,) = zip(*trained.manifest.training["task_error"].items(), strict=True)
    assert name == "x,y" and 0 < error < 10


def test_a_goal_of_unknown_features_is_refused_before_anything_is_trained(store: Path, tmp_path: Path) -> None:
    heads = dataclasses.replace(CONFIG.heads, goal=(Tolerance(features=("z",), within=1.0),))
    config = dataclasses.replace(CONFIG, heads=heads)
    with pytest.raises(DatasetError, match="the goal wants a feature 'z', which was not recorded; these were: x, y, "):
        fit(EpisodeStore(store), config, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()


def test_without_tolerances_there_is_no_task_distance(store: Path, trained: TrainedDot, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    heads = dataclasses.replace(CONFIG.heads, goal=())
    fit(EpisodeStore(store), dataclasses.replace(CONFIG, heads=heads), run, tmp_path / "dot", {}, lambda *_: None)
    loaded = load_checkpoint(tmp_path / "dot")
    assert list(loaded.distances) == ["steps_to_go"]
    assert list(loaded.manifest.heads) == ["steps_to_go", "inverse_dynamics"]


def test_progress_is_reported_stage_by_stage(trained: TrainedDot) -> None:
    """Each stage counts up to its end, in this order; all but imagining, which counts clips, by ones."""
    stages: dict[str, list[tuple[int, int]]] = {}
    for stage, done, total in trained.stages:
        stages.setdefault(stage, []).append((done, total))
    imagining = ["imagine from 1 frame"]  # the episodes are too short for a context of three
    heads = ["steps to go", "inverse dynamics", "task distance"]
    measures = ["calibrate", "prepare a random encoder", "probe", "calibrate novelty"]
    assert list(stages) == ["world model", "encode episodes", *imagining, *heads, *measures]
    for stage, steps in stages.items():
        assert steps[-1][0] == steps[-1][1]
        if stage not in imagining:
            assert steps == [(done, len(steps)) for done in range(1, len(steps) + 1)]


def test_a_trained_model_knows_what_its_readings_were_like(store: Path, trained: TrainedDot) -> None:
    loaded = load_checkpoint(trained.out)
    episodes = EpisodeStore(store)
    assert loaded.novelty is not None and loaded.manifest.novelty is not None
    assert loaded.manifest.novelty.false_alarm_rate == 1 / (loaded.manifest.novelty.episodes + 1)
    frames = {
        name: torch.from_numpy(each) for name, each in episodes.observations(episodes.episodes[0], 0, 9, 1).items()
    }
    (seen,) = loaded.novelty.of(ObservationBatch(frames)).values()
    (negative,) = loaded.novelty.of(ObservationBatch({name: 255 - each for name, each in frames.items()})).values()
    assert (seen < 2).all() and (negative > 2).all()


def test_killed_in_the_middle_and_run_again_it_is_as_if_nothing_had_happened(
    store: Path, trained: TrainedDot, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "dot"
    command = [sys.executable, "-m", "tests.worldmodel.training.train_dot", str(store), str(run), str(out)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 60
        metrics = run / "metrics.jsonl"
        while not metrics.is_file() or metrics.read_text().count("\n") < STEPS // 3:
            assert process.poll() is None and time.monotonic() < deadline, "it never got that far"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    logged = metrics.read_text().count("\n")
    saved = int(load_file(run / "state.safetensors")["step"])
    assert logged < STEPS and not out.exists(), "it was already done"
    assert logged - saved <= 1, "more than the last save interval is lost"

    manifest = train_dot(store, run, out)
    assert rows(run) == rows(trained.run), "metrics differ from those of the uninterrupted run"
    assert manifest == trained.manifest, "the checkpoint differs from that of the uninterrupted run"


def test_a_finished_run_is_not_trained_again(store: Path, trained: TrainedDot, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    stages: list[str] = []
    again = train_dot(store, run, tmp_path / "dot", lambda stage, *_: stages.append(stage))
    assert "world model" not in stages and "encode episodes" not in stages and again == trained.manifest


@pytest.mark.parametrize(
    ("image_px", "preset", "message"),
    [
        (20, "tiny", "20 px must be a multiple of 8 px, by which strides shrink it"),
        (32, "paper", "of the patch, 14 px"),
    ],
)
def test_images_that_the_encoder_cannot_take_are_refused(
    tmp_path: Path, image_px: int, preset: str, message: str
) -> None:
    store = EpisodeStore(write_dot_store(tmp_path / "store", episodes=2, steps=16, image_px=image_px))
    config = dataclasses.replace(CONFIG, origin=Origin.of_preset(preset=preset))
    with pytest.raises(
        TrainingError, match=f"{message}; reorder --sensors, choose another preset, or collect what it wants"
    ):
        fit(store, config, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()


def test_a_model_learns_from_images_of_the_size_that_the_store_has(tmp_path: Path) -> None:
    store = EpisodeStore(write_dot_store(tmp_path / "store", episodes=3, steps=40, image_px=16))
    training = TrainingConfig(steps=1, batch=8, held_out=0.34)
    manifest = fit(
        store, dataclasses.replace(CONFIG, training=training), tmp_path / "run", tmp_path / "out", {}, lambda *_: None
    )
    assert manifest is not None and manifest.sensors[0].shape == (16, 16, 3)
    assert load_checkpoint(tmp_path / "out").manifest.sensors == manifest.sensors


def test_other_episodes_in_the_same_folder_are_refused(store: Path, trained: TrainedDot, tmp_path: Path) -> None:
    """A run that went on with them, or found itself done, would say that it learnt from both."""
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    other = Path(shutil.copytree(store, tmp_path / "store"))
    description = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**description, "seed": 1234}))
    with pytest.raises(DatasetError, match=r"other settings or data: data\.0\.seed is 0 there and 1234 now; choose"):
        fit(EpisodeStore(other), CONFIG, run, tmp_path / "out", {}, lambda *_: None)
    assert rows(run) == rows(trained.run)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"precision": "bfloat16"}, "training.precision is 'float32' there and 'bfloat16' now; choose another folder"),
        ({"timing": StepTiming(horizon=4)}, "timing.horizon is 5 there and 4 now; choose another folder"),
        (
            {"origin": Origin.of_preset("pldm", "tiny")},
            "covariance_weight is None there and .* and [0-9]+ more; choose",
        ),
    ],
)
def test_another_training_in_the_same_folder_is_refused(
    store: Path, trained: TrainedDot, tmp_path: Path, change: dict[str, Any], difference: str
) -> None:
    """Latents that were imagined, and a predictor that went on alone, depend on the horizon too."""
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    other = dataclasses.replace(CONFIG, **change)
    with pytest.raises(DatasetError, match=f"holds a training with other settings or data: .*{difference}"):
        fit(EpisodeStore(store), other, run, tmp_path / "out", {}, lambda *_: None)
    assert rows(run) == rows(trained.run)
