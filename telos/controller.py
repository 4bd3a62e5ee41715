"""A robot that stands still while it plans: receding-horizon control, one plan after the other."""

import secrets
from typing import Literal

import numpy as np

from telos.errors import TelosError
from telos.history import History
from telos.images import ImageLike
from telos.planner import Planner
from telos.replies import PlannerConfig, PlanReply
from telos.requests import ActionLimits, GoalLike


class Controller:
    """Plans towards `goal` again and again, each time from where the last plan left off.

    The goal may be changed between plans. `ControlLoop` is for a robot that moves on while it plans.
    """

    def __init__(
        self,
        planner: Planner,
        *,
        model: str,
        goal: GoalLike,
        config: PlannerConfig | None = None,
        planning_budget_ms: int | None = None,
        limits: ActionLimits | None = None,
    ) -> None:
        self.model = planner.model(model)
        self.goal = goal
        self.session_id = secrets.token_hex(8)
        self._planner = planner
        self._config = config
        self._planning_budget_ms = planning_budget_ms
        self._limits = limits
        self._history = History(self.model)

    @property
    def step(self) -> int:
        """Control steps executed so far."""
        return self._history.step

    def observe(self, image: ImageLike) -> None:
        """Remember a frame. Frames count as context when exactly one model step was executed between them."""
        self._history.observe(image)

    def plan(self, image: ImageLike, *, include: tuple[Literal["costs", "latents"], ...] = ("costs",)) -> PlanReply:
        """Actions from `image`, what the camera sees now, to the goal. Raises TelosError."""
        self.observe(image)
        reply = self._planner.plan(
            self.model.name,
            self._history.frames,
            self.goal,
            action_history=self._history.actions,
            planner=self._config,
            planning_budget_ms=self._planning_budget_ms,
            session_id=self.session_id,
            limits=self._limits,
            include=include,
        )
        if reply.first_step != self.step:
            raise TelosError("stale-reply", f"the plan starts at step {reply.first_step}, not {self.step}: discarded")
        return reply

    def executed(self, actions: np.ndarray) -> None:
        """Say what the robot really did: [steps, actions] in physical units, in the order of execution."""
        self._history.executed(actions)

    def restart(self) -> None:
        """Forget the past, after the robot was moved by something else than its actions."""
        self._history.restart()
        self.session_id = secrets.token_hex(8)
