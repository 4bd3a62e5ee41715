import numpy as np

from server.engine.protocol import WarmStart
from server.sessions import Sessions

PLAN = WarmStart(np.zeros((5, 2), np.float32), first_step=0, manifest_sha256="sha", search_space="constant", horizon=5)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_idle_session_is_forgotten() -> None:
    clock = Clock()
    sessions = Sessions(ttl_s=60, capacity=10, clock=clock)
    sessions.remember("a", PLAN)
    clock.now = 59
    assert sessions.last_plan("a") is PLAN
    clock.now = 60
    assert sessions.last_plan("a") is None


def test_planning_keeps_a_session_alive() -> None:
    clock = Clock()
    sessions = Sessions(ttl_s=60, capacity=10, clock=clock)
    for clock.now in (0, 50, 100):
        sessions.remember("a", PLAN)
    clock.now = 159
    assert sessions.last_plan("a") is PLAN


def test_the_least_recently_used_session_makes_room() -> None:
    sessions = Sessions(ttl_s=60, capacity=2)
    for name in ("a", "b", "a", "c"):
        sessions.remember(name, PLAN)
    assert sessions.last_plan("b") is None
    assert sessions.last_plan("a") is sessions.last_plan("c") is PLAN


def test_expired_sessions_leave_by_and_by() -> None:
    clock = Clock()
    sessions = Sessions(ttl_s=1, capacity=1000, clock=clock)
    for robot in range(500):
        clock.now = float(robot)
        sessions.remember(str(robot), PLAN)
    assert len(sessions) <= 2
