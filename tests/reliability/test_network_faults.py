"""A robot behind a network that fails (19): it executes what was planned for this very step and robot, or it holds.

The server's plans say in their actions which step, plan and robot they are for, so that every action that the robot
executes tells whether it should have been.
"""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import numpy as np
import pytest

from server import schemas
from server.benchmark.instant_engine import ACTION, HORIZON, NAME, InstantEngine
from server.settings import Settings
from telos import ControlLoop, TelosError, connect
from tests.fault_proxy import FaultProxy, Faults, fault_proxy
from tests.mixed_replies import mixed_grpc, mixed_http
from tests.reliability.report import Measure
from tests.server.live import Live, serving

pytestmark = [pytest.mark.reliability(19), pytest.mark.alone]

DT_S = 0.02
CONTROL_STEPS = ACTION.control_steps
VALID_STEPS = HORIZON * CONTROL_STEPS
TIMEOUT_S = 0.3
MOST = 4096
LABELS = ACTION.model_copy(
    update={
        **{"names": ["step", "plan", "robot"], "units": ["1"] * 3, "low": [0.0] * 3, "high": [float(MOST)] * 3},
        **{"dt_ms": DT_S * 1e3},
    }
)
HOLD = np.zeros(3)
GOAL = np.zeros((32, 32, 3), np.uint8)
Transport = Literal["http", "grpc"]


def robot_of(session_id: str) -> int:
    return 1 + int(session_id[:3], 16) % (MOST - 1)


def labelled(request: schemas.PlanRequest) -> np.ndarray:
    """After what is committed: the step that an action is for, counted from 1, its plan's first step, and its robot."""
    first = request.context[-1].step
    assert first is not None and request.session_id is not None
    steps = np.arange(first, first + VALID_STEPS)
    actions = np.stack([steps + 1, np.full(len(steps), first), np.full(len(steps), robot_of(request.session_id))], 1)
    committed = request.committed_actions if request.committed_actions is not None else actions[:0]
    return np.concatenate([committed, actions[len(committed) :]]).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class Executed:
    action: np.ndarray
    step: int
    robot: int
    at_s: float

    @property
    def held(self) -> bool:
        return not self.action.any()

    @property
    def wrong(self) -> bool:
        """Planned for another step or robot, or longer ago than a plan is valid."""
        step, plan, robot = self.action
        return not self.held and (
            step != self.step + 1 or robot != self.robot or not 0 <= self.step - plan < VALID_STEPS
        )


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    engine = InstantEngine(script=labelled, action=LABELS)
    with serving(Settings(http_port=0, grpc_port=0), engine) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def transport(request: pytest.FixtureRequest) -> Transport:
    return request.param


@contextmanager
def proxied(live: Live, transport: Transport) -> Iterator[FaultProxy]:
    with fault_proxy(live.running.http_port if transport == "http" else live.running.grpc_port) as proxy:
        yield proxy


def drive(
    address: str, steps: int, at_step: Callable[[int], None] = lambda step: None, **options: Any
) -> list[Executed]:
    """In real time: one action every DT_S, whatever the network does."""
    options = {"hold": HOLD} | options
    executed = []
    with connect(address, timeout_s=TIMEOUT_S, image_format="png") as planner:
        planner.model(NAME)
        with ControlLoop(planner, model=NAME, goal=GOAL, **options) as loop:
            robot = robot_of(loop.session_id)
            began = time.monotonic()
            for step in range(steps):
                at_step(step)
                time.sleep(max(0.0, began + step * DT_S - time.monotonic()))
                action = loop.act(np.full((32, 32, 3), step % 256, np.uint8))
                executed.append(Executed(action, step, robot, time.monotonic()))
    return executed


def count_wrong(executed: list[Executed]) -> int:
    return sum(each.wrong for each in executed)


def share_moving(executed: list[Executed]) -> float:
    return float(np.mean([not each.held for each in executed]))


STEADY = {
    "a good network": Faults(),
    "delay 60 ms": Faults(delay_s=0.03),
    "delay 20 to 140 ms": Faults(delay_s=0.01, jitter_s=0.06),
    "1 Mbps": Faults(bytes_per_s=125_000),
}


