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
from tests.worldmodel.train_dot import CONFIG, STEPS, train_dot
from worldmodel.checkpoint import load_checkpoint
from worldmodel.data.episodes import EpisodeStore
from worldmodel.errors import DatasetError
from worldmodel.heads.task_distance import Tolerance
from worldmodel.manifest import Manifest
from worldmodel.training.fit import FitConfig, fit


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dot_store(tmp_path_factory.mktemp("dots") / "store")


class Trained:
    """A run that nobody interrupted."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.run, self.out = folder / "run", folder / "dot"
        self.stages: list[tuple[str, int, int]] = []
        self.manifest = train_dot(store, self.run, self.out, lambda *step: self.stages.append(step[:3]))


@pytest.fixture(scope="module")
def trained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(store, tmp_path_factory.mktemp("trained"))


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_loss_falls(trained: Trained) -> None:
    totals = [row["predict"] + row["sigreg"] for row in rows(trained.run)]
    assert len(totals) == STEPS
    assert np.mean(totals[-10:]) < 0.6 * np.mean(totals[:10])


def test_the_checkpoint_loads_and_plans(trained: Trained) -> None:
    loaded = load_checkpoint(trained.out)
    assert loaded.manifest == Manifest.from_json(trained.manifest.to_json())
    frames = torch.zeros(3, 32, 32, 3, dtype=torch.uint8)
    latents = loaded.world_model.encode(frames)[None]
    future = loaded.world_model.rollout(
        loaded.world_model.begin(latents, torch.zeros(1, 2, 10)), torch.zeros(1, 4, 5, 10)
    )
    assert loaded.steps_to_go is not None
    distance = loaded.steps_to_go(future, latents[:, 0])
    assert distance.shape == (1, 4, 5) and distance.isfinite().all()
    assert loaded.inverse_dynamics is not None
    actions = loaded.inverse_dynamics(latents[:, 0], latents[:, 2])
    assert actions.shape == (1, 10) and actions.abs().max() <= 1
    assert loaded.task_distance is not None
    to_task = loaded.task_distance(future, latents[:, 0])
    assert to_task.shape == (1, 4, 5) and to_task.isfinite().all()


def test_the_manifest_carries_its_evidence(trained: Trained) -> None:
    manifest, record = trained.manifest, trained.manifest.training
    assert (manifest.name, manifest.recipe, manifest.task) == ("dot", "lewm", "tests/Dot-v0")
    assert manifest.action.names == ("x", "y") and manifest.action.low == (-2.0, 0.0)
    assert (manifest.action.dt_s, manifest.action.control_steps, manifest.action.width) == (0.1, 5, 10)
    assert (manifest.observation.camera, manifest.observation.height_px) == ("top", 32)
    assert manifest.planning.goal_distance_scale > 0
    assert record["command"] == "train_dot" and record["config"]["steps"] == STEPS
    assert record["episodes"] == {"train": 9, "held_out": 3}
    curves = record["curves"]
    assert curves["step"][0] == 1 and len(curves["predict"]) == len(curves["sigreg"]) == len(curves["step"])
    assert curves["evaluation_step"] == [50, 100] and len(curves["effective_rank"]) == 2
    assert record["held_out"]["step"] == STEPS and record["held_out"]["copy_mse"] > 0


def test_the_alarm_is_calibrated_on_held_out_transitions(trained: Trained) -> None:
    surprise = trained.manifest.surprise
    assert len(surprise.quantiles) == 101 and list(surprise.quantiles) == sorted(surprise.quantiles)
    assert surprise.threshold == surprise.quantiles[99]
    assert surprise.transitions == 32 * 128 * 2


def test_probes_are_compared_with_an_untrained_encoder(trained: Trained) -> None:
    """A feature that never varied once made the scores, and then the manifest, not a number."""
    probes = trained.manifest.training["probe_r2"]
    assert set(probes) == {"trained", "random_encoder"}
    for scores in probes.values():
        assert set(scores) == {"x", "y", "constant"} and scores["constant"] == 0
        assert all(np.isfinite(score) and score <= 1 for score in scores.values())


def test_what_the_task_distance_reads_is_held_against_what_was_recorded(trained: Trained) -> None:
    (name,), (error,) = zip(*trained.manifest.training["task_error"].items(), strict=True)
    assert name == "x,y" and 0 < error < 10


def test_a_goal_of_unknown_features_is_refused_before_anything_is_trained(store: Path, tmp_path: Path) -> None:
    heads = dataclasses.replace(CONFIG.heads, goal=(Tolerance(features=("z",), within=1.0),))
    config = dataclasses.replace(CONFIG, heads=heads)
    with pytest.raises(DatasetError, match="the goal wants a feature 'z', which was not recorded; these were: x, y, "):
        fit(EpisodeStore(store), config, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()


def test_without_tolerances_there_is_no_task_distance(store: Path, trained: Trained, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    heads = dataclasses.replace(CONFIG.heads, goal=())
    fit(EpisodeStore(store), dataclasses.replace(CONFIG, heads=heads), run, tmp_path / "dot", {}, lambda *_: None)
    loaded = load_checkpoint(tmp_path / "dot")
    assert loaded.task_distance is None and loaded.manifest.task_distance is None and loaded.steps_to_go is not None


def test_progress_is_told_stage_by_stage(trained: Trained) -> None:
    """Each stage counts from 1 to its end, in this order."""
    stages: dict[str, list[tuple[int, int]]] = {}
    for stage, done, total in trained.stages:
        stages.setdefault(stage, []).append((done, total))
    assert list(stages) == ["world model", "encode episodes", "steps to go", "inverse dynamics", "task distance"]
    for steps in stages.values():
        assert steps == [(done, len(steps)) for done in range(1, len(steps) + 1)]


def test_killed_in_the_middle_and_run_again_it_is_as_if_nothing_had_happened(
    store: Path, trained: Trained, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "dot"
    command = [sys.executable, "-m", "tests.worldmodel.train_dot", str(store), str(run), str(out)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"})
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


def test_a_finished_run_is_not_trained_again(store: Path, trained: Trained, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    stages: list[str] = []
    again = train_dot(store, run, tmp_path / "dot", lambda stage, *_: stages.append(stage))
    assert "world model" not in stages and again == trained.manifest


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    store = EpisodeStore(write_dot_store(tmp_path / "store", episodes=2, steps=16, image_px=16))
    with pytest.raises(DatasetError, match="images are 16 px, the model's 32 px: collect with --image-size 32"):
        fit(store, CONFIG, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()


def test_other_episodes_in_the_same_folder_are_refused(store: Path, trained: Trained, tmp_path: Path) -> None:
    """A run that went on with them, or found itself done, would say that it learnt from both."""
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    other = Path(shutil.copytree(store, tmp_path / "store"))
    description = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps({**description, "seed": 1234}))
    with pytest.raises(DatasetError, match="holds a run with other settings or data; choose another folder"):
        fit(EpisodeStore(other), CONFIG, run, tmp_path / "out", {}, lambda *_: None)
    assert rows(run) == rows(trained.run)


def test_another_preset_in_the_same_folder_is_refused(store: Path, trained: Trained, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained.run, tmp_path / "run"))
    other = FitConfig(origin=CONFIG.origin, precision="bfloat16", training=CONFIG.training)
    with pytest.raises(DatasetError, match="holds a run with other settings or data; choose another folder"):
        fit(EpisodeStore(store), other, run, tmp_path / "out", {}, lambda *_: None)
    assert rows(run) == rows(trained.run)
