"""Sessions of all robots. They live in the front process, so that they outlive the engine."""

import itertools
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from server import schemas
from server.errors import Code, ServiceError, refuse
from server.session import RobotSession, superseded


class Sessions:
    """Sessions by id. Idle ones, and the least recently used beyond capacity, are forgotten."""

    def __init__(self, *, ttl_s: float, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._clock = clock
        self._sessions: OrderedDict[str, RobotSession] = OrderedDict()
        self._epochs = itertools.count(round(time.time() * 1e3))  # a restarted server must not repeat epochs

    def create(self, session_id: str | None, *, hold_on_surprise: bool = False) -> RobotSession:
        """Raises ServiceError (session-exists)."""
        session_id = session_id or secrets.token_hex(8)
        if self._alive(session_id) is not None:
            reason = f"{session_id} is used already; choose another id, or reset it if it is yours"
            raise refuse(Code.SESSION_EXISTS, "/session_id", reason)
        return self._begin(session_id, hold_on_surprise)

    def find(self, session_id: str) -> RobotSession:
        """Raises ServiceError (session-not-found)."""
        session = self._alive(session_id)
        if session is None:
            reason = f"{session_id} is not known, or was idle for too long; create it, and send the whole context again"
            raise refuse(Code.SESSION_NOT_FOUND, "/session_id", reason)
        return session

    def of(self, request: schemas.PlanRequest) -> RobotSession | None:
        """The session of a plan request, created when it is new; None for a request without one.

        Raises ServiceError (session-not-found, epoch-stale).
        """
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

    def use(self, session: RobotSession) -> None:
        """Note that a session was used, and forget others beyond capacity."""
        if self._alive(session.session_id) is not session:
            return
        now = self._clock()
        session.expires = now + self._ttl_s
        self._sessions.move_to_end(session.session_id)
        while len(self._sessions) > self._capacity or next(iter(self._sessions.values())).expires <= now:
            self._sessions.popitem(last=False)

    def reset(self, session_id: str) -> RobotSession:
        """Forget the last plan, discard the one under way, and refuse requests with the old epoch."""
        old = self.find(session_id)
        old.end_turn(ServiceError(Code.EPOCH_STALE, "the session was reset while the plan was made; it is thrown away"))
        return self._begin(session_id, old.hold_on_surprise)

    def move_on(self, session_id: str) -> RobotSession:
        """Start a new epoch for new goals and supersede the plan under way. The last plan is kept.

        Raises ServiceError (session-not-found).
        """
        session = self.find(session_id)
        session.end_turn(superseded("the goals changed"))
        session.epoch = next(self._epochs)
        self.use(session)
        return session

    def progress(self, session_id: str, executed_step: int) -> None:
        """Note the control step that the robot has reached. Raises ServiceError (session-not-found)."""
        session = self.find(session_id)
        session.committed_step = max(executed_step, session.committed_step or 0)
        self.use(session)

    def forget(self, session: RobotSession) -> None:
        """Delete a session, if it still exists."""
        session.end_turn(ServiceError(Code.SESSION_NOT_FOUND, "the session was deleted while the plan was made"))
        if self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]

    def delete(self, session_id: str) -> None:
        """Raises ServiceError (session-not-found)."""
        self.forget(self.find(session_id))

    def described(self, session: RobotSession) -> schemas.Session:
        """The session's state for a client."""
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

    def _begin(self, session_id: str, hold_on_surprise: bool) -> RobotSession:
        session = RobotSession(
            session_id=session_id,
            epoch=next(self._epochs),
            hold_on_surprise=hold_on_surprise,
            expires=self._clock() + self._ttl_s,
        )
        self._sessions[session_id] = session
        self.use(session)
        return session

    def _alive(self, session_id: str) -> RobotSession | None:
        session = self._sessions.get(session_id)
        return session if session is not None and self._clock() < session.expires else None
