"""Save, load, and nothing has changed. What a hostile file meets is in tests/attacks/test_checkpoints.py."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from tests.readings import random_observation
from tests.tiny import (
    HEADS,
    INVERSE_DYNAMICS,
    PROPRIOCEPTION,
    SEVERAL,
    TOP,
    tiny_heads,
    tiny_manifest,
    tiny_novelty,
    tiny_recipe,
    write_tiny_checkpoint,
    write_tiny_encoder_checkpoint,
    write_tiny_policy_checkpoint,
    write_tiny_sensors_checkpoint,
)
from worldmodel import checkpoint
from worldmodel.checkpoint import TrainedModel, load_checkpoint, save_checkpoint, save_novelty
from worldmodel.errors import CheckpointError
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig
from worldmodel.heads.surprise import surprise
from worldmodel.heads.task_distance import TaskDistance, TaskDistanceConfig, Tolerance
from worldmodel.inference.world_model import FastEncoder, FastWorldModel
from worldmodel.manifest import HeadSpec, LatentSpec, Manifest
from worldmodel.observation import SensorSpec
from worldmodel.recipe import Latents
from worldmodel.recipes.lewm import tiny
from worldmodel.recipes.network import imagining

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.parent for path in (ROOT / "checkpoints").glob("*/manifest.json"))
TOLERANCES = (Tolerance(features=("x", "y"), within=0.5), Tolerance(features=("z",), within=0.1))
TASK_DISTANCE = HeadSpec(
    type="task_distance",
    config={
        "tolerances": [{"features": list(each.features), "within": each.within} for each in TOLERANCES],
        "width": 16,
        "pooling": "concatenate",
    },
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path)


def latents_and_goal(tokens: int = 1) -> tuple[Tensor, Tensor]:
    """[b s h n d] and [b n d]"""
    generator = Generator().manual_seed(0)
    return torch.randn(2, 3, 4, tokens, 16, generator=generator), torch.randn(2, tokens, 16, generator=generator)


@pytest.mark.parametrize("sensors", [(TOP,), SEVERAL], ids=["one camera", "several sensors"])
def test_a_loaded_model_gives_the_same_floats(sensors: tuple[SensorSpec, ...], tmp_path: Path) -> None:
    loaded = load_checkpoint(write_tiny_checkpoint(tmp_path, sensors=sensors))
    assert loaded.encoder is not None and loaded.world_model is not None
    recipe = tiny_recipe(sensors=sensors)
    generator = Generator().manual_seed(0)
    actions = torch.randn(2, 4, 5, 10, generator=generator)
    past = torch.randn(2, 2, 10, generator=generator)
    results = []
    for encoder, model in (
        (loaded.encoder, loaded.world_model),
        (FastEncoder(recipe), FastWorldModel(imagining(recipe))),
    ):
        latents = encoder.encode(random_observation(sensors, 6)).tokens.unflatten(0, (2, 3))
        results.append((latents, model.rollout(model.begin(Latents(latents), past), actions)))
    assert all(map(torch.equal, *results))


def test_a_loaded_distance_gives_the_same_floats(tmp_path: Path) -> None:
    manifest = load_checkpoint(write_tiny_checkpoint(tmp_path)).manifest
    head = StepsToGo(StepsToGoConfig(width=16), 1, tiny().latent_width)
    with torch.no_grad():
        head.get_parameter("layers.6.bias").fill_(1.5)
    save_checkpoint(tmp_path / "tiny-lewm", manifest, TrainedModel(tiny_recipe(), {"steps_to_go": head}))
    loaded = load_checkpoint(tmp_path / "tiny-lewm")
    kept, (weight, distance) = loaded.trained.heads["steps_to_go"], loaded.distances["steps_to_go"]
    wanted = head(*latents_and_goal()).detach()
    assert torch.equal(kept(*latents_and_goal()), wanted)
    torch.testing.assert_close(distance(*latents_and_goal()), wanted, rtol=1e-4, atol=1e-5)
    assert weight == 1.0
    assert not any(parameter.requires_grad for parameter in kept.parameters())


def test_a_loaded_task_distance_gives_the_same_floats(tmp_path: Path) -> None:
    head = TaskDistance(TaskDistanceConfig(tolerances=TOLERANCES, width=16), 1, tiny().latent_width).eval()
    trained = TrainedModel(tiny_recipe(), {"task_distance": head})
    save_checkpoint(tmp_path / "task", tiny_manifest(heads={**HEADS, "task_distance": TASK_DISTANCE}), trained)
    with pytest.raises(CheckpointError, match=r"lacks 'steps_to_go\."):
        load_checkpoint(tmp_path / "task")
    save_checkpoint(tmp_path / "task", tiny_manifest(heads={"task_distance": TASK_DISTANCE}), trained)
    loaded = load_checkpoint(tmp_path / "task")
    weight, distance = loaded.distances["task_distance"]
    kept = loaded.trained.heads["task_distance"]
    assert isinstance(kept, TaskDistance) and kept.config == head.config and weight == 3.0
    assert torch.equal(distance(*latents_and_goal()), head(*latents_and_goal()).detach())


def test_distances_come_in_the_order_of_the_table_under_the_manifests_names(tmp_path: Path) -> None:
    """A head's name is the manifest's affair; what it is, is its type."""
    heads = {"near": TASK_DISTANCE, "reflex": INVERSE_DYNAMICS, "far": HEADS["steps_to_go"]}
    loaded = load_checkpoint(write_tiny_checkpoint(tmp_path, heads=heads))
    assert [(name, weight) for name, (weight, _) in loaded.distances.items()] == [("far", 1.0), ("near", 3.0)]
    assert loaded.policy is loaded.trained.heads["reflex"]


def test_a_checkpoint_without_a_learned_distance(tmp_path: Path) -> None:
    loaded = load_checkpoint(write_tiny_checkpoint(tmp_path, heads={}))
    assert loaded.world_model is not None and loaded.policy is None and not loaded.distances


def test_a_model_of_several_sensors_offers_everything(tmp_path: Path) -> None:
    """Its heads read all tokens."""
    loaded = load_checkpoint(write_tiny_sensors_checkpoint(tmp_path))
    assert loaded.manifest.sensors == SEVERAL
    assert loaded.encoder is not None and loaded.encoder.latent_shape == (3, 16)
    assert loaded.world_model is not None and loaded.policy is not None
    (distance,) = (distance for _, distance in loaded.distances.values())
    latents, goal = latents_and_goal(tokens=3)
    assert distance(latents, goal).shape == (2, 3, 4)
    assert loaded.policy(latents[:, 0], goal).shape == (2, 1, 10)
    plain = distance(latents, goal)
    for token in range(3):
        moved = latents.clone()
        moved[..., token, :] += 1
        assert (distance(moved, goal) - plain).abs().amax() > 1e-4, f"token {token} is not read"


def test_a_policy_without_a_world_model(tmp_path: Path) -> None:
    loaded = load_checkpoint(write_tiny_policy_checkpoint(tmp_path))
    assert loaded.encoder is not None and loaded.world_model is None and not loaded.distances
    assert loaded.policy is not None
    tokens = loaded.encoder.encode(random_observation((TOP,), 3)).tokens
    actions = loaded.policy(tokens[None], tokens[:1])
    assert actions.shape == (1, 1, 10) and (actions.abs() <= 1).all()


def test_a_model_without_planning_encodes_and_does_no_more(tmp_path: Path) -> None:
    """Though its recipe could imagine, and a head of it could act."""
    loaded = load_checkpoint(write_tiny_encoder_checkpoint(tmp_path))
    assert loaded.manifest.planning is None and loaded.manifest.action is not None
    assert loaded.encoder is not None
    assert loaded.world_model is None and loaded.policy is None and not loaded.distances
    heads = {"inverse_dynamics": INVERSE_DYNAMICS}
    acting = load_checkpoint(write_tiny_checkpoint(tmp_path, "acting", planning=None, calibration=None, heads=heads))
    assert acting.policy is None


def test_surprise_is_that_of_the_world_model(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.world_model is not None
    generator = Generator().manual_seed(0)
    latents, actions = torch.randn(2, 3, 1, 16, generator=generator), torch.randn(2, 2, 10, generator=generator)
    given = loaded.surprise(latents, actions)
    assert given.shape == (2, 2) and torch.equal(given, surprise(loaded.world_model, latents, actions))


@pytest.mark.parametrize(
    ("latent", "sensors"),
    [
        (LatentSpec(tokens=2, width=16), (TOP,)),
        (LatentSpec(tokens=1, width=32), (TOP,)),
        (LatentSpec(tokens=1, width=16), SEVERAL),
    ],
    ids=["tokens", "width", "sensors"],
)
def test_latents_of_another_shape_than_the_recipes_are_refused(
    latent: LatentSpec, sensors: tuple[SensorSpec, ...], tmp_path: Path
) -> None:
    recipe, manifest = tiny_recipe(sensors=sensors), tiny_manifest(sensors=sensors, latent=latent, heads={})
    save_checkpoint(tmp_path / "tiny-lewm", manifest, TrainedModel(recipe, {}))
    wanted = f"latent is {latent.tokens} tokens x {latent.width}; the recipe's is {len(sensors)} x 16"
    with pytest.raises(CheckpointError, match=wanted):
        load_checkpoint(tmp_path / "tiny-lewm")


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        ((PROPRIOCEPTION, TOP), "the first sensor, proprioception, is a vector; wanted a camera first"),
        (
            (dataclasses.replace(TOP, shape=(32, 48, 3)),),
            "camera top gives 32 x 48 px; wanted square images",
        ),
        ((dataclasses.replace(TOP, shape=(36, 36, 3)),), "image side 36 px must be a multiple of 8 px"),
        (
            (
                TOP,
                SensorSpec(
                    name="wide", kind="vector", shape=(17,), names=("x",) * 17, units=("m",) * 17, low=(0.0,) * 17,
                    high=(1.0,) * 17,
                ),
            ),
            "model.safetensors of tiny-lewm",
        ),
    ],
    ids=["vector first", "not square", "not tiled", "another number of tokens"],
)  # fmt: skip
def test_sensors_that_the_recipe_cannot_have_are_refused(
    sensors: tuple[SensorSpec, ...], message: str, tmp_path: Path
) -> None:
    """The weights are of a model with one camera."""
    manifest = tiny_manifest(sensors=sensors, heads={})
    save_checkpoint(tmp_path / "tiny-lewm", manifest, TrainedModel(tiny_recipe(), {}))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "tiny-lewm")


def test_the_manifest_says_what_the_weights_are(folder: Path) -> None:
    manifest = load_checkpoint(folder).manifest
    assert manifest.weights.bytes == (folder / "model.safetensors").stat().st_size
    assert len(manifest.weights.sha256) == 64


def test_same_weights_same_bytes(tmp_path: Path) -> None:
    first, second = write_tiny_checkpoint(tmp_path / "a"), write_tiny_checkpoint(tmp_path / "b")
    for name in ("manifest.json", "model.safetensors"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_what_was_loaded_can_be_saved_again_to_the_byte(tmp_path: Path) -> None:
    """Imagining folds weights; what is kept is what was trained."""
    first = write_tiny_sensors_checkpoint(tmp_path)
    loaded = load_checkpoint(first)
    save_checkpoint(tmp_path / "again", loaded.manifest, loaded.trained)
    for name in ("manifest.json", "model.safetensors"):
        assert (first / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_folder_holds_two_files_and_no_more(folder: Path) -> None:
    write_tiny_checkpoint(folder.parent)  # over the old one
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]


def test_heads_are_saved_under_their_names(tmp_path: Path) -> None:
    manifest = tiny_manifest(heads={"far": HEADS["steps_to_go"]})
    trained = TrainedModel(tiny_recipe(), tiny_heads(manifest))
    assert {key.split(".")[0] for key in trained.tensors()} == {"world_model", "far"}
    assert all(isinstance(part, nn.Module) for _, part in trained.named())


@pytest.mark.parametrize("files", range(4))
def test_killed_between_files_a_new_novelty_leaves_a_whole_checkpoint(
    files: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_novelty(folder, tiny_novelty((TOP,)))
    before, write, written = load_checkpoint(folder).trained, checkpoint.write_atomically, []

    def killed(path: Path, data: bytes) -> None:
        if len(written) == files:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    monkeypatch.setattr(checkpoint, "write_atomically", killed)
    other = tiny_novelty((TOP,))
    for familiar in other.novelty.familiar["top"].values():
        familiar.mean.add_(0.1)
    if files < 3:
        with pytest.raises(KeyboardInterrupt):
            save_novelty(folder, other)
    else:
        save_novelty(folder, other)
    loaded = load_checkpoint(folder)
    assert (loaded.novelty is None) == (files in (1, 2))
    assert all(map(torch.equal, loaded.trained.tensors().values(), before.tensors().values()))


def test_a_model_is_loaded_without_reading_episodes(folder: Path) -> None:
    """A server waits for neither HDF5 nor the plots of a training."""
    program = (
        "import sys; from pathlib import Path; from worldmodel import load_checkpoint\n"
        "load_checkpoint(Path(sys.argv[1]))\n"
        "print(*sorted(name for name in ('h5py', 'matplotlib', 'worldmodel.training') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


class TestShippedCheckpoints:
    """The four that come with the project."""

    def test_there_are_five(self) -> None:
        assert [folder.name for folder in SHIPPED] == [
            "cube-lewm",
            "cube-sensors-lewm",
            "pusht-lewm",
            "reacher-lewm",
            "tworoom-lewm",
        ]

    @pytest.mark.parametrize("shipped", SHIPPED, ids=lambda folder: folder.name)
    def test_it_loads_and_offers_what_its_manifest_says(self, shipped: Path) -> None:
        loaded = load_checkpoint(shipped)
        manifest, planning = loaded.manifest, loaded.manifest.planning
        assert manifest.name == shipped.name and planning is not None and manifest.action is not None
        assert loaded.encoder is not None and loaded.world_model is not None and loaded.policy is not None
        assert set(loaded.distances) == set(manifest.heads) - {"inverse_dynamics"}
        latents = loaded.encoder.encode(random_observation(manifest.sensors, 2)).tokens
        assert latents.shape == (2, manifest.latent.tokens, manifest.latent.width)
        state = loaded.world_model.begin(Latents(latents[:, None]), torch.zeros(2, 0, manifest.action.width))
        imagined = loaded.world_model.rollout(state, torch.zeros(2, 3, planning.horizon, manifest.action.width))
        assert imagined.isfinite().all()
        for _, distance in loaded.distances.values():
            assert (distance(imagined, latents) >= 0).all()
        assert (loaded.policy(latents[:, None], latents).abs() <= 1).all()

    @pytest.mark.parametrize("shipped", SHIPPED, ids=lambda folder: folder.name)
    def test_its_manifest_is_written_as_it_was_read(self, shipped: Path) -> None:
        text = (shipped / "manifest.json").read_text()
        assert Manifest.from_json(text).to_json() == text
        assert json.loads(text)["format"] == 2
