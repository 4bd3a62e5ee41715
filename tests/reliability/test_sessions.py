"""Sessions under all that can happen to them (16): epochs never go back, nothing leaks, the least used makes room."""

import asyncio
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from server import schemas
from server.errors import Code, ServiceError
from server.service import Service
from server.settings import Settings
from server.validation import validate
from tests.reliability.report import Measure
from tests.server.live import picture, plan_payload
from tests.server.scripted_engine import ScriptedEngine
from tests.server.test_sessions import Clock

CAPACITY, TTL_S = 3, 60
NAMES = ("a", "b", "c", "d", "e")
PICTURE = picture(1)
names = st.sampled_from(NAMES)
steps = st.integers(0, 60)


class Held(NamedTuple):
    """A plan under way. Its session may be forgotten meanwhile, and another have its name."""

    name: str
    epoch: int
    step: int
    task: "asyncio.Task[Any]"
    go: asyncio.Event


class Sessions(RuleBasedStateMachine):
    """Two clients that share ids, against what the sessions must be. A plan's seed says whose it is."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.engine = ScriptedEngine()
        self.service = Service(self.engine, Settings(max_sessions=CAPACITY, session_ttl_s=TTL_S), self.clock)
        self.known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Epoch and end of each session, least recently used first."""
        self.newest: dict[str, int] = {}
        self.planned: dict[str, int] = {}
        """First step of each session's last plan."""
        self.held: Held | None = None
        """A plan under way."""

    def teardown(self) -> None:
        if self.held is not None:
            self.release()
        assert self.service.in_flight == 0
        self.loop.close()

    @rule(name=names)
    def create(self, name: str) -> None:
        answer = self.do(self.service.create_session(schemas.CreateSessionRequest(session_id=name)))
        if self.alive(name):
            assert answer is Code.SESSION_EXISTS
        else:
            self.begins(name, answer.epoch)

    @rule(name=names)
    def get(self, name: str) -> None:
        answer = self.do(self.service.session(schemas.SessionRef(session_id=name)))
        if not self.alive(name):
            assert answer is Code.SESSION_NOT_FOUND
            return
        epoch, ends = self.known[name]
        assert (answer.epoch, answer.expires_in_ms) == (epoch, round((ends - self.clock.now) * 1e3))
        assert (answer.committed_step is None) == (name not in self.planned)

    @rule(name=names)
    def reset(self, name: str) -> None:
        answer = self.do(self.service.reset_session(schemas.SessionRef(session_id=name)))
        if not self.alive(name):
            assert answer is Code.SESSION_NOT_FOUND
            return
        self.ends_held(name, Code.EPOCH_STALE)
        self.begins(name, answer.epoch)

    @rule(name=names)
    def delete(self, name: str) -> None:
        answer = self.do(self.service.delete_session(schemas.SessionRef(session_id=name)))
        if not self.alive(name):
            assert answer is Code.SESSION_NOT_FOUND
            return
        self.ends_held(name, Code.SESSION_NOT_FOUND)
        del self.known[name]
        self.planned.pop(name, None)

    @rule(name=names, step=steps, knows_epoch=st.booleans(), behind=st.integers(0, 2))
    def plan(self, name: str, step: int, knows_epoch: bool, behind: int) -> None:
        epoch = self.newest.get(name, 3) - behind if knows_epoch else None
        if self.held is not None and self.held.name == name:
            return
        self.engine.go = asyncio.Event()
        self.engine.go.set()
        answer = self.do(self.service.plan(question(name, step, epoch)))
        self.check(name, step, epoch, answer)

    @rule(name=names, step=steps)
    def begin(self, name: str, step: int) -> None:
        """A plan that takes its time; it is asked for again when one is under way, and the newest observation wins."""
        if not self.holds(name):
            self.release()
        self.touches(name)
        go = self.engine.go = asyncio.Event()
        task = self.loop.create_task(self.service.plan(question(name, step, None)))
        self.turn()
        if self.held is not None and step < self.held.step:
            assert self.outcome(task) is Code.SUPERSEDED and not self.held.task.done()
            return
        if self.held is not None:
            assert self.outcome(self.held.task) is Code.SUPERSEDED and not task.done()
        self.held = Held(name, self.known[name][0], step, task, go)

    @rule()
    def release(self) -> None:
        if self.held is None:
            return
        held, self.held = self.held, None
        held.go.set()
        answer = self.outcome(held.task)
        assert answer.session_epoch == held.epoch
        if self.alive(held.name) and held.epoch == self.known[held.name][0]:
            self.check(held.name, held.step, None, answer)

    @rule()
    def engine_dies(self) -> None:
        """Who waits is told; what is remembered stays."""
        if self.held is None:
            return
        held, self.held = self.held, None
        self.engine.refusal = ServiceError(Code.NOT_READY, "the engine is being started again")
        held.go.set()
        assert self.outcome(held.task) is Code.NOT_READY
        self.engine.refusal = None

    @rule(seconds=st.sampled_from([1.0, 29.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        for name in [name for name, (_, ends) in self.known.items() if self.clock.now >= ends]:
            self.forgets(name)

    @invariant()
    def no_more_than_fit(self) -> None:
        assert len(self.service.sessions) <= CAPACITY
        assert self.service.in_flight == (self.held is not None)

    def check(self, name: str, step: int, epoch: int | None, answer: Any) -> None:
        """Of a plan that ended just now."""
        if epoch is not None and not self.alive(name):
            assert answer is Code.SESSION_NOT_FOUND
            return
        if epoch is not None and epoch != self.known[name][0]:
            assert answer is Code.EPOCH_STALE
            return
        if self.alive(name):
            assert answer.session_epoch == self.known[name][0]
        self.begins_or_goes_on(name, answer.session_epoch)
        asked, warm_start = next(
            each for each in reversed(self.engine.asked) if each[0].request_id == answer.request_id
        )
        assert asked.session_id == name == answer.session_id
        assert (answer.chunk.actions[:, 1] == NAMES.index(name) / 1000).all(), "a plan of another session"
        if warm_start is not None:
            assert (warm_start.variables == NAMES.index(name)).all(), "a warm start of another session"
        self.planned[name] = step

    def begins(self, name: str, epoch: int) -> None:
        assert epoch > max(self.newest.values(), default=0), "an epoch was used before"
        self.newest[name] = epoch
        self.planned.pop(name, None)
        self.known[name] = epoch, self.clock.now + TTL_S
        self.known.move_to_end(name)
        while len(self.known) > CAPACITY:
            self.forgets(next(iter(self.known)))

    def begins_or_goes_on(self, name: str, epoch: int) -> None:
        if self.alive(name) and self.known[name][0] == epoch:
            self.known[name] = epoch, self.clock.now + TTL_S
            self.known.move_to_end(name)
        else:
            self.begins(name, epoch)

    def touches(self, name: str) -> None:
        """As a plan without an epoch does when it begins: made here, so that its epoch is known."""
        if self.alive(name):
            self.known[name] = self.known[name][0], self.clock.now + TTL_S
            self.known.move_to_end(name)
        else:
            self.create(name)

    def forgets(self, name: str) -> None:
        del self.known[name]
        self.planned.pop(name, None)

    def ends_held(self, name: str, code: Code) -> None:
        if self.held is not None and self.holds(name):
            held, self.held = self.held, None
            assert self.outcome(held.task) is code

    def holds(self, name: str) -> bool:
        """Whether the plan under way is of the session that has this name now."""
        return self.held is not None and self.held[:2] == (name, self.known.get(name, (None,))[0])

    def alive(self, name: str) -> bool:
        return name in self.known

    def do(self, work: Any) -> Any:
        return self.outcome(self.loop.create_task(work))

    def outcome(self, task: "asyncio.Task[Any]") -> Any:
        """What came out of it, or the code of its refusal."""
        (answer,) = self.loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        self.turn()
        if isinstance(answer, ServiceError):
            return answer.code
        assert not isinstance(answer, BaseException), answer
        return answer

    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))


def question(name: str, step: int, epoch: int | None) -> schemas.PlanRequest:
    payload = plan_payload(
        session_id=name,
        session_epoch=epoch,
        context=[{"images": {"top": PICTURE}, "step": step}],
        action_history=[],
        planner={"seed": NAMES.index(name)},
    )
    return validate(schemas.PlanRequest, payload)


@pytest.mark.reliability(16)
@pytest.mark.parametrize("examples", [30, pytest.param(500, marks=pytest.mark.slow)])
def test_sessions_stay_true_whatever_happens(measure: Measure, examples: int) -> None:
    run_state_machine_as_test(Sessions, settings=settings(max_examples=examples, stateful_step_count=40, deadline=None))
    measure("session histories without a leak or an epoch that goes back", examples, at_least=30)
