"""Control of a robot that moves while it plans: each action is executed at the step that it was planned for."""

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from telos.chunk import ROUNDING, Chunk
from telos.errors import TelosError
from telos.history import History
from telos.planner import Planner
from telos.replies import PlanReply
from telos.requests import GoalLike, ObservationLike, PlanOptions, Underway

log = logging.getLogger("telos")

REMEMBERED_DELAYS = 8


@dataclass(frozen=True)
class _Asked:
    """A plan under way, and what the robot does in the meantime."""

    step: int
    seen_s: float
    committed: np.ndarray
    """[steps, actions]: the actions that the request said the robot would execute while it waits."""
    answer: Future[PlanReply]
    executed: list[np.ndarray] = field(default_factory=list)


class ControlLoop:
    """One action for each control step, and a new plan in the background after every model step.

    A request commits the actions that the robot executes until the plan arrives (`inference_delay_steps` control steps
    of the plan before). The new plan begins with them and takes over where they end; a later one is discarded. At a
    step without a valid plan, `act` returns `hold`, or raises TelosError (`plan-expired`) if there is no `hold`.
    Steps count on the robot's own counter.

    `clock` gives the robot's time in seconds; for a simulated robot, the simulation's time.
    """

    def __init__(
        self,
        planner: Planner,
        *,
        model: str,
        goal: GoalLike,
        options: PlanOptions | None = None,
        hold: np.ndarray | None = None,
        inference_delay_steps: int | None = None,
        commit: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Only the loop may use `planner` from now on; a plan is given up after the planner's `timeout_s`.

        `hold` is the action, in physical units, that keeps this robot where it is. `inference_delay_steps` None: one
        more than the slowest of the last plans took. With `commit=False` requests commit no actions, and a plan takes
        over in the middle, as if its first steps had been executed.
        Raises TelosError (`model-not-found`, `no-actions`), and ValueError for a hold action outside the limits.
        """
        self.model = planner.model(model)
        self._action = self.model.required_action
        self.goal = goal
        self.plan: PlanReply | None = None
        """The plan that is being executed."""
        self.last_error: TelosError | None = None
        """Error of the last plan; None after a plan that succeeded."""
        self.session_id = secrets.token_hex(8)
        self._planner = planner
        self._hold = None if hold is None else self._checked_hold(hold)
        self._fixed_delay_steps = inference_delay_steps
        self._commit = commit
        self._options = options
        self._clock = clock
        self._history = History(self.model)
        self._chunk: Chunk | None = None
        self._asked: _Asked | None = None
        self._delays: deque[int] = deque([self._action.control_steps], maxlen=REMEMBERED_DELAYS)
        self._stopped = False
        self._planning = ThreadPoolExecutor(max_workers=1, thread_name_prefix="telos-plan")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for the plan under way, at most for the planner's timeout, and discard it."""
        self._planning.shutdown(wait=True, cancel_futures=True)

    @property
    def step(self) -> int:
        """Control steps executed so far."""
        return self._history.step

    @property
    def uses_observation(self) -> bool:
        """True at the steps whose observation `act` uses, once in each model step."""
        return self.step % self._action.control_steps == 0

    @property
    def inference_delay_steps(self) -> int:
        """Control steps that the next plan may take."""
        if self._fixed_delay_steps is not None:
            return self._fixed_delay_steps
        longest = ((self.model.horizon or 1) - 1) * self._action.control_steps
        return min(max(self._delays) + 1, longest)

    def act(self, seen: ObservationLike | None) -> np.ndarray:
        """The action of this control step, [actions] in physical units. The loop assumes that the robot executes it.

        `seen` is the present observation, or None when there is none. Without `hold`, the first call waits for a
        plan. Raises TelosError (`plan-expired`) without a valid plan and without `hold`, until `restart` is called, and
        ValueError for readings that do not fit the model's sensors.
        """
        if self._stopped:
            raise self._expired()
        self._take_over()
        if seen is not None and self.uses_observation:
            self._history.observe(seen)
            if self._asked is None:
                self._ask()
        action = self._planned(self.step)
        if action is None and self._hold is None:
            self._stopped = True
            raise self._expired()
        return self._execute(self._hold if action is None else action)

    def restart(self) -> None:
        """Forget the past and every plan. Call it after the robot was moved by other means, or stopped."""
        self._history.restart()
        self._chunk = self._asked = self.plan = None
        self._stopped = False
        self.session_id = secrets.token_hex(8)

    def _planned(self, step: int) -> np.ndarray | None:
        return None if self._chunk is None else self._chunk.at(step, self._clock())

    def _execute(self, action: np.ndarray | None) -> np.ndarray:
        assert action is not None
        self._history.executed(action[None])
        if self._asked is not None:
            self._asked.executed.append(action)
        return action.copy()

    def _ask(self) -> None:
        committed = self._meanwhile()
        answer = self._planning.submit(
            self._planner.plan,
            self.model.name,
            self._history.frames,
            self.goal,
            self._options,
            action_history=self._history.actions,
            session=self.session_id,
            underway=Underway(actions=committed) if len(committed) else None,
        )
        self._asked = _Asked(self.step, self._clock(), committed, answer)
        if self._chunk is None and self._hold is None:
            self._await_first_plan(self._asked)

    def _meanwhile(self) -> np.ndarray:
        """Actions that the robot executes until the next plan takes over: [steps, actions]."""
        rows: list[np.ndarray] = []
        for step in range(self.step, self.step + self.inference_delay_steps) if self._commit else ():
            action = self._planned(step)
            row = self._hold if action is None else action
            if row is None:
                break  # no action is known from here on
            rows.append(row)
        return np.stack(rows) if rows else np.empty((0, len(self._action.names)))

    def _await_first_plan(self, asked: _Asked) -> None:
        """Wait for the first plan. The robot stands still, so the plan stays valid however long it takes."""
        self._asked = None
        reply = asked.answer.result()
        self._chunk = self._checked(reply, asked, self._clock())
        self.plan = reply

    def _take_over(self) -> None:
        """Execute the plan that has arrived, unless it does not fit what the robot did in the meantime."""
        asked = self._asked
        if asked is None or not asked.answer.done():
            return
        self._asked = None
        try:
            reply = asked.answer.result()
            self._delays.append(self.step - asked.step)
            self._chunk = self._checked(reply, asked, asked.seen_s)
        except TelosError as error:
            self.last_error = error
            log.warning("no new plan at step %d: %s", self.step, error)
        else:
            self.plan, self.last_error = reply, None

    def _checked(self, reply: PlanReply, asked: _Asked, seen_s: float) -> Chunk:
        """Raises TelosError for a plan that begins at another step, or continues actions that were not executed."""
        if reply.first_step != asked.step:
            detail = f"the plan starts at step {reply.first_step}, not {asked.step}: discarded"
            raise TelosError("stale-reply", detail, request_id=reply.request_id)
        begins = reply.actions[: len(asked.committed)]
        if begins.shape != asked.committed.shape or not self._same(begins, asked.committed):
            detail = f"the plan of step {asked.step} does not begin with the committed actions: discarded"
            raise TelosError("stale-reply", detail, request_id=reply.request_id)
        done = asked.executed
        if self._commit and (len(done) > len(begins) or not all(map(self._same, done, begins))):
            detail = (
                f"the plan of step {asked.step} took {len(done)} control steps; {len(begins)} were committed: discarded"
            )
            raise TelosError("late-plan", detail, request_id=reply.request_id)
        return Chunk.of(reply, seen_s)

    def _same(self, actions: np.ndarray, others: np.ndarray) -> bool:
        spec = self._action
        slack = ROUNDING * (np.asarray(spec.high) - np.asarray(spec.low))
        return bool((np.abs(actions - others) <= slack).all())

    def _checked_hold(self, hold: np.ndarray) -> np.ndarray:
        spec = self._action
        action = np.asarray(hold, dtype=np.float64)
        inside = action.shape == (len(spec.names),) and ((spec.low <= action) & (action <= spec.high)).all()
        if not inside:
            raise ValueError(f"hold is {action.tolist()}; wanted one value for each of {spec.names}, within the limits")
        return action

    def _expired(self) -> TelosError:
        reason = f"; {self.last_error}" if self.last_error is not None else ""
        return TelosError(
            "plan-expired", f"there is no valid plan at step {self.step}{reason}; give `hold`, or restart"
        )
