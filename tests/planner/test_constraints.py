"""What a robot can and will do, by hand. That every optimiser obeys is tested in tests/contracts/test_optimisers.py."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from planner.constraints import Constrained, Constraints
from planner.names import SearchSpaceName
from tests.planner.linear import space

NONE = torch.zeros(0, 1)
ANY = torch.tensor([math.inf])


def constraints(**given: Any) -> Constraints:
    return Constraints(**{"max_delta": ANY, "committed": NONE, **given})


def obeyed(limits: Constraints, wanted: list[float]) -> list[float]:
    """One action, one control step a model step."""
    return limits.apply(torch.tensor(wanted)[:, None]).flatten().tolist()


def test_without_limits_all_is_as_wanted() -> None:
    assert obeyed(constraints(), [0.5, -1.0, 1.0]) == [0.5, -1.0, 1.0]


def test_changes_are_clipped_forward_in_time() -> None:
    limits = constraints(max_delta=torch.tensor([0.25]))
    assert obeyed(limits, [0.5, -1.0, 1.0, 0.4, 0.4]) == pytest.approx([0.5, 0.25, 0.5, 0.4, 0.4])


def test_the_action_executed_last_counts() -> None:
    limits = constraints(max_delta=torch.tensor([0.25]), last=torch.tensor([0.0]))
    assert obeyed(limits, [0.5, 0.5, 0.5]) == pytest.approx([0.25, 0.5, 0.5])


def test_settled_actions_stand_and_the_next_follows_from_them() -> None:
    limits = constraints(max_delta=torch.tensor([0.25]), committed=torch.tensor([[0.1], [0.2]]))
    assert obeyed(limits, [-1.0, -1.0, -1.0, -1.0]) == pytest.approx([0.1, 0.2, -0.05, -0.3])


@pytest.mark.parametrize("before", [{"last": torch.tensor([0.0])}, {"committed": torch.tensor([[0.0]])}])
def test_the_first_planned_action_may_have_a_tighter_limit(before: dict[str, Tensor]) -> None:
    limits = constraints(max_delta=torch.tensor([0.5]), max_start=torch.tensor([0.125]), **before)
    planned = obeyed(limits, [1.0] * 4)[len(before.get("committed", NONE)) :]
    assert planned[:3] == pytest.approx([0.125, 0.625, 1.0])


def test_a_wider_limit_of_the_first_action_changes_nothing() -> None:
    limits = constraints(max_delta=torch.tensor([0.25]), max_start=torch.tensor([9.0]), last=torch.tensor([0.0]))
    assert obeyed(limits, [1.0, 1.0]) == pytest.approx([0.25, 0.5])


def test_what_may_not_change_stays() -> None:
    limits = constraints(max_delta=torch.tensor([0.0]), last=torch.tensor([0.3]))
    assert obeyed(limits, [1.0, -1.0]) == pytest.approx([0.3, 0.3])


def test_each_action_has_its_own_rate_across_model_steps() -> None:
    """Two model steps of two control steps of two actions."""
    limits = Constraints(max_delta=torch.tensor([0.1, math.inf]), committed=torch.zeros(0, 2))
    blocks = limits.apply(torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, -1.0, 1.0, 1.0]]))
    torch.testing.assert_close(blocks, torch.tensor([[0.0, 0.0, 0.1, 1.0], [0.2, -1.0, 0.3, 1.0]]))


@settings(deadline=None)
@given(
    wanted=st.lists(st.floats(-0.5, 1, width=32), min_size=8, max_size=8),
    last=st.none() | st.floats(-0.5, 1, width=32),
    rate=st.floats(0, 2, width=32),
)
def test_bounds_still_hold_and_changes_are_small(wanted: list[float], last: float | None, rate: float) -> None:
    before = None if last is None else torch.tensor([last])
    limits = constraints(max_delta=torch.tensor([rate]), last=before)
    actions = obeyed(limits, wanted)
    assert all(-0.5 <= action <= 1 for action in actions)
    steps = actions if last is None else [last, *actions]
    assert all(abs(b - a) <= rate + 1e-6 for a, b in pairwise(steps))
    assert limits.apply(torch.tensor(actions)[:, None]).flatten().tolist() == actions, "what obeys is left alone"


@pytest.mark.parametrize("name", ["constant", "free", "linear_spline", "cubic_spline"])
def test_candidates_are_constrained_alike_alone_or_among_many(name: SearchSpaceName) -> None:
    limits = Constraints(max_delta=torch.full((2,), 0.1), committed=torch.tensor([[0.1, 0.0]]))
    within = Constrained(space(control_steps=5, name=name), limits)
    many = torch.rand(3, 50, within.rows(3), len(within.low), generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(within.decode(many)[1, 20], within.decode(many[1, 20]))
    assert within.decode(many).shape == (3, 50, 3, 10)


def test_a_shifted_plan_follows_the_same_actions_from_the_last_one_executed() -> None:
    """Receding horizon under a rate limit: nothing jumps when the plan is carried on."""

    def follows(last: Tensor) -> Constrained:
        limits = Constraints(max_delta=torch.full((2,), 0.1), committed=torch.zeros(0, 2), last=last)
        return Constrained(space(control_steps=5), limits)

    variables = torch.tensor([[1.0, -1.0], [-1.0, 0.5], [0.2, 0.3]])
    before = follows(torch.zeros(2))
    first = before.decode(variables).reshape(15, 2)
    second = follows(first[4]).decode(before.shift(variables, 1)).reshape(15, 2)
    assert torch.equal(second[:10], first[5:])


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"max_delta": torch.tensor([-0.1])}, "must not be negative"),
        ({"max_delta": torch.tensor([math.nan])}, "must not be negative"),
        ({"max_start": torch.tensor([-0.1])}, "must not be negative"),
        ({"committed": torch.tensor([[math.nan]])}, "must be finite"),
        ({"max_delta": torch.tensor([0.1]), "committed": torch.tensor([[0.0], [0.2]])}, "change by up to"),
        (
            {"max_delta": torch.tensor([0.1]), "committed": torch.tensor([[0.3]]), "last": torch.tensor([0.0])},
            "change by up to",
        ),
    ],
)
def test_contradictions_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        constraints(**wrong)


def test_more_settled_actions_than_a_plan_has_are_refused() -> None:
    with pytest.raises(ValueError, match="3 committed actions are more than the 2 of a plan"):
        obeyed(constraints(committed=torch.zeros(3, 1)), [0.0, 0.0])


class TestWithin:
    LOW, HIGH = torch.tensor([-0.5]), torch.tensor([0.5])

    @pytest.mark.parametrize("committed", [[[0.6]], [[0.0], [-0.6]]])
    def test_settled_actions_beyond_the_limits_are_refused(self, committed: list[list[float]]) -> None:
        with pytest.raises(ValueError, match="committed actions leave the limits"):
            constraints(committed=torch.tensor(committed)).check_within(self.LOW, self.HIGH)

    @pytest.mark.parametrize("last", [0.7, -0.7])
    def test_limits_that_cannot_be_reached_in_one_control_step_are_refused(self, last: float) -> None:
        limits = constraints(max_delta=torch.tensor([0.1]), last=torch.tensor([last]))
        with pytest.raises(ValueError, match="does not reach the limits"):
            limits.check_within(self.LOW, self.HIGH)

    def test_so_are_those_out_of_reach_of_the_first_action(self) -> None:
        limits = constraints(max_delta=torch.tensor([9.0]), max_start=torch.tensor([0.1]), last=torch.tensor([0.7]))
        with pytest.raises(ValueError, match="does not reach the limits"):
            limits.check_within(self.LOW, self.HIGH)

    @pytest.mark.parametrize("wanted", [-0.5, 0.0, 0.5])
    def test_limits_that_can_be_are_reached(self, wanted: float) -> None:
        limits = constraints(max_delta=torch.tensor([0.3]), last=torch.tensor([0.7]))
        limits.check_within(self.LOW, self.HIGH)
        assert -0.5 <= obeyed(limits, [wanted])[0] <= 0.5
