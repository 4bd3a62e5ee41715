"""Receding-horizon control of a robot that stands still while it plans."""

import secrets

import numpy as np

from telos.errors import TelosError
from telos.history import History
from telos.planner import Planner
from telos.replies import PlanReply
from telos.requests import GoalLike, ObservationLike, PlanOptions


class Controller:
    """Plans towards `goal`, each time from where the last plan left off.

    The goal may be changed between plans. `ControlLoop` is for a robot that moves on while it plans.
    """

    def __init__(
        self,
        planner: Planner,
        *,
        model: str,
        goal: GoalLike,
        options: PlanOptions | None = None,
    ) -> None:
        """Raises TelosError (`model-not-found`, `no-actions`)."""
        self.model = planner.model(model)
        self.goal = goal
        self.session_id = secrets.token_hex(8)
        self._planner = planner
        self._options = options
        self._history = History(self.model)

    @property
    def step(self) -> int:
        """Control steps executed so far."""
        return self._history.step

    def observe(self, seen: ObservationLike) -> None:
        """Remember a frame. Frames count as context when exactly one model step was executed between them.

        Raises ValueError for readings that do not fit the model's sensors.
        """
        self._history.observe(seen)

    def plan(self, seen: ObservationLike) -> PlanReply:
        """Plan from `seen`, the present observation, to the goal.

        Raises TelosError, and ValueError as `observe` does.
        """
        self.observe(seen)
        reply = self._planner.plan(
            self.model.name,
            self._history.frames,
            self.goal,
            self._options,
            action_history=self._history.actions,
            session=self.session_id,
        )
        if reply.first_step != self.step:
            raise TelosError("stale-reply", f"the plan starts at step {reply.first_step}, not {self.step}: discarded")
        return reply

    def executed(self, actions: np.ndarray) -> None:
        """Report the actions that the robot executed: [steps, actions] in physical units, in order."""
        self._history.executed(actions)

    def restart(self) -> None:
        """Forget the past. Call it after the robot was moved by other means than its actions."""
        self._history.restart()
        self.session_id = secrets.token_hex(8)
