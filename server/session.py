"""Session of one robot: its last plan, its goal, and the request under way."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from server import schemas
from server.digest import digest
from server.engine.protocol import EngineReply, WarmStart
from server.errors import Code, ServiceError
from server.safety import ROUNDING

T = TypeVar("T")


@dataclass(frozen=True)
class LastPlan:
    """Last plan of a session: the start of the next search, what the robot executes meanwhile, and the fallback."""

    response: schemas.PlanResponse
    warm_start: WarmStart
    actions: np.ndarray
    """[steps, actions] in physical units, with those that the robot executed before the response."""

    @classmethod
    def of(cls, request: schemas.PlanRequest, reply: EngineReply) -> "LastPlan":
        """The plan of a reply to this request."""
        actions, delay = reply.response.chunk.actions, request.inference_delay_steps
        if delay and request.committed_actions is not None:
            actions = np.concatenate([request.committed_actions[:delay], actions])
        return cls(reply.response, reply.warm_start, actions)

    def actions_from(self, step: int) -> np.ndarray:
        """Actions from this control step on, [steps, actions]; empty if the plan does not cover it."""
        begin = step - self.warm_start.first_step
        return self.actions[begin:] if begin >= 0 else self.actions[:0]

    def rest(self, request: schemas.PlanRequest) -> schemas.PlanResponse | None:
        """The rest of the plan as a response; None if nothing is left or the robot executes other actions."""
        step, delay = request.context[-1].step or 0, request.inference_delay_steps or 0
        ahead, committed = self.actions_from(step), request.committed_actions
        if request.model.name != self.response.provenance.model_name or len(ahead) <= delay:
            return None
        if committed is not None and not (len(committed) <= len(ahead) and _same(committed, ahead[: len(committed)])):
            return None
        before = ahead[delay - 1] if delay else (request.action_history[-1][-1] if request.action_history else None)
        return self._moved(request, ahead[delay:], before, step + delay)

    def _moved(
        self, request: schemas.PlanRequest, actions: np.ndarray, before: np.ndarray | None, first_step: int
    ) -> schemas.PlanResponse:
        """The response with these actions, which begin at `first_step` and follow the action `before`."""
        chunk, safety = self.response.chunk, self.response.safety
        moved = {"actions": actions, "first_step": first_step, "valid_for_ms": len(actions) * chunk.dt_ms}
        changes = {
            "max_step_delta": np.abs(np.diff(actions, axis=0)).max(axis=0, initial=0.0).tolist(),
            "start_jump": [] if before is None else np.abs(actions[0] - before).tolist(),
        }
        return self.response.model_copy(
            update={
                "request_id": request.request_id,
                "status": "FALLBACK_PREVIOUS",
                "chunk": chunk.model_copy(update=moved),
                "safety": safety.model_copy(update=changes),
                "iterations_completed": 0,
                "surprise": None,
                "novelty": None,
                "goal_novelty": None,
                "warnings": [],
                "warm_started": False,
                "capture_time_us": request.context[-1].capture_time_us,
                "costs": [],
                "latents": None,
            }
        )


class Turn:
    """A request of a session under way, until a newer one replaces it. Belongs to one event loop."""

    def __init__(self, request: schemas.PlanRequest) -> None:
        self.step = request.context[-1].step or 0
        """Control step of the observation."""
        self._ended: asyncio.Future[ServiceError] = asyncio.get_running_loop().create_future()

    def end(self, error: ServiceError) -> None:
        """Answer the request with `error` and discard its result, even if it is complete."""
        if not self._ended.done():
            self._ended.set_result(error)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises ServiceError when the turn was ended."""
        working = asyncio.ensure_future(work)
        working.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # otherwise asyncio logs it as never retrieved
        try:
            await asyncio.wait({working, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                raise self._ended.result()
            return working.result()
        finally:
            working.cancel()


@dataclass(eq=False, kw_only=True)
class RobotSession:
    """One robot's session. Times are on the clock of `Sessions`, in seconds."""

    session_id: str
    epoch: int
    hold_on_surprise: bool = False
    expires: float = 0.0
    committed_step: int | None = None
    active_goal: int = 0
    last: LastPlan | None = None
    turn: Turn | None = None
    """The request under way."""
    _goals: bytes = field(default=b"")
    """Digest of the goals that `active_goal` refers to."""

    def completed(self, request: schemas.PlanRequest) -> schemas.PlanRequest:
        """The request with fields that it leaves out filled from the session."""
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
        """The rest of the last plan, if it leads to the same goal and continues the actions that the robot executes."""
        same_goal = self._goals == goals_digest(request.goals) and request.active_goal in (None, self.active_goal)
        return self.last.rest(request) if self.last is not None and same_goal else None

    def begin(self, request: schemas.PlanRequest) -> Turn:
        """Start a turn. Raises ServiceError (superseded) for an observation older than that of the present turn."""
        newcomer = Turn(request)
        if self.turn is not None:
            if newcomer.step < self.turn.step:
                raise superseded(f"a plan from step {self.turn.step} is under way, and this is from {newcomer.step}")
            self.turn.end(superseded("a newer request of the session took its place"))
        self.turn = newcomer
        return newcomer

    def end_turn(self, error: ServiceError) -> None:
        """Answer the request under way with `error`, if there is one."""
        if self.turn is not None:
            self.turn.end(error)

    async def turn_of(self, request: schemas.PlanRequest, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises ServiceError (superseded) if a newer request replaced this one."""
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

    def remember(self, request: schemas.PlanRequest, reply: EngineReply) -> None:
        """Keep the plan of a reply that was sent, for the next request."""
        self.last = LastPlan.of(request, reply)
        self.active_goal = reply.response.active_goal
        self._goals = goals_digest(request.goals)
        self.committed_step = max(reply.response.chunk.first_step, self.committed_step or 0)


def goals_digest(goals: Sequence[schemas.Goal]) -> bytes:
    """Digest that is equal for the same goals in the same order."""
    shown = {"observation": {"images", "arrays"}, "embedding": True}
    return digest([goal.model_dump(include=shown) for goal in goals])


def superseded(why: str) -> ServiceError:
    """The answer to a request that a newer one has replaced."""
    return ServiceError(Code.SUPERSEDED, f"{why}; wait for the newer one")


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(
        np.allclose(one, other, rtol=0, atol=ROUNDING * max(1.0, np.abs(other).max()))
    )
