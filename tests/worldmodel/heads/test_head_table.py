"""Laws over the table of heads, on latents of one token, of three side by side, and of so many that a head averages."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Generator, Tensor, nn

from tests.tiny import tiny_body, tiny_manifest
from tests.worldmodel.latent_store import latent_episodes
from worldmodel.checkpoint import TrainedModel, load_checkpoint, save_checkpoint
from worldmodel.clips import StepTiming
from worldmodel.data.latents import LatentEpisodes
from worldmodel.data.task_truth import TaskTruth
from worldmodel.errors import CheckpointError
from worldmodel.heads import HEADS, head_configs, make_head
from worldmodel.heads.task_distance import Tolerance
from worldmodel.inference.fast_steps_to_go import fast_distance
from worldmodel.manifest import HeadSpec, LatentSpec
from worldmodel.observation import SensorSpec
from worldmodel.recipe import LatentPolicy
from worldmodel.recipes.lewm import LeWM, tiny
from worldmodel.training.head_stage import HeadsConfig, head_specs, train_heads

GOAL = (Tolerance(features=("x", "y"), within=0.5),)
TIMING = StepTiming(control_steps=2, context_frames=2, horizon=3)
WIDTH, EPISODES, FRAMES = 32, 12, 21
ACTIONS = 2 * TIMING.control_steps
POOLING = {1: "concatenate", 3: "concatenate", 40: "mean"}


class LearnedHeads(NamedTuple):
    """All heads on latents of so many tokens, and their losses."""

    tokens: int
    data: LatentEpisodes
    heads: dict[str, nn.Module]
    losses: dict[str, list[float]]


def walks(folder: Path, tokens: int) -> LatentEpisodes:
    """Straight walks in a plane; every token shows the place, each in its own way."""
    generator = Generator().manual_seed(0)
    actions = (torch.rand(EPISODES, 1, 2, generator=generator) * 1.6 - 0.8).repeat(1, FRAMES, 1)
    places = torch.randn(EPISODES, 1, 2, generator=generator) + 0.2 * actions * torch.arange(FRAMES)[None, :, None]
    mixes = torch.randn(tokens, 2, WIDTH, generator=generator) / 2 + torch.eye(2, WIDTH)
    data = latent_episodes(folder, torch.einsum("efx,nxd->efnd", places, mixes), actions, TIMING)
    truth = TaskTruth(places.flatten(0, 1) / GOAL[0].within, [2])
    return LatentEpisodes(data.latents, data.last_row, data.actions, TIMING, task=truth)


@pytest.fixture(scope="module", params=POOLING)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LearnedHeads:
    tokens: int = request.param
    data, losses = walks(tmp_path_factory.mktemp("walks"), tokens), dict[str, list[float]]()
    trainings = {name: entry.training(steps=60, batch=64, learning_rate=3e-3) for name, entry in HEADS.items()}
    config = HeadsConfig(trainings=trainings, goal=GOAL)

    def progress(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        losses.setdefault(stage, []).append(metrics["loss"])

    heads = train_heads(data, LatentSpec(tokens=tokens, width=WIDTH), ACTIONS, config, 0, progress)
    return LearnedHeads(tokens, data, heads, losses)


def given(tokens: int) -> tuple[Tensor, Tensor]:
    """Latents [2 3 4 n d] of candidates, and goals [2 n d]."""
    generator = Generator().manual_seed(1)
    return torch.randn(2, 3, 4, tokens, WIDTH, generator=generator), torch.randn(2, tokens, WIDTH, generator=generator)


def test_every_head_learns_and_is_frozen_then(trained: LearnedHeads) -> None:
    assert list(trained.heads) == list(HEADS) and [*trained.losses] == [entry.stage for entry in HEADS.values()]
    for stage, losses in trained.losses.items():
        assert len(losses) == 60 and sum(losses[-10:]) < 0.7 * sum(losses[:10]), stage
    for head in trained.heads.values():
        assert not head.training and not any(parameter.requires_grad for parameter in head.parameters())
        assert head.config.pooling == POOLING[trained.tokens]


def test_every_head_is_what_the_table_declares(trained: LearnedHeads) -> None:
    """A distance [b s h] of candidates, or a policy [b h a]; none is neither."""
    latents, goal = given(trained.tokens)
    for name, entry in HEADS.items():
        head = trained.heads[name]
        assert entry.is_policy != (entry.cost_weight is not None), name
        if entry.is_policy:
            assert isinstance(head, LatentPolicy)
            actions = head(latents[:, 0], goal)
            assert actions.shape == (2, 1, ACTIONS) and actions.abs().max() <= 1
        else:
            assert entry.cost_weight is not None and entry.cost_weight > 0
            measured = fast_distance(head)(latents, goal)
            assert measured.shape == (2, 3, 4) and measured.isfinite().all() and (measured >= 0).all()
            torch.testing.assert_close(measured, head(latents, goal), rtol=1e-4, atol=1e-4)


def test_distances_have_gradients_where_a_planner_follows_them(trained: LearnedHeads) -> None:
    """Towards every token of every imagined latent, and to no weight."""
    latents, goal = given(trained.tokens)
    latents.requires_grad_(True)
    for name in (name for name, entry in HEADS.items() if entry.cost_weight is not None):
        measured = fast_distance(trained.heads[name])(latents, goal)
        (gradient,) = torch.autograd.grad(measured.sum(), latents)
        assert gradient.isfinite().all() and (gradient.abs().sum(-1) > 0).all(), name
        assert torch.equal(measured.detach(), trained.heads[name](latents, goal).detach())


def test_every_head_survives_its_manifest_and_its_weights(trained: LearnedHeads) -> None:
    latents, goal = given(trained.tokens)
    latent = LatentSpec(tokens=trained.tokens, width=WIDTH)
    for name, spec in head_specs(trained.heads).items():
        manifest = tiny_manifest(heads={name: spec})
        again = make_head(type(manifest).from_json(manifest.to_json()).heads[name], latent, ACTIONS).eval()
        again.load_state_dict(trained.heads[name].state_dict())
        inputs = (latents[:, 0], goal) if HEADS[name].is_policy else (latents, goal)
        assert torch.equal(again(*inputs), trained.heads[name](*inputs)), name


def test_a_checkpoint_hands_them_out_as_distances_and_policy(tmp_path: Path) -> None:
    """Three cameras are three tokens. The order of distances is the table's, whatever the manifest's."""
    sensors = tuple(SensorSpec(name=name, kind="camera", shape=(32, 32, 3)) for name in ("top", "left", "right"))
    latent = LatentSpec(tokens=3, width=tiny().latent_width)
    configs = head_configs(GOAL, latent)
    torch.manual_seed(0)
    heads = {name: HEADS[name].module(config, latent, 10).eval() for name, config in reversed(configs.items())}
    manifest = tiny_manifest(sensors=sensors, heads=head_specs(heads))
    save_checkpoint(tmp_path, manifest, TrainedModel(LeWM(tiny(), tiny_body(sensors)), heads))
    loaded = load_checkpoint(tmp_path)
    weights = {name: weight for name, (weight, _) in loaded.distances.items()}
    assert list(weights.items()) == [("steps_to_go", 1.0), ("task_distance", 3.0)]
    latents, goal = torch.randn(2, 3, 4, 3, 16), torch.randn(2, 3, 16)
    for name, (_, distance) in loaded.distances.items():
        torch.testing.assert_close(distance(latents, goal), heads[name](latents, goal), rtol=1e-4, atol=1e-4)
    assert loaded.policy is not None
    assert torch.equal(loaded.policy(latents[:, 0], goal), heads["inverse_dynamics"](latents[:, 0], goal))


def test_a_task_distance_is_learned_only_where_a_goal_says_what_counts() -> None:
    latent = LatentSpec(tokens=1, width=WIDTH)
    assert list(head_configs((), latent)) == [name for name in HEADS if name != "task_distance"]
    assert list(head_configs(GOAL, latent)) == list(HEADS)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (HeadSpec(type="value", config={}), "checkpoint wants a head 'value'; this build has"),
        (HeadSpec(type="steps_to_go", config={"width": 0}), "width=0"),
        (HeadSpec(type="steps_to_go", config={"pooling": "max"}), "pooling is 'max'"),
        (HeadSpec(type="inverse_dynamics", config={"depth": 2}), r"unknown keys \['depth'\]"),
        (HeadSpec(type="task_distance", config={}), "tolerances is None; wanted a list of objects"),
        (HeadSpec(type="task_distance", config={"tolerances": [{"features": ["x"], "within": -1}]}), "above 0"),
    ],
)
def test_a_manifest_that_wants_another_head_is_refused(spec: HeadSpec, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        make_head(spec, LatentSpec(tokens=1, width=WIDTH), ACTIONS)


def test_heads_of_another_training_are_other_heads(tmp_path: Path) -> None:
    """The seed says everything: the same one gives the same weights, to the bit."""
    data, latent = walks(tmp_path, 1), LatentSpec(tokens=1, width=WIDTH)
    trainings: dict[str, Any] = {name: entry.training(steps=2, batch=8) for name, entry in HEADS.items()}
    config = HeadsConfig(trainings=trainings, goal=GOAL)
    one, same, other = (train_heads(data, latent, ACTIONS, config, seed, lambda *_: None) for seed in (0, 0, 1))
    for name in HEADS:
        assert all(map(torch.equal, one[name].state_dict().values(), same[name].state_dict().values()))
        assert not torch.equal(one[name].layers[0].weight, other[name].layers[0].weight)
