"""State of a stream: the settings of its plans, and the frames so far."""

from collections.abc import Sequence

import numpy as np

from server import schemas
from server.service import Service
from server.validation import new_request_id


class StreamContext:
    """State from the open event on. A stream without a session gets one for as long as it lasts."""

    def __init__(self, service: Service, opened: schemas.PlanRequest) -> None:
        """Raises ServiceError (model-not-found, session-not-found, epoch-stale)."""
        self._service = service
        self._most = service.model(opened.model.name).context_frames or 1
        self._own = service.sessions.create(None) if opened.session_id is None else None
        if self._own is not None:
            opened = opened.model_copy(update={"session_id": self._own.session_id})
        self._session_id = opened.session_id or ""
        service.sessions.of(opened)
        self._opened = opened
        self._frames = list(opened.context)
        self._executed: list[np.ndarray] = list(opened.action_history)
        self._committed = opened.committed_actions

    def request(self, request_id: str | None, committed: np.ndarray | None = None) -> schemas.PlanRequest:
        """Request for a plan from the newest observation."""
        return self._opened.model_copy(
            update={
                "request_id": request_id or new_request_id(),
                "context": list(self._frames),
                "action_history": list(self._executed),
                "committed_actions": self._committed if committed is None else committed,
            }
        )

    def see(self, seen: schemas.StreamObservation) -> None:
        """Add an observation. Without the actions since the last one, earlier frames are forgotten."""
        frames = [*self._frames, seen.observation] if seen.executed is not None else [seen.observation]
        executed = [*self._executed, seen.executed] if seen.executed is not None else []
        self._frames = frames[-self._most :]
        self._executed = executed[len(executed) - len(self._frames) + 1 :]
        self._committed = None

    def aim(self, goals: Sequence[schemas.Goal]) -> None:
        """Set new goals, which supersedes the plan under way."""
        session = self._service.sessions.move_on(self._session_id)
        changes = {"goals": list(goals), "active_goal": None}
        if self._opened.session_epoch is not None:
            changes["session_epoch"] = session.epoch
        self._opened = self._opened.model_copy(update=changes)

    def progress(self, executed_step: int) -> None:
        """Note the control step that the robot has reached. Raises ServiceError (session-not-found)."""
        self._service.sessions.progress(self._session_id, executed_step)

    def close(self) -> None:
        """Forget the session that the stream created."""
        if self._own is not None:
            self._service.sessions.forget(self._own)
