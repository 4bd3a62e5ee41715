"""What is remembered of a robot between two plans. It outlives the engine, and is all that a robot could miss."""

import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from server import schemas
from server.digest import digest
from server.errors import Code, ServiceError, refuse
from server.last_plan import LastPlan
from server.turn import Turn

T = TypeVar("T")


@dataclass(eq=False, kw_only=True)
class Session:
    """One robot's. Times are on the clock of `Sessions`, in seconds."""

    session_id: str
    epoch: int
    hold_on_surprise: bool = False
    expires: float = 0.0
    committed_step: int | None = None
    active_goal: int = 0
    last: LastPlan | None = None
    turn: Turn | None = None
    """Of the request under way."""
    _goals: bytes = field(default=b"")
    """Digest of those that `active_goal` counts in."""

    def completed(self, request: schemas.PlanRequest) -> schemas.PlanRequest:
        """With what the session knows and the request leaves out."""
        known: dict[str, Any] = {}
        if request.hold_on_surprise is None:
            known["hold_on_surprise"] = self.hold_on_surprise
        if request.active_goal is None and self._goals == goals_digest(request.goals):
            known["active_goal"] = self.active_goal
        delay, step = request.inference_delay_steps, request.context[-1].step
        if delay and request.committed_actions is None and self.last is not None and step is not None:
            running = self.last.actions_from(step)[:delay]
            if len(running) == delay:
                known["committed_actions"] = running
        return request.model_copy(update=known)

    def fallback(self, request: schemas.PlanRequest) -> schemas.PlanResponse | None:
        """The rest of the last plan, when it leads to the same goal and goes on from what the robot runs."""
        same_goal = self._goals == goals_digest(request.goals) and request.active_goal in (None, self.active_goal)
        return self.last.rest(request) if self.last is not None and same_goal else None

    def begin(self, request: schemas.PlanRequest) -> Turn:
        """The newest observation wins. Raises ServiceError (superseded) for one older than that being planned from."""
        newcomer = Turn(request)
        if self.turn is not None:
            if newcomer.step < self.turn.step:
                raise superseded(f"a plan from step {self.turn.step} is under way, and this is from {newcomer.step}")
            self.turn.end(superseded("a newer request of the session took its place"))
        self.turn = newcomer
        return newcomer

    async def turn_of(self, request: schemas.PlanRequest, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises ServiceError when something newer took its place."""
        try:
            turn = self.begin(request)
        except ServiceError:
            work.close()
            raise
        try:
            return await turn.run(work)
        finally:
            if self.turn is turn:
                self.turn = None

    def remember(self, request: schemas.PlanRequest, last: LastPlan) -> None:
        self.last = last
        self.active_goal = last.response.active_goal
        self._goals = goals_digest(request.goals)
        self.committed_step = max(last.response.chunk.first_step, self.committed_step or 0)


class Sessions:
    """Sessions by the id that the client chose. Forgotten when idle, and the least recently used beyond capacity."""

    def __init__(self, *, ttl_s: float, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._epochs = itertools.count(round(time.time() * 1e3))  # so that a restarted server does not repeat them

    def create(self, session_id: str | None, *, hold_on_surprise: bool = False) -> Session:
        """Raises ServiceError (session-exists)."""
        session_id = session_id or secrets.token_hex(8)
        if self._alive(session_id) is not None:
            reason = f"{session_id} is used already; choose another id, or reset it if it is yours"
            raise refuse(Code.SESSION_EXISTS, "/session_id", reason)
        return self._begin(session_id, hold_on_surprise)

    def find(self, session_id: str) -> Session:
        """Raises ServiceError (session-not-found)."""
        session = self._alive(session_id)
        if session is None:
            reason = f"{session_id} is not known, or was idle for too long; create it, and send the whole context again"
            raise refuse(Code.SESSION_NOT_FOUND, "/session_id", reason)
        return session

    def of(self, request: schemas.PlanRequest) -> Session | None:
        """That of a plan, made when it is new. Raises ServiceError (session-not-found, epoch-stale)."""
        if request.session_id is None:
            if request.session_epoch is not None:
                raise refuse(Code.VALIDATION_FAILED, "/session_epoch", "is that of no session; send a session_id too")
            return None
        if request.session_epoch is not None:
            session = self.find(request.session_id)
        else:
            session = self._alive(request.session_id) or self.create(request.session_id)
        if request.session_epoch not in (None, session.epoch):
            reason = f"given {request.session_epoch}; the session is at {session.epoch}: it was reset since"
            raise refuse(Code.EPOCH_STALE, "/session_epoch", reason)
        self.use(session)
        return session

    def use(self, session: Session) -> None:
        """It is not idle; others may have to make room."""
        if self._alive(session.session_id) is not session:
            return
        now = self._clock()
        session.expires = now + self._ttl_s
        self._sessions.move_to_end(session.session_id)
        while len(self._sessions) > self._capacity or next(iter(self._sessions.values())).expires <= now:
            self._sessions.popitem(last=False)

    def reset(self, session_id: str) -> Session:
        """Forget its plan, throw away the one under way, and refuse who still knows the old epoch."""
        old = self.find(session_id)
        _end(old, ServiceError(Code.EPOCH_STALE, "the session was reset while the plan was made; it is thrown away"))
        return self._begin(session_id, old.hold_on_surprise)

    def move_on(self, session_id: str) -> Session:
        """Its goals changed: an epoch of its own, and the plan under way is superseded; what the robot runs is known.

        Raises ServiceError (session-not-found).
        """
        session = self.find(session_id)
        _end(session, superseded("the goals changed"))
        session.epoch = next(self._epochs)
        self.use(session)
        return session

    def progress(self, session_id: str, executed_step: int) -> None:
        """The robot is at this control step, by its own counter. Raises ServiceError (session-not-found)."""
        session = self.find(session_id)
        session.committed_step = max(executed_step, session.committed_step or 0)
        self.use(session)

    def forget(self, session: Session) -> None:
        """Whether it is still there or not."""
        _end(session, ServiceError(Code.SESSION_NOT_FOUND, "the session was deleted while the plan was made"))
        if self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]

    def delete(self, session_id: str) -> None:
        """Raises ServiceError (session-not-found)."""
        self.forget(self.find(session_id))

    def told(self, session: Session) -> schemas.Session:
        """What is said of it."""
        return schemas.Session(
            session_id=session.session_id,
            epoch=session.epoch,
            committed_step=session.committed_step,
            expires_in_ms=max(0, round((session.expires - self._clock()) * 1e3)),
            hold_on_surprise=session.hold_on_surprise,
            active_goal=session.active_goal,
        )

    def __len__(self) -> int:
        return len(self._sessions)

    def _begin(self, session_id: str, hold_on_surprise: bool) -> Session:
        session = Session(
            session_id=session_id,
            epoch=next(self._epochs),
            hold_on_surprise=hold_on_surprise,
            expires=self._clock() + self._ttl_s,
        )
        self._sessions[session_id] = session
        self.use(session)
        return session

    def _alive(self, session_id: str) -> Session | None:
        session = self._sessions.get(session_id)
        return session if session is not None and self._clock() < session.expires else None


def goals_digest(goals: Sequence[schemas.Goal]) -> bytes:
    """Equal when the goals show the same, in the same order."""
    return digest([goal.model_dump(include={"observation": {"images", "arrays"}, "embedding": True}) for goal in goals])


def superseded(why: str) -> ServiceError:
    return ServiceError(Code.SUPERSEDED, f"{why}; wait for the newer one")


def _end(session: Session, error: ServiceError) -> None:
    if session.turn is not None:
        session.turn.end(error)