STEADY_STEPS = 180
"""So many that a machine which stands still for half a second is not taken for a slow network."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "60" in name or "Mbps" in name else []) for name in STEADY]
)
def test_a_network_that_is_slow(live: Live, transport: Transport, name: str, measure: Measure) -> None:
    with proxied(live, transport) as proxy:
        proxy.faults = dataclasses.replace(STEADY[name])
        executed = drive(f"{transport}://127.0.0.1:{proxy.port}", STEADY_STEPS)
    measure(f"{name}, {transport}: wrong actions of {len(executed)}", count_wrong(executed), at_most=0)
    measure(f"{name}, {transport}: share of steps that moved", share_moving(executed), at_least=0.5)


def test_connections_that_are_reset(live: Live, transport: Transport, measure: Measure) -> None:
    with proxied(live, transport) as proxy:

        def at_step(step: int) -> None:
            if step % 10 == 7:
                proxy.drop()

        executed = drive(f"{transport}://127.0.0.1:{proxy.port}", 80, at_step)
    measure(f"reset every 200 ms, {transport}: wrong actions of {len(executed)}", count_wrong(executed), at_most=0)
    measure(f"reset every 200 ms, {transport}: share of steps that moved", share_moving(executed), at_least=0.5)


def test_a_robot_stops_when_nobody_answers(live: Live, transport: Transport, measure: Measure) -> None:
    """From step 20 to 70 every byte disappears, while connections stay open."""
    with proxied(live, transport) as proxy:

        def at_step(step: int) -> None:
            proxy.faults.silent = 20 <= step < 70

        executed = drive(f"{transport}://127.0.0.1:{proxy.port}", 130, at_step)
    moved = [each.step for each in executed if not each.held]
    measure(f"silence, {transport}: wrong actions of {len(executed)}", count_wrong(executed), at_most=0)
    last = max(step for step in moved if step < 70)
    measure(f"silence, {transport}: steps moved after it began", last - 20, at_least=1, at_most=VALID_STEPS)
    back_s = (min((step for step in moved if step >= 70), default=np.inf) - 70) * DT_S
    measure(f"silence, {transport}: moves again after it ended", back_s, at_most=2 * TIMEOUT_S + 0.2, unit="s")


def test_connections_that_are_half_open(live: Live, transport: Transport, measure: Measure) -> None:
    """From step 20 the connection leads nowhere, and nobody is told; a new one would work."""
    with proxied(live, transport) as proxy:

        def at_step(step: int) -> None:
            if step == 20:
                proxy.freeze()

        executed = drive(f"{transport}://127.0.0.1:{proxy.port}", 100, at_step)
    measure(f"half open, {transport}: wrong actions of {len(executed)}", count_wrong(executed), at_most=0)
    plans = {each.action[1] for each in executed if not each.held}
    measure(f"half open, {transport}: first step of the last plan of 100 steps", max(plans), at_least=80)
    assert proxy.connections >= 2


def test_without_a_hold_action_it_is_told_to_stop(live: Live, transport: Transport) -> None:
    with proxied(live, transport) as proxy:

        def at_step(step: int) -> None:
            proxy.faults.silent = step >= 20

        with pytest.raises(TelosError, match="plan-expired") as caught:
            drive(f"{transport}://127.0.0.1:{proxy.port}", 130, at_step, hold=None)
    assert "127.0.0.1" in str(caught.value) and f"{TIMEOUT_S} s" in str(caught.value)


@pytest.mark.parametrize("mix", ["http previous", "http twice", "grpc previous"])
def test_replies_that_were_mixed_up(live: Live, mix: str, measure: Measure) -> None:
    """Two robots behind one proxy that answers with the reply before, whoever asked, or with every reply twice."""
    running, (transport, kind) = live.running, mix.split()
    with ExitStack() as stack:
        if transport == "grpc":
            port = stack.enter_context(mixed_grpc(running.grpc_port))
        else:
            port = stack.enter_context(mixed_http(running.http_port, kind))  # type: ignore[arg-type]
        executed: list[Executed] = []
        robots = [
            threading.Thread(target=lambda: executed.extend(drive(f"{transport}://127.0.0.1:{port}", 60)))
            for _ in range(2)
        ]
        for robot in robots:
            robot.start()
        for robot in robots:
            robot.join()
    assert len({each.robot for each in executed}) == 2 and len(executed) == 120
    measure(f"{kind} replies, {transport}: wrong actions of {len(executed)}", count_wrong(executed), at_most=0)
    if kind == "twice":
        measure(f"{kind} replies, {transport}: share of steps that moved", share_moving(executed), at_least=0.4)


def test_the_oracle_has_eyes() -> None:
    right = Executed(np.array([8.0, 5.0, 3.0]), step=7, robot=3, at_s=0.0)
    assert not right.wrong and not dataclasses.replace(right, action=HOLD).wrong
    assert dataclasses.replace(right, step=8).wrong  # a plan that is spliced one step off
    assert dataclasses.replace(right, robot=4).wrong  # somebody else's
    old = np.array([VALID_STEPS + 6.0, 5.0, 3.0])
    assert dataclasses.replace(right, action=old, step=VALID_STEPS + 5).wrong  # longer ago than it is valid
