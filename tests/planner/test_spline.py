"""Knots become curves, and what is left of a curve becomes knots again."""

import pytest
import torch
from torch import Generator, Tensor

from planner.names import SearchSpaceName
from planner.search_space import make_search_space
from planner.spline import Interpolation, Spline, spline_weights

LOW, HIGH = torch.tensor([-0.5, -1.0]), torch.tensor([1.0, 0.25])
NAMES: list[SearchSpaceName] = ["linear_spline", "cubic_spline"]
both = pytest.mark.parametrize("name", NAMES)


def spline(name: SearchSpaceName, *, horizon: int = 5, control_steps: int = 5, knots: int = 4) -> Spline:
    wide = torch.ones(2)
    made = make_search_space(name, low=-wide, high=wide, control_steps=control_steps, horizon=horizon, knots=knots)
    assert isinstance(made, Spline)
    return made


def steps(space: Spline, knots: Tensor) -> Tensor:
    """[c x]: every control step's action."""
    return space.decode(knots).reshape(-1, knots.shape[-1])


def random_knots(count: int = 4, size: float = 0.5) -> Tensor:
    return size * (2 * torch.rand(count, 2, generator=Generator().manual_seed(0)) - 1)


def test_linear_by_hand() -> None:
    """Three knots over five control steps: on the knots at steps 0, 2 and 4, halfway between them at 1 and 3."""
    assert spline_weights("linear", steps=5, knots=3).tolist() == [
        [1, 0, 0],
        [0.5, 0.5, 0],
        [0, 1, 0],
        [0, 0.5, 0.5],
        [0, 0, 1],
    ]


def test_cubic_by_hand() -> None:
    """Halfway: mean of both knots, plus an eighth of the first slope minus the second (1, 0 for knots 0, 1, 0)."""
    weights = spline_weights("cubic", steps=5, knots=3)
    curve = weights @ torch.tensor([0.0, 1.0, 0.0])
    assert curve.tolist() == pytest.approx([0, 0.5 + (1 - 0) / 8, 1, 0.5 + (0 + 1) / 8, 0])


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize(("count", "knots"), [(1, 1), (5, 1), (2, 2), (25, 2), (25, 4), (25, 7), (6, 6)])
def test_weights_add_up_and_straight_lines_stay_straight(interpolation: Interpolation, count: int, knots: int) -> None:
    weights = spline_weights(interpolation, steps=count, knots=knots)
    assert weights.shape == (count, knots)
    torch.testing.assert_close(weights.sum(1), torch.ones(count))
    line = torch.linspace(-1, 1, count)
    if knots > 1:
        torch.testing.assert_close(weights @ torch.linspace(-1, 1, knots), line)


@pytest.mark.parametrize("knots", [0, 6])
def test_more_knots_than_control_steps_are_refused(knots: int) -> None:
    with pytest.raises(ValueError, match=f"knots={knots} must be at least 1 and at most the 5 control steps"):
        spline_weights("linear", steps=5, knots=knots)


@both
def test_the_curve_goes_through_its_knots(name: SearchSpaceName) -> None:
    space, knots = spline(name), random_knots()
    torch.testing.assert_close(steps(space, knots)[[0, 8, 16, 24]], knots)
    assert space.decode(knots).shape == (5, 10)


@both
def test_a_short_horizon_has_a_knot_for_each_control_step(name: SearchSpaceName) -> None:
    assert spline(name, horizon=1, control_steps=3).rows(1) == 3
    assert spline(name, horizon=1, control_steps=1).rows(1) == 1


@both
def test_another_horizon_is_refused(name: SearchSpaceName) -> None:
    with pytest.raises(ValueError, match="horizon=4; these knots are spread over 5 model steps"):
        spline(name).rows(4)


def test_a_curve_that_swings_beyond_its_knots_stays_within_bounds() -> None:
    knots = torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert (spline_weights("cubic", steps=25, knots=4) @ knots).max() > 1.1, "it does swing"
    space = make_search_space("cubic_spline", low=LOW, high=HIGH, control_steps=5, horizon=5)
    knots = 5 * torch.randn(2, 7, 4, 2, generator=Generator().manual_seed(0))
    actions = space.decode(space.clamp(knots)).unflatten(-1, (5, 2))
    assert actions.shape == (2, 7, 5, 5, 2)
    assert ((actions >= LOW) & (actions <= HIGH)).all()


