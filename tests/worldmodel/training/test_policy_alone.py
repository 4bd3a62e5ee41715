"""A recipe that is a policy and no world model: it trains, and its checkpoint holds what it has, and nothing else."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from server.cli import main
from tests.episodes import write_dot_store
from tests.worldmodel.training.train_dot import CONFIG
from worldmodel.checkpoint import load_checkpoint
from worldmodel.data.episodes import EpisodeStore
from worldmodel.errors import TrainingError
from worldmodel.manifest import Manifest
from worldmodel.observation import ObservationBatch
from worldmodel.training.fit import fit
from worldmodel.training.loop import TrainingConfig
from worldmodel.training.origin import Origin
from worldmodel.training.predictor_stage import PredictorTraining

CLONES = dataclasses.replace(
    CONFIG,
    origin=Origin.of_preset("gcbc", "tiny"),
    training=TrainingConfig(steps=40, batch=16, held_out=0.34, metrics_every_steps=1, evaluate_every_steps=20),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dot_store(tmp_path_factory.mktemp("dots") / "store", episodes=3, steps=40)


@pytest.fixture(scope="module")
def stages() -> list[str]:
    return []


@pytest.fixture(scope="module")
def trained(store: Path, stages: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")

    def progress(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        stages.append(stage)

    fit(EpisodeStore(store), CLONES, folder / "run", folder / "clone", {"command": "a test"}, progress)
    return folder / "clone"


def test_it_learns_and_no_head_is_trained(trained: Path, stages: list[str]) -> None:
    losses = load_checkpoint(trained).manifest.training["curves"]["clone"]
    assert len(losses) == 40 and sum(losses[-5:]) < 0.9 * sum(losses[:5])
    measures = ["prepare a random encoder", "probe", "calibrate novelty"]
    assert list(dict.fromkeys(stages)) == ["world model", "encode episodes", *measures]


def test_its_manifest_says_what_it_has(trained: Path) -> None:
    manifest = load_checkpoint(trained).manifest
    assert manifest.heads == {} and manifest.calibration is None
    assert manifest.planning is not None and manifest.planning.goal_distance_scale > 0
    assert (manifest.planning.context_frames, manifest.planning.horizon) == (1, 1)
    record = manifest.training
    assert set(record["held_out"]) == {"step", "clone", "latent_std", "effective_rank"}
    assert set(record["probe_r2"]) == {"trained", "random_encoder"} and record["task_error"] == {}
    assert record["curves"]["evaluation_step"] == [20, 40] and record["curves"]["predict_mse"] == []
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_its_checkpoint_answers_with_actions_and_imagines_nothing(trained: Path) -> None:
    loaded = load_checkpoint(trained)
    assert loaded.world_model is None and loaded.distances == {} and loaded.precision == "float32"
    assert loaded.encoder is not None and loaded.policy is not None
    frames = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    now, goal = loaded.encoder.encode(ObservationBatch({"top": frames})).tokens
    actions = loaded.policy(now[None, None], goal[None])
    assert actions.shape == (1, 1, 10) and 0 < actions.abs().max() <= 1
    parts = {".".join(key.split(".")[:2]) for key in load_file(trained / "model.safetensors")}
    assert parts == {"world_model.encoder", "world_model.projector", "world_model.policy"}


def test_steps_of_a_predictor_are_refused_before_anything_is_trained(store: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CLONES, predictor=PredictorTraining(steps=5))
    with pytest.raises(TrainingError, match="recipe gcbc has no predictor; leave out --predictor-steps"):
        fit(EpisodeStore(store), config, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)
    assert not list(tmp_path.iterdir())


def test_the_command_refuses_them_too(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command: list[Any] = ["train", "--data", store, "--out", "clone", "--recipe", "gcbc", "--preset", "tiny", "--quiet"]
    assert main([*map(str, command), "--predictor-steps", "5"]) == 2
    assert "recipe gcbc has no predictor; leave out --predictor-steps" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
