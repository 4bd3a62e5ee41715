"""The same matches at run time, and that calls across the seam have the shapes that the protocols write down."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from planner import protocols
from planner.costs import GoalCost
from planner.policy import continued
from planner.protocols import CostFunction, Distance, Policy, RolloutModel
from tests.architecture import conformance
from tests.readings import random_observation
from tests.tiny import tiny_body, tiny_recipe, write_tiny_sensors_checkpoint
from worldmodel import Checkpoint, load_checkpoint
from worldmodel.heads.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig
from worldmodel.heads.task_distance import TaskDistance
from worldmodel.inference.fast_steps_to_go import FastStepsToGo
from worldmodel.inference.world_model import FastEncoder, FastWorldModel
from worldmodel.observation import ObservationBatch
from worldmodel.parts.world_model import CausalWorldModel
from worldmodel.recipe import Latents
from worldmodel.recipes import RECIPES
from worldmodel.recipes.gcbc import ClonedPolicy
from worldmodel.recipes.lewm import tiny
from worldmodel.recipes.network import imagining


@pytest.fixture
def encoder() -> FastEncoder:
    return FastEncoder(tiny_recipe())


@pytest.fixture
def model() -> FastWorldModel:
    return FastWorldModel(imagining(tiny_recipe()))


@pytest.fixture
def head() -> StepsToGo:
    return StepsToGo(StepsToGoConfig(width=8), 1, tiny().latent_width).eval().requires_grad_(False)


@pytest.fixture
def inverse_dynamics() -> InverseDynamics:
    torch.manual_seed(0)
    return InverseDynamics(InverseDynamicsConfig(width=8), 1, tiny().latent_width, 10).eval().requires_grad_(False)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """A model of several sensors, with a learned distance and a policy."""
    return load_checkpoint(write_tiny_sensors_checkpoint(tmp_path))


def test_instances_match_their_protocols(
    model: FastWorldModel, head: StepsToGo, inverse_dynamics: InverseDynamics
) -> None:
    assert isinstance(conformance.world_model(conformance.imagining(model)), RolloutModel)
    assert isinstance(conformance.world_model(conformance.imagining(model.plain)), RolloutModel)
    assert isinstance(conformance.distance(conformance.learned_distance(head)), Distance)
    assert isinstance(conformance.distance(conformance.learned_distance(FastStepsToGo(head))), Distance)
    assert isinstance(conformance.policy(conformance.learned_policy(inverse_dynamics)), Policy)
    assert isinstance(conformance.cost(GoalCost(head, torch.zeros(1, 1, 16))), CostFunction)


def test_what_a_checkpoint_offers_matches_the_protocols(checkpoint: Checkpoint) -> None:
    world_model, policy, distances = conformance.offered(checkpoint)
    assert isinstance(world_model, RolloutModel) and isinstance(policy, Policy)
    assert distances and all(isinstance(distance, Distance) for _, distance in distances.values())


def test_every_recipe_that_imagines_or_acts_does_so_for_a_planner() -> None:
    """The recipes come from the table: a new one is tested here without a change."""
    for entry in RECIPES.values():
        module = entry.module(entry.presets["tiny"](), tiny_body())
        assert entry.world_model is None or isinstance(entry.world_model(module), RolloutModel)
        assert entry.policy is None or isinstance(entry.policy(module), Policy)


@pytest.mark.parametrize("owner", [CausalWorldModel, FastWorldModel])
def test_arguments_have_the_protocols_names(owner: type) -> None:
    """`isinstance` looks at names of methods only; a caller may use names of arguments."""
    wanted, given = (inspect.signature(each.rollout) for each in (RolloutModel, owner))
    assert list(given.parameters) == list(wanted.parameters)


@pytest.mark.parametrize("call", [InverseDynamics.forward, ClonedPolicy.__call__])
def test_a_policys_arguments_have_the_protocols_names(call: Callable[..., Any]) -> None:
    assert list(inspect.signature(call).parameters) == list(inspect.signature(Policy.__call__).parameters)


def test_the_planner_asks_a_world_model_for_rollouts_only() -> None:
    """The seam is as narrow as its use: a method that the planner does not call is not in its protocol."""
    methods = [name for name, value in vars(RolloutModel).items() if inspect.isfunction(value) and name[0] != "_"]
    assert methods == ["rollout"]


def test_learned_distances_take_the_protocols_arguments() -> None:
    for call in (StepsToGo.forward, FastStepsToGo.__call__, TaskDistance.forward):
        assert list(inspect.signature(call).parameters)[1:] == ["latents", "goal"]


def test_axes_across_the_seam(encoder: FastEncoder, model: FastWorldModel, head: StepsToGo) -> None:
    """b = 2 robots, s = 3 candidates, h = 4 model steps, t = 3 frames, n = 1 token, d = 16 wide, a = 10 actions."""
    frames = torch.zeros(6, 32, 32, 3, dtype=torch.uint8)
    context = encoder.encode(ObservationBatch({"top": frames})).tokens.unflatten(0, (2, 3))
    assert context.shape == (2, 3, 1, 16)
    future = model.rollout(model.begin(Latents(context), torch.zeros(2, 2, 10)), torch.zeros(2, 3, 4, 10))
    assert future.shape == (2, 3, 4, 1, 16)
    assert head(future, context[:, 0]).shape == (2, 3, 4)
    assert GoalCost(head, context[:, 0])(future, torch.zeros(2, 3, 4, 10)).shape == (2, 3)


def test_axes_across_the_seam_with_several_sensors(checkpoint: Checkpoint) -> None:
    """n = 3 tokens: two cameras and a vector."""
    world_model, policy, distances = conformance.offered(checkpoint)
    assert checkpoint.encoder is not None and checkpoint.world_model is not None
    assert world_model is not None and policy is not None
    observation = random_observation(checkpoint.manifest.sensors, 6)
    context = checkpoint.encoder.encode(observation).tokens.unflatten(0, (2, 3))
    assert context.shape == (2, 3, 3, 16)
    state = checkpoint.world_model.begin(Latents(context), torch.zeros(2, 2, 10))
    future = world_model.rollout(state, torch.zeros(2, 3, 4, 10))
    assert future.shape == (2, 3, 4, 3, 16)
    assert [distance(future, context[:, 0]).shape for _, distance in distances.values()] == [(2, 3, 4)]
    assert policy(context, context[:, 0]).shape == (2, 1, 10)


def test_inverse_dynamics_are_followed_in_imagination(model: FastWorldModel, inverse_dynamics: InverseDynamics) -> None:
    """By hand: propose a model step, imagine all steps so far, propose the next one from the last latent."""
    generator = torch.Generator().manual_seed(0)
    context, goal = torch.randn(2, 3, 1, 16, generator=generator), torch.randn(2, 1, 16, generator=generator)
    state = model.begin(Latents(context), torch.zeros(2, 2, 10))
    steps = [inverse_dynamics(context, goal)[:, 0]]
    while len(steps) < 4:
        imagined = model.rollout(state, torch.stack(steps, dim=1)[:, None])[:, 0]
        steps.append(inverse_dynamics(imagined, goal)[:, 0])
    actions = continued(conformance.policy(inverse_dynamics), model, state, context, goal, 4)
    assert torch.equal(actions, torch.stack(steps, dim=1)) and actions.shape == (2, 4, 10)


def test_the_legend_names_every_axis_that_is_used() -> None:
    """Shapes are read by their letters: each letter in the protocols is explained at the top of the file."""
    source = inspect.getsource(protocols)
    legend = {line.split()[0] for line in (protocols.__doc__ or "").splitlines() if line[:1].islower() and "  " in line}
    used = set(" ".join(part.split('"')[0] for part in source.split('Tensor, "')[1:]).split())
    assert {"b", "t", "a"} < used <= legend
