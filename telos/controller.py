"""A robot's side of receding-horizon control: remembers what the camera saw and what was executed in between."""

import secrets
from typing import Literal

import numpy as np

from telos.errors import TelosError
from telos.images import ImageLike
from telos.planner import ActionLimits, Observation, Planner
from telos.replies import Embedding, PlannerConfig, PlanReply


class Controller:
    """Plans towards `goal` again and again, each time from where the last plan left off.

    The goal may be changed between plans. Steps are counted here, in control steps executed, never guessed from time.
    """

    def __init__(
        self,
        planner: Planner,
        *,
        model: str,
        goal: ImageLike | Embedding,
        config: PlannerConfig | None = None,
        planning_budget_ms: int | None = None,
        limits: ActionLimits | None = None,
    ) -> None:
        self.model = planner.model(model)
        self.goal = goal
        self.step = 0
        """Control steps executed so far."""
        self.session_id = secrets.token_hex(8)
        self._planner = planner
        self._config = config
        self._planning_budget_ms = planning_budget_ms
        self._limits = limits
        self._frames: list[Observation] = []
        self._history: list[np.ndarray] = []
        self._pending: list[np.ndarray] = []

    def observe(self, image: ImageLike) -> None:
        """Remember a frame. Frames count as context when exactly one model step was executed between them."""
        pending = np.concatenate(self._pending) if self._pending else np.empty((0, len(self.model.action.names)))
        if len(pending) == 0:
            del self._frames[-1:]
        elif len(pending) == self.model.action.control_steps and self._frames:
            self._history.append(pending)
        else:
            self._forget()
        self._frames.append(Observation(image, step=self.step))
        self._pending.clear()
        surplus = len(self._frames) - self.model.context_frames
        if surplus > 0:
            del self._frames[:surplus], self._history[:surplus]

    def plan(self, image: ImageLike, *, include: tuple[Literal["costs", "latents"], ...] = ("costs",)) -> PlanReply:
        """Actions from `image`, what the camera sees now, to the goal. Raises TelosError."""
        self.observe(image)
        reply = self._planner.plan(
            self.model.name,
            self._frames,
            self.goal,
            action_history=self._history,
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
        block = np.asarray(actions, dtype=np.float64)
        if block.ndim != 2 or block.shape[1] != len(self.model.action.names) or not np.isfinite(block).all():
            names = ", ".join(self.model.action.names)
            raise ValueError(f"given actions of shape {list(block.shape)}; wanted finite [steps, actions] of {names}")
        self.step += len(block)
        self._pending.append(block.copy())

    def restart(self) -> None:
        """Forget the past, after the robot was moved by something else than its actions."""
        self._forget()
        self._pending.clear()
        self.session_id = secrets.token_hex(8)

    def _forget(self) -> None:
        self._frames.clear()
        self._history.clear()