@both
def test_one_candidate_decodes_as_it_does_among_many(name: SearchSpaceName) -> None:
    """To the last bit, or a plan would depend on who shares the batch."""
    space, many = spline(name), torch.randn(3, 50, 4, 2, generator=Generator().manual_seed(0))
    assert torch.equal(space.decode(many)[1, 20], space.decode(many[1, 20]))


class TestShift:
    @both
    def test_nothing_executed_leaves_everything(self, name: SearchSpaceName) -> None:
        torch.testing.assert_close(spline(name).shift(random_knots(), 0), random_knots(), rtol=0, atol=1e-5)

    @both
    @pytest.mark.parametrize("executed", [1, 2, 3, 4, 5, 9])
    def test_what_is_constant_stays(self, name: SearchSpaceName, executed: int) -> None:
        knots = torch.tensor([0.3, -0.4]).expand(4, 2)
        torch.testing.assert_close(spline(name).shift(knots, executed), knots)

    @both
    def test_a_plan_that_has_run_out_leaves_its_last_action(self, name: SearchSpaceName) -> None:
        knots = random_knots()
        torch.testing.assert_close(spline(name).shift(knots, 5), knots[-1:].expand(4, 2))

    @both
    @pytest.mark.parametrize("executed", [1, 2, 3])
    def test_the_same_actions_follow_over_the_remaining_time(self, name: SearchSpaceName, executed: int) -> None:
        """Within a tenth of what the curve spans, though the knots lie elsewhere now; the knots themselves do not."""
        space, knots = spline(name), torch.tensor([[-0.6, 0.5], [0.0, 0.3], [0.4, -0.2], [0.6, -0.5]])
        old, new = steps(space, knots)[5 * executed :], steps(space, space.shift(knots, executed))
        assert (new[: len(old)] - old).abs().max() < 0.1 * 1.2
        assert (steps(space, knots)[: len(old)] - old).abs().max() > 0.25

    @both
    def test_a_straight_line_is_followed_to_its_end(self, name: SearchSpaceName) -> None:
        space, knots = spline(name), torch.linspace(-0.5, 0.5, 4)[:, None].expand(4, 2)
        old, new = steps(space, knots)[5:], steps(space, space.shift(knots, 1))
        assert (new[: len(old)] - old).abs().max() < 0.03

    @both
    @pytest.mark.parametrize("executed", [1, 2, 3])
    def test_no_other_knots_are_nearer(self, name: SearchSpaceName, executed: int) -> None:
        """Least squares: whichever way the knots are moved, the curve gets further from what is left."""
        space, knots = spline(name), random_knots()
        old = steps(space, knots)
        wanted = old[[min(c + 5 * executed, 24) for c in range(25)]]
        trust = torch.tensor([1.0 if c + 5 * executed < 25 else 0.1 for c in range(25)])[:, None]

        def off(moved: Tensor) -> float:
            return float((trust * (steps(space, moved) - wanted)).square().sum())

        shifted = space.shift(knots, executed)
        for move in 0.02 * torch.randn(50, 4, 2, generator=Generator().manual_seed(1)):
            assert off(shifted + move) > off(shifted)

    @both
    def test_knots_stay_within_bounds(self, name: SearchSpaceName) -> None:
        space = make_search_space(name, low=LOW, high=HIGH, control_steps=5, horizon=5)
        for seed in range(20):
            knots = space.clamp(2 * torch.randn(4, 2, generator=Generator().manual_seed(seed)))
            shifted = space.shift(knots, 1)
            assert ((shifted >= LOW) & (shifted <= HIGH)).all()

    @both
    def test_nobody_executes_less_than_nothing(self, name: SearchSpaceName) -> None:
        with pytest.raises(ValueError, match="executed_steps=-1 must not be negative"):
            spline(name).shift(random_knots(), -1)
