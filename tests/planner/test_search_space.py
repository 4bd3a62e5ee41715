"""Search variables become actions, and back."""

from typing import get_args

import pytest
import torch
from torch import Generator, Tensor

from planner.names import SearchSpaceName
from planner.search_space import make_search_space
from tests.planner.linear import space

HORIZON = 3
LOW, HIGH = torch.tensor([-0.5, 0.0]), torch.tensor([1.0, 0.25])


def test_constant_holds_one_action_over_the_model_step() -> None:
    space = make_search_space("constant", low=LOW, high=HIGH, control_steps=3)
    assert space.decode(torch.tensor([0.7, 0.1])).tolist() == pytest.approx([0.7, 0.1] * 3)
    assert (len(space.low), space.repeat) == (2, 3)


def test_free_chooses_each_control_steps_action() -> None:
    space = make_search_space("free", low=LOW, high=HIGH, control_steps=3)
    variables = torch.arange(6) / 10
    assert torch.equal(space.decode(variables), variables)
    assert space.low.tolist() == LOW.tolist() * 3 and space.high.tolist() == HIGH.tolist() * 3


@pytest.mark.parametrize("name", ["constant", "free"])
def test_clamped_variables_decode_to_actions_within_limits(name: SearchSpaceName) -> None:
    space = make_search_space(name, low=LOW, high=HIGH, control_steps=4)
    variables = 5 * torch.randn(2, 7, 3, len(space.low), generator=torch.Generator().manual_seed(0))
    actions = space.decode(space.clamp(variables)).unflatten(-1, (4, 2))
    assert actions.shape == (2, 7, 3, 4, 2)
    assert ((actions >= LOW) & (actions <= HIGH)).all()


def test_what_is_within_limits_is_left_alone() -> None:
    space = make_search_space("constant", low=LOW, high=HIGH, control_steps=4)
    variables = torch.stack([LOW, HIGH, (LOW + HIGH) / 2])
    assert torch.equal(space.clamp(variables), variables)


def test_decoding_is_linear() -> None:
    """So a plan can be read back into variables for a warm start."""
    space = make_search_space("constant", low=LOW, high=HIGH, control_steps=4)
    a, b = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(space.decode(2 * a - 3 * b), 2 * space.decode(a) - 3 * space.decode(b))


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (torch.tensor([-1.5]), torch.tensor([1.0])),
        (torch.tensor([-1.0]), torch.tensor([1.01])),
        (torch.tensor([0.5]), torch.tensor([0.4])),
        (torch.tensor([torch.nan]), torch.tensor([1.0])),
        (torch.tensor([-1.0]), torch.tensor([torch.nan])),
    ],
    ids=["too low", "too high", "turned round", "low no number", "high no number"],
)
def test_limits_that_are_none_are_refused(low: Tensor, high: Tensor) -> None:
    with pytest.raises(ValueError, match="-1 <= low <= high <= 1; given low="):
        make_search_space("constant", low=low, high=high, control_steps=1)


def test_a_fixed_action_is_allowed() -> None:
    fixed = torch.tensor([0.3])
    assert make_search_space("constant", low=fixed, high=fixed, control_steps=2).clamp(torch.zeros(1)) == fixed


@pytest.mark.parametrize("name", get_args(SearchSpaceName))
def test_what_a_space_can_say_survives_encoding(name: SearchSpaceName) -> None:
    made = space(low=(-1.0, -0.5), high=(0.25, 1.0), control_steps=4, name=name, horizon=HORIZON)
    generator = Generator().manual_seed(0)
    spread = torch.rand(made.rows(HORIZON), len(made.low), generator=generator)
    variables = made.low + spread * (made.high - made.low)
    if name == "cubic_spline":
        variables = variables * 0.5  # a curve that stays within bounds is not clamped
    torch.testing.assert_close(made.encode(made.decode(variables)), variables, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", get_args(SearchSpaceName))
def test_what_is_encoded_is_within_bounds(name: SearchSpaceName) -> None:
    made = space(low=(-1.0, -0.5), high=(0.25, 1.0), control_steps=4, name=name, horizon=HORIZON)
    variables = made.encode(torch.full((HORIZON, 8), 7.0))
    assert ((variables >= made.low) & (variables <= made.high)).all()


def test_the_mean_stands_for_actions_that_a_held_one_cannot_follow() -> None:
    encoded = space(control_steps=2).encode(torch.tensor([[0.0, 0.5, 1.0, 0.5]]))
    assert encoded.tolist() == [[0.5, 0.5]]
