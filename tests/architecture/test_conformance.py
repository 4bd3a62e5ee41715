"""The same matches at run time, and that calls across the seam have the shapes that the protocols write down."""

import inspect

import pytest
import torch
from worldmodel.fast_steps_to_go import FastStepsToGo
from worldmodel.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from worldmodel.steps_to_go import StepsToGo, StepsToGoConfig
from worldmodel.world_model import LatentWorldModel

from planner import protocols
from planner.costs import GoalCost
from planner.policy import continued
from planner.protocols import CostFunction, Distance, Policy, RolloutModel
from tests.architecture import conformance
from tests.tiny import tiny_recipe
from worldmodel.recipes.lewm import tiny


@pytest.fixture
def model() -> LatentWorldModel:
    return LatentWorldModel(tiny_recipe())


@pytest.fixture
def head() -> StepsToGo:
    return StepsToGo(StepsToGoConfig(width=8), tiny().latent_width).eval().requires_grad_(False)


@pytest.fixture
def inverse_dynamics() -> InverseDynamics:
    torch.manual_seed(0)
    return InverseDynamics(InverseDynamicsConfig(width=8), tiny().latent_width, 10).eval().requires_grad_(False)


def test_instances_match_their_protocols(model: LatentWorldModel, head: StepsToGo) -> None:
    assert isinstance(conformance.world_model(model), RolloutModel)
    assert isinstance(conformance.learned_distance(head), Distance)
    assert isinstance(conformance.cost(GoalCost(head, torch.zeros(1, 1, 16))), CostFunction)


def test_arguments_have_the_protocols_names() -> None:
    """`isinstance` looks at names of methods only; a caller may use names of arguments."""
    wanted, given = (inspect.signature(owner.rollout) for owner in (RolloutModel, LatentWorldModel))
    assert list(given.parameters) == list(wanted.parameters)


def test_a_policys_arguments_have_the_protocols_names(inverse_dynamics: InverseDynamics) -> None:
    policy = conformance.policy(inverse_dynamics)
    assert isinstance(policy, Policy)
    assert list(inspect.signature(policy).parameters) == list(inspect.signature(Policy.__call__).parameters)[1:]


def test_the_planner_asks_a_world_model_for_rollouts_only() -> None:
    """The seam is as narrow as its use: a method that the planner does not call is not in its protocol."""
    methods = [name for name, value in vars(RolloutModel).items() if inspect.isfunction(value) and name[0] != "_"]
    assert methods == ["rollout"]


def test_learned_distances_take_the_protocols_arguments() -> None:
    for call in (StepsToGo.forward, FastStepsToGo.__call__):
        assert list(inspect.signature(call).parameters)[1:] == ["latents", "goal"]


def test_axes_across_the_seam(model: LatentWorldModel, head: StepsToGo) -> None:
    """b = 2 robots, s = 3 candidates, h = 4 model steps, t = 3 frames, n = 1 token, d = 16 wide, a = 10 actions."""
    frames = torch.zeros(6, 32, 32, 3, dtype=torch.uint8)
    context = model.encode(frames).unflatten(0, (2, 3))
    assert context.shape == (2, 3, 1, 16)
    future = model.rollout(model.begin(context, torch.zeros(2, 2, 10)), torch.zeros(2, 3, 4, 10))
    assert future.shape == (2, 3, 4, 1, 16)
    assert head(future, context[:, 0]).shape == (2, 3, 4)
    assert GoalCost(head, context[:, 0])(future, torch.zeros(2, 3, 4, 10)).shape == (2, 3)


def test_inverse_dynamics_are_followed_in_imagination(
    model: LatentWorldModel, inverse_dynamics: InverseDynamics
) -> None:
    """By hand: propose a model step, imagine all steps so far, propose the next one from the last latent."""
    generator = torch.Generator().manual_seed(0)
    context, goal = torch.randn(2, 3, 1, 16, generator=generator), torch.randn(2, 1, 16, generator=generator)
    state = model.begin(context, torch.zeros(2, 2, 10))
    steps = [inverse_dynamics(context[:, -1], goal)]
    while len(steps) < 4:
        imagined = model.rollout(state, torch.stack(steps, dim=1)[:, None])[:, 0, -1]
        steps.append(inverse_dynamics(imagined, goal))
    actions = continued(conformance.policy(inverse_dynamics), model, state, context, goal, 4)
    assert torch.equal(actions, torch.stack(steps, dim=1)) and actions.shape == (2, 4, 10)


def test_the_legend_names_every_axis_that_is_used() -> None:
    """Shapes are read by their letters: each letter in the protocols is explained at the top of the file."""
    source = inspect.getsource(protocols)
    legend = {line.split()[0] for line in (protocols.__doc__ or "").splitlines() if line[:1].islower() and "  " in line}
    used = set(" ".join(part.split('"')[0] for part in source.split('Tensor, "')[1:]).split())
    assert {"b", "t", "a"} < used <= legend
