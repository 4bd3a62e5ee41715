"""Rates and settled actions between physical units and the planner. The refusals are in test_refusals.py."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.presets import PRESETS
from server.engine.actions import bounds
from server.engine.motion import Motion, motion
from server.errors import Code, ServiceError
from server.schemas import ActionLimits, Goal, ModelRef, Observation, PlanRequest
from tests.planner.linear import build
from worldmodel.manifest import ActionSpec

SPEC = ActionSpec(
    names=("v", "w"), units=("m/s", "rad/s"), low=(-0.1, -3.0), high=(0.7, 2.0), dt_s=0.05, control_steps=3
)
LOW, RANGE = np.asarray(SPEC.low), np.asarray(SPEC.high) - np.asarray(SPEC.low)
CPU = torch.device("cpu")
STEPS = PRESETS["fast"].horizon * SPEC.control_steps


def request(**fields: Any) -> PlanRequest:
    frame = Observation(images={})
    return PlanRequest(model=ModelRef(name="m"), context=[frame], goals=[Goal(observation=frame)], **fields)


def asked(low: Any = SPEC.low, high: Any = SPEC.high, max_delta: Any = (), **fields: Any) -> Motion:
    limits = ActionLimits(min=list(low), max=list(high), max_delta=list(max_delta))
    made = motion(request(limits=limits, **fields), SPEC, low=np.asarray(low), high=np.asarray(high), steps=STEPS)
    assert made is not None
    return made


def test_nothing_asked_is_nothing() -> None:
    for nothing in (request(), request(limits=ActionLimits(min=list(SPEC.low), max=list(SPEC.high)))):
        assert motion(nothing, SPEC, low=np.asarray(SPEC.low), high=np.asarray(SPEC.high), steps=STEPS) is None


def test_units_by_hand() -> None:
    """Ranges are 0.8 m/s and 5 rad/s, so 0.2 m/s and 1 rad/s are 0.5 and 0.4 of what is 2 wide in the planner."""
    made = asked(max_delta=(0.2, 1.0), committed_actions=np.array([[0.3, -0.5]])).constraints(CPU)
    torch.testing.assert_close(made.max_delta, torch.tensor([0.5, 0.4]), rtol=0, atol=1e-5)
    torch.testing.assert_close(made.committed, torch.tensor([[0.0, 0.0]]), rtol=0, atol=1e-6)
    assert made.last is None


def test_the_last_action_is_that_of_the_history() -> None:
    history = [np.full((3, 2), 0.1), np.array([[0.0, 0.0], [0.1, 0.1], [0.5, -1.0]])]
    made = asked(max_delta=(0.2, 1.0), action_history=history)
    assert made.last is not None and made.last.tolist() == [0.5, -1.0]


SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=2).map(np.asarray)


@settings(deadline=None)
@given(low=SHARES, high=SHARES, last=SHARES, wanted=st.lists(st.floats(-1, 1), min_size=30, max_size=30))
def test_limits_that_are_just_in_reach_are_reached(
    low: np.ndarray, high: np.ndarray, last: np.ndarray, wanted: list[float]
) -> None:
    """A robot may tighten its limits as fast as its actions may change: rounding must not refuse that, nor break it."""
    low, high, last = (LOW + s * RANGE for s in (np.minimum(low, high), np.maximum(low, high), last))
    max_delta = np.maximum(0, np.maximum(low - last, last - high))
    made = asked(low, high, max_delta, action_history=[np.tile(last, (3, 1))])
    edges = bounds(SPEC, ActionLimits(min=low.tolist(), max=high.tolist())).unitless
    _, space = build(PRESETS["fast"], low=edges[0], high=edges[1], control_steps=3, constraints=made.constraints(CPU))
    variables = space.clamp(torch.tensor(wanted).reshape(3, 5, 2))
    for plan in space.decode(variables):
        limits = bounds(SPEC, ActionLimits(min=low.tolist(), max=high.tolist()))
        actions = limits.to_physical(plan)
        made.check(actions)
        assert (np.abs(np.diff(actions, axis=0)) <= max_delta + 1e-12).all()
        assert (np.abs(actions[0] - last) <= max_delta + 2e-6 * 5).all()


@settings(deadline=None)
@given(low=SHARES, high=SHARES, settled=st.lists(SHARES, min_size=1, max_size=15))
def test_settled_actions_survive_to_a_millionth_of_their_range(
    low: np.ndarray, high: np.ndarray, settled: list[np.ndarray]
) -> None:
    low, high = (LOW + s * RANGE for s in (np.minimum(low, high), np.maximum(low, high)))
    rows = low + np.stack(settled) * (high - low)
    made = asked(low, high, committed_actions=rows)
    limits = bounds(SPEC, ActionLimits(min=low.tolist(), max=high.tolist()))
    _, space = build(
        PRESETS["fast"],
        low=limits.unitless[0],
        high=limits.unitless[1],
        control_steps=3,
        constraints=made.constraints(CPU),
    )
    actions = limits.to_physical(space.decode(space.clamp(torch.zeros(5, 2))))
    made.check(actions)
    np.testing.assert_allclose(actions[: len(rows)], rows, rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    "actions",
    [
        [[0.1, 0.0], [0.1, 0.0], [0.4, 0.0]],
        [[0.1, 0.0], [0.2, 0.0], [0.2, 0.0]],
        [[0.0, 0.0], [0.1, 0.0], [0.1, 0.0]],
    ],
    ids=["a jump", "a settled action changed", "the first one changed"],
)
def test_a_plan_that_breaks_them_never_leaves(actions: list[list[float]]) -> None:
    made = asked(max_delta=(0.2, 1.0), committed_actions=np.array([[0.1, 0.0], [0.1, 0.0]]))
    made.check(np.array([[0.1, 0.0], [0.1, 0.0], [0.3, 0.0]]))
    with pytest.raises(ServiceError) as caught:
        made.check(np.array(actions))
    assert caught.value.code is Code.ACTION_LIMIT_VIOLATION
