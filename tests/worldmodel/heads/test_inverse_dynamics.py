"""A head that says what to do, on a world whose answer is known: a point that moves by its action."""

import pytest
import torch
from torch import Generator, Tensor
from worldmodel.data.latent_episodes import LatentEpisodes

from worldmodel.heads.inverse_dynamics import (
    InverseDynamics,
    InverseDynamicsConfig,
    InverseDynamicsTraining,
    fit_inverse_dynamics,
)

CONTROL_STEPS = 2
EPISODES, FRAMES = 60, 21


def walks() -> tuple[LatentEpisodes, Tensor]:
    """Straight walks in a plane, each at an action of its own; the last row's action is nonsense."""
    generator = Generator().manual_seed(0)
    actions = torch.rand(EPISODES, 1, 2, generator=generator) * 1.6 - 0.8
    start = torch.randn(EPISODES, 1, 2, generator=generator)
    latents = start + 0.2 * actions * torch.arange(FRAMES)[None, :, None]
    done = actions.repeat(1, FRAMES, 1)
    done[:, -1] = torch.nan
    last = torch.arange(1, EPISODES + 1).repeat_interleave(FRAMES) * FRAMES - 1
    return LatentEpisodes(latents.flatten(0, 1), last), done.flatten(0, 1)


@pytest.fixture(scope="module")
def losses() -> list[float]:
    return []


@pytest.fixture(scope="module")
def head(losses: list[float]) -> InverseDynamics:
    torch.manual_seed(0)
    data, actions = walks()
    training = InverseDynamicsTraining(steps=400, batch=256, learning_rate=3e-3, furthest=4, noise=0.01)
    generator = Generator().manual_seed(0)
    return fit_inverse_dynamics(
        data,
        actions,
        InverseDynamicsConfig(width=64),
        training,
        CONTROL_STEPS,
        generator,
        lambda step, loss: losses.append(loss),
    )


def test_it_learns(head: InverseDynamics, losses: list[float]) -> None:
    assert len(losses) == 400
    assert sum(losses[-20:]) < 0.2 * sum(losses[:20]), "a loss of NaN would be the last row's action"


def test_it_goes_towards_the_goal(head: InverseDynamics) -> None:
    generator = Generator().manual_seed(5)
    start = torch.randn(200, 1, 2, generator=generator) / 2
    way = torch.randn(200, 1, 2, generator=generator)
    goal = start + way / way.norm(dim=-1, keepdim=True)
    done = head(start, goal).unflatten(1, (CONTROL_STEPS, 2)).mean(1)
    cosine = torch.cosine_similarity(done, way.squeeze(1))
    assert cosine.median() > 0.9
    back = torch.cosine_similarity(head(goal, start).unflatten(1, (CONTROL_STEPS, 2)).mean(1), way.squeeze(1))
    assert back.median() < -0.9, "the goal is not looked at"


def test_actions_are_unitless_and_one_block(head: InverseDynamics) -> None:
    actions = head(100 * torch.randn(7, 1, 2), torch.randn(7, 1, 2))
    assert actions.shape == (7, 2 * CONTROL_STEPS) and (actions.abs() <= 1).all()


def test_it_is_frozen_and_reproducible(head: InverseDynamics) -> None:
    assert not head.training and not any(parameter.requires_grad for parameter in head.parameters())
    data, actions = walks()
    training = InverseDynamicsTraining(steps=3, batch=16)
    one, same = (
        (torch.manual_seed(1), fit_inverse_dynamics(data, actions, InverseDynamicsConfig(width=8), training, 2, g))[1]
        for g in (Generator().manual_seed(2), Generator().manual_seed(2))
    )
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))


def test_a_width_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="width=0"):
        InverseDynamicsConfig(width=0)
