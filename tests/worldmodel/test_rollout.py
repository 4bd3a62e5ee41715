"""Imagining with kept keys and values gives what imagining the plain way gives."""

import pytest
import torch
from torch import Generator, Tensor

from tests.worldmodel.test_predictor import ACTION, LATENT, Positions, make
from worldmodel.predictor import Predictor
from worldmodel.rollout import Prefix, begin, cached_rollout, naive_rollout, stack

ROBOTS, CANDIDATES = 3, 5


def problem(predictor: Predictor, context: int, horizon: int, seed: int = 0) -> tuple[Prefix, Tensor]:
    """Frames seen and actions taken, and candidates for what comes next."""
    generator = Generator().manual_seed(seed)
    prefix = begin(
        predictor,
        torch.randn(ROBOTS, context, LATENT, generator=generator),
        torch.randn(ROBOTS, context - 1, ACTION, generator=generator),
    )
    return prefix, torch.randn(ROBOTS, CANDIDATES, horizon, ACTION, generator=generator)


def relative_error(given: Tensor, wanted: Tensor) -> float:
    return float((given - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("horizon", range(1, 9))
@pytest.mark.parametrize("context", range(1, 5))
@pytest.mark.parametrize("window", [1, 2, 4, 20])
def test_cached_is_naive(window: int, context: int, horizon: int) -> None:
    predictor = make("rotary", window)
    prefix, actions = problem(predictor, context, horizon)
    assert relative_error(cached_rollout(predictor, prefix, actions), naive_rollout(predictor, prefix, actions)) < 1e-4


def test_cached_is_naive_with_double_norm_too() -> None:
    predictor = make("rotary", 3, double_norm=True)
    prefix, actions = problem(predictor, 3, 5)
    assert relative_error(cached_rollout(predictor, prefix, actions), naive_rollout(predictor, prefix, actions)) < 1e-4


def test_naive_is_one_step_after_another() -> None:
    """The reference itself, by hand: predict, append, predict again."""
    predictor = make("rotary", 20)
    prefix, actions = problem(predictor, 2, 3)
    for robot in range(ROBOTS):
        for candidate in range(CANDIDATES):
            seen, taken = prefix.context[robot : robot + 1], prefix.past_actions[robot : robot + 1]
            for step in range(3):
                taken = torch.cat([taken, actions[robot, candidate, None, step : step + 1]], 1)
                seen = torch.cat([seen, predictor(seen, taken)[:, -1:]], 1)
            torch.testing.assert_close(
                naive_rollout(predictor, prefix, actions)[robot, candidate], seen[0, 2:], rtol=1e-4, atol=1e-5
            )


def test_learned_positions_slide() -> None:
    """LeWorldModel's own rollout: feed the newest 3 latents with their actions, append the output."""
    predictor = make("learned", 3)
    prefix, actions = problem(predictor, 2, 5)
    seen = prefix.context[:, None].expand(-1, CANDIDATES, -1, -1).flatten(0, 1)
    taken = torch.cat([prefix.past_actions[:, None].expand(-1, CANDIDATES, -1, -1), actions], 2).flatten(0, 1)
    for end in range(2, 7):
        window = slice(max(0, end - 3), end)
        seen = torch.cat([seen, predictor(seen[:, window], taken[:, window])[:, -1:]], 1)
    torch.testing.assert_close(naive_rollout(predictor, prefix, actions).flatten(0, 1), seen[:, 2:])


@pytest.mark.parametrize(("positions", "roll"), [("learned", naive_rollout), ("rotary", cached_rollout)])
def test_rolling_out_leaves_the_prefix_as_it_was(positions: Positions, roll) -> None:
    predictor = make(positions, 3)
    prefix, actions = problem(predictor, 3, 4)
    before = [tensor.clone() for tensor in (prefix.context, prefix.past_actions, *prefix.keys, *prefix.values)]
    first, second = roll(predictor, prefix, actions), roll(predictor, prefix, actions)
    assert torch.equal(first, second)
    after = (prefix.context, prefix.past_actions, *prefix.keys, *prefix.values)
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize(("positions", "roll"), [("learned", naive_rollout), ("rotary", cached_rollout)])
@pytest.mark.parametrize("changed", range(4))
def test_an_action_changes_the_latent_after_it_and_none_before(positions: Positions, roll, changed: int) -> None:
    predictor = make(positions, 3)
    prefix, actions = problem(predictor, 2, 4)
    other = actions.clone()
    other[1, 2, changed] += 1
    moved = (roll(predictor, prefix, actions) - roll(predictor, prefix, other)).abs().amax(-1) > 1e-5  # [b s h]
    assert moved[1, 2].tolist() == [step >= changed for step in range(4)]
    moved[1, 2] = False
    assert not moved.any(), "another robot or candidate felt it"


def test_past_actions_and_older_frames_are_felt() -> None:
    predictor = make("rotary", 4)
    prefix, actions = problem(predictor, 3, 2)
    plain = cached_rollout(predictor, prefix, actions)
    for context, past in [
        (prefix.context, prefix.past_actions + 1),
        (torch.cat([prefix.context[:, :1] + 1, prefix.context[:, 1:]], 1), prefix.past_actions),
    ]:
        assert relative_error(cached_rollout(predictor, begin(predictor, context, past), actions), plain) > 1e-3


def test_robots_and_candidates_do_not_mix() -> None:
    predictor = make("rotary", 3)
    prefix, actions = problem(predictor, 3, 4)
    together = cached_rollout(predictor, prefix, actions)
    for robot in range(ROBOTS):
        row = slice(robot, robot + 1)
        alone = begin(predictor, prefix.context[row], prefix.past_actions[row])
        torch.testing.assert_close(
            cached_rollout(predictor, alone, actions[row, 3:4])[0, 0], together[robot, 3], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(("positions", "roll"), [("learned", naive_rollout), ("rotary", cached_rollout)])
@pytest.mark.parametrize("context", [1, 3])
def test_robots_that_began_alone_are_stacked(positions: Positions, roll, context: int) -> None:
    """In the order given, and as if they had begun together."""
    predictor = make(positions, 3)
    together, actions = problem(predictor, context, 4)
    alone = [
        begin(predictor, together.context[robot : robot + 1], together.past_actions[robot : robot + 1])
        for robot in range(ROBOTS)
    ]
    order = [2, 0, 1]
    imagined = roll(predictor, stack([alone[robot] for robot in order]), actions[order])
    torch.testing.assert_close(imagined, roll(predictor, together, actions)[order], rtol=1e-4, atol=1e-5)
