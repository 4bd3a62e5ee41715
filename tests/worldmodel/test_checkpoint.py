"""Save, load, and nothing has changed. What a hostile file meets is in tests/attacks/test_checkpoints.py."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Generator

from tests.tiny import tiny_recipe, write_tiny_checkpoint
from worldmodel.checkpoint import load_checkpoint, save_checkpoint
from worldmodel.errors import CheckpointError
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig
from worldmodel.heads.task_distance import TaskDistance, TaskDistanceConfig, Tolerance
from worldmodel.inference.world_model import LatentWorldModel
from worldmodel.recipes.lewm import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path)


def test_a_loaded_model_gives_the_same_floats(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    original = LatentWorldModel(tiny_recipe())
    generator = Generator().manual_seed(0)
    frames = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=generator)
    actions = torch.randn(2, 4, 5, 10, generator=generator)
    past = torch.randn(2, 2, 10, generator=generator)
    results = []
    for model in (loaded.world_model, original):
        latents = model.encode(frames)
        results.append((latents, model.rollout(model.begin(latents.unflatten(0, (2, 3)), past), actions)))
    assert all(map(torch.equal, *results))


def test_a_loaded_distance_gives_the_same_floats(tmp_path: Path) -> None:
    manifest = load_checkpoint(write_tiny_checkpoint(tmp_path)).manifest
    head = StepsToGo(StepsToGoConfig(width=16), tiny().latent_width)
    with torch.no_grad():
        head.get_parameter("layers.6.bias").fill_(1.5)
    save_checkpoint(tmp_path / "tiny-lewm", manifest, LatentWorldModel(tiny_recipe()), head)
    loaded = load_checkpoint(tmp_path / "tiny-lewm").steps_to_go
    assert loaded is not None
    generator = Generator().manual_seed(0)
    latents, goal = torch.randn(2, 3, 4, 1, 16, generator=generator), torch.randn(2, 1, 16, generator=generator)
    assert torch.equal(loaded.head(latents, goal), head(latents, goal).detach())
    assert not any(parameter.requires_grad for parameter in loaded.head.parameters())


def test_a_loaded_task_distance_gives_the_same_floats(tmp_path: Path) -> None:
    loaded = load_checkpoint(write_tiny_checkpoint(tmp_path))
    tolerances = (Tolerance(features=("x", "y"), within=0.5), Tolerance(features=("z",), within=0.1))
    head = TaskDistance(TaskDistanceConfig(tolerances=tolerances, width=16), tiny().latent_width).eval()
    manifest = dataclasses.replace(loaded.manifest, task_distance=dataclasses.asdict(head.config))
    save_checkpoint(tmp_path / "task", manifest, loaded.world_model, None, task_distance=head)
    with pytest.raises(CheckpointError, match=r"lack steps_to_go\."):
        load_checkpoint(tmp_path / "task")
    manifest = dataclasses.replace(manifest, steps_to_go=None)
    save_checkpoint(tmp_path / "task", manifest, loaded.world_model, None, task_distance=head)
    again = load_checkpoint(tmp_path / "task").task_distance
    assert again is not None and again.config == head.config
    latents, goal = torch.randn(2, 3, 4, 1, 16), torch.randn(2, 1, 16)
    assert torch.equal(again(latents, goal), head(latents, goal).detach())


def test_a_checkpoint_without_a_learned_distance(tmp_path: Path) -> None:
    manifest = json.loads((write_tiny_checkpoint(tmp_path) / "manifest.json").read_text())
    loaded = load_checkpoint(tmp_path / "tiny-lewm")
    bare = type(loaded.manifest).from_json(json.dumps({**manifest, "steps_to_go": None}))
    save_checkpoint(tmp_path / "bare", bare, loaded.world_model, None)
    assert load_checkpoint(tmp_path / "bare").steps_to_go is None


def test_the_manifest_says_what_the_weights_are(folder: Path) -> None:
    manifest = load_checkpoint(folder).manifest
    assert manifest.weights.bytes == (folder / "model.safetensors").stat().st_size
    assert len(manifest.weights.sha256) == 64


def test_same_weights_same_bytes(tmp_path: Path) -> None:
    first, second = write_tiny_checkpoint(tmp_path / "a"), write_tiny_checkpoint(tmp_path / "b")
    for name in ("manifest.json", "model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_folder_holds_two_files_and_no_more(folder: Path) -> None:
    write_tiny_checkpoint(folder.parent)  # over the old one
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]
