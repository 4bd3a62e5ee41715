"""A head that answers with actions, on a world whose answer is known: a point that moves by its action."""

from pathlib import Path

import pytest
import torch
from torch import Generator

from tests.worldmodel.latent_store import latent_episodes
from worldmodel.clips import StepTiming
from worldmodel.data.latents import LatentEpisodes
from worldmodel.heads.inverse_dynamics import (
    InverseDynamics,
    InverseDynamicsConfig,
    InverseDynamicsTraining,
    fit_inverse_dynamics,
)

CONTROL_STEPS = 2
EPISODES, FRAMES = 60, 21


def walks(folder: Path) -> LatentEpisodes:
    """Straight walks in a plane, each at an action of its own; the last row's action is nonsense."""
    generator = Generator().manual_seed(0)
    actions = torch.rand(EPISODES, 1, 2, generator=generator) * 1.6 - 0.8
    start = torch.randn(EPISODES, 1, 2, generator=generator)
    latents = start + 0.2 * actions * torch.arange(FRAMES)[None, :, None]
    done = actions.repeat(1, FRAMES, 1)
    done[:, -1] = torch.nan
    return latent_episodes(folder, latents[:, :, None], done, StepTiming(control_steps=CONTROL_STEPS))


def learned(
    data: LatentEpisodes, training: InverseDynamicsTraining, width: int, losses: list[float]
) -> InverseDynamics:
    torch.manual_seed(0)
    head = InverseDynamics(InverseDynamicsConfig(width=width), 1, 2, 2 * CONTROL_STEPS)
    fit_inverse_dynamics(head, data, training, 0, lambda step, loss: losses.append(loss))
    return head


@pytest.fixture(scope="module")
def losses() -> list[float]:
    return []


@pytest.fixture(scope="module")
def head(losses: list[float], tmp_path_factory: pytest.TempPathFactory) -> InverseDynamics:
    training = InverseDynamicsTraining(steps=400, batch=256, learning_rate=3e-3, furthest=4, noise=0.01)
    return learned(walks(tmp_path_factory.mktemp("walks")), training, 64, losses)


def test_it_learns(head: InverseDynamics, losses: list[float]) -> None:
    assert len(losses) == 400
    assert sum(losses[-20:]) < 0.2 * sum(losses[:20]), "a loss of NaN would be the last row's action"


def test_it_goes_towards_the_goal(head: InverseDynamics) -> None:
    generator = Generator().manual_seed(5)
    start = torch.randn(200, 1, 2, generator=generator) / 2
    way = torch.randn(200, 1, 2, generator=generator)
    goal = start + way / way.norm(dim=-1, keepdim=True)
    done = head.between(start, goal).unflatten(1, (CONTROL_STEPS, 2)).mean(1)
    cosine = torch.cosine_similarity(done, way.squeeze(1))
    assert cosine.median() > 0.9
    back = torch.cosine_similarity(head.between(goal, start).unflatten(1, (CONTROL_STEPS, 2)).mean(1), way.squeeze(1))
    assert back.median() < -0.9, "the goal is not looked at"


def test_actions_are_unitless_and_one_block(head: InverseDynamics) -> None:
    actions = head(100 * torch.randn(7, 3, 1, 2), torch.randn(7, 1, 2))
    assert actions.shape == (7, 1, 2 * CONTROL_STEPS) and (actions.abs() <= 1).all()


def test_as_a_policy_it_starts_from_the_newest_frame(head: InverseDynamics) -> None:
    generator = Generator().manual_seed(6)
    context, goal = torch.randn(5, 3, 1, 2, generator=generator), torch.randn(5, 1, 2, generator=generator)
    assert torch.equal(head(context, goal)[:, 0], head.between(context[:, 2], goal))


def test_it_is_frozen_and_reproducible(head: InverseDynamics, tmp_path: Path) -> None:
    assert not head.training and not any(parameter.requires_grad for parameter in head.parameters())
    data, training = walks(tmp_path), InverseDynamicsTraining(steps=3, batch=16)
    one, same = (learned(data, training, 8, []) for _ in range(2))
    assert all(map(torch.equal, one.state_dict().values(), same.state_dict().values()))


def test_a_width_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="width=0"):
        InverseDynamicsConfig(width=0)
