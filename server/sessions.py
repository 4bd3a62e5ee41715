"""What is remembered of a robot between two plans: the last plan's search variables, for a warm start. Nothing else."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from server.engine.preparation import Question


@dataclass(frozen=True)
class LastPlan:
    variables: Tensor
    """[k v]"""
    first_step: int
    """On the robot's own counter of control steps."""
    searched: tuple[str, str, int]
    """Manifest hash, search space and horizon: variables mean nothing to others."""

    def shifted(self, question: Question) -> Tensor | None:
        """What is left of this plan after the model steps that the robot executed since; None when nothing is."""
        executed = (question.first_step - self.first_step) // question.model.manifest.action.control_steps
        if question.searched != self.searched or not 0 <= executed < question.preset.horizon:
            return None
        _, space = question.optimiser(self.variables.device)
        return space.shift(self.variables, executed)


class Sessions:
    """Sessions by the id that the client chose. Forgotten when idle, and the least recently used beyond capacity."""

    def __init__(self, *, ttl_s: float, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._clock = clock
        self._plans: OrderedDict[str, tuple[float, LastPlan]] = OrderedDict()

    def last_plan(self, session_id: str) -> LastPlan | None:
        """None when the session is new, or was idle for too long."""
        expires, plan = self._plans.get(session_id, (0.0, None))
        return plan if self._clock() < expires else None

    def remember(self, session_id: str, plan: LastPlan) -> None:
        now = self._clock()
        self._plans[session_id] = (now + self._ttl_s, plan)
        self._plans.move_to_end(session_id)
        oldest = next(iter(self._plans))
        if len(self._plans) > self._capacity or self._plans[oldest][0] <= now:
            del self._plans[oldest]

    def __len__(self) -> int:
        return len(self._plans)
