import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from server.engine.actions import bounds, past_actions
from server.errors import Code, ServiceError
from server.schemas import ActionLimits
from worldmodel.manifest import ActionSpec

SPEC = ActionSpec(
    names=("v", "w"), units=("m/s", "rad/s"), low=(-0.1, -3.0), high=(0.7, 2.0), dt_s=0.05, control_steps=3
)
SHARES = st.floats(0, 1)


def physical(shares: list[float]) -> np.ndarray:
    return np.asarray(SPEC.low) + np.asarray(shares).reshape(-1, 2) * (np.asarray(SPEC.high) - np.asarray(SPEC.low))


@given(st.lists(SHARES, min_size=12, max_size=12))
def test_physical_to_unitless_and_back_is_the_same(shares: list[float]) -> None:
    blocks = physical(shares).reshape(2, 3, 2)
    unitless = past_actions(list(blocks), SPEC, frames=3, pointer="/action_history")
    assert unitless.shape == (1, 2, 6) and unitless.abs().max() <= 1
    np.testing.assert_allclose(bounds(SPEC, None).to_physical(unitless[0]), blocks.reshape(6, 2), atol=1e-6)


@given(st.lists(SHARES, min_size=4, max_size=4))
def test_actions_at_the_edge_of_tightened_limits_are_within_them(shares: list[float]) -> None:
    low, high = np.sort(physical(shares), axis=0)
    limits = bounds(SPEC, ActionLimits(min=low.tolist(), max=high.tolist()))
    for edge in limits.unitless:
        actions = limits.to_physical(edge.repeat(3)[None])
        assert (actions >= low).all() and (actions <= high).all()
        assert limits.report(actions).saturated_fraction == 1


@pytest.mark.parametrize(
    ("value", "code"),
    [(float("nan"), Code.NON_FINITE_PLAN), (float("inf"), Code.NON_FINITE_PLAN), (1.01, Code.ACTION_LIMIT_VIOLATION)],
)
def test_a_bad_action_never_leaves(value: float, code: Code) -> None:
    actions = torch.zeros(2, 6)
    actions[1, 3] = value
    with pytest.raises(ServiceError) as caught:
        bounds(SPEC, None).to_physical(actions)
    assert caught.value.code is code


def test_the_report_has_the_units_of_the_actions() -> None:
    actions = np.array([[0.0, 0.0], [0.7, 1.0], [0.2, -1.5]])
    report = bounds(SPEC, None).report(actions)
    assert report.max_step_delta == [0.7, 2.5]
    assert report.saturated_fraction == pytest.approx(1 / 6)


def test_a_plan_of_one_control_step_has_no_change() -> None:
    assert bounds(SPEC, None).report(np.zeros((1, 2))).max_step_delta == [0, 0]
