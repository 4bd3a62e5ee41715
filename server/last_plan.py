"""A session's last plan: what the next one starts from, what the robot runs meanwhile, and what is left without it."""

from dataclasses import dataclass

import numpy as np

from server import schemas
from server.engine.protocol import Planned, WarmStart
from server.safety import ROUNDING


@dataclass(frozen=True)
class LastPlan:
    response: schemas.PlanResponse
    warm_start: WarmStart
    actions: np.ndarray
    """[steps, actions], physical, those that the robot ran before the response included."""

    @classmethod
    def of(cls, request: schemas.PlanRequest, planned: Planned) -> "LastPlan":
        """What was planned for this request."""
        actions, delay = planned.response.chunk.actions, request.inference_delay_steps
        if delay and request.committed_actions is not None:
            actions = np.concatenate([request.committed_actions[:delay], actions])
        return cls(planned.response, planned.warm_start, actions)

    def actions_from(self, step: int) -> np.ndarray:
        """[steps, actions] from this control step on; none when the plan does not cover it."""
        begin = step - self.warm_start.first_step
        return self.actions[begin:] if begin >= 0 else self.actions[:0]

    def rest(self, request: schemas.PlanRequest) -> schemas.PlanResponse | None:
        """As an answer to `request`; None when nothing is left, or it is not what the robot would go on with."""
        step, delay = request.context[-1].step or 0, request.inference_delay_steps or 0
        ahead, committed = self.actions_from(step), request.committed_actions
        chunk = self.response.chunk
        if request.model.name != self.response.provenance.model_name or len(ahead) <= delay:
            return None
        if committed is not None and not (len(committed) <= len(ahead) and _same(committed, ahead[: len(committed)])):
            return None
        before = ahead[delay - 1] if delay else (request.action_history[-1][-1] if request.action_history else None)
        actions = ahead[delay:]
        moved = chunk.model_copy(
            update={
                "actions": actions,
                "first_step": step + delay,
                "valid_for_ms": len(actions) * chunk.dt_ms,
            }
        )
        safety = self.response.safety.model_copy(
            update={
                "max_step_delta": np.abs(np.diff(actions, axis=0)).max(axis=0, initial=0.0).tolist(),
                "start_jump": [] if before is None else np.abs(actions[0] - before).tolist(),
            }
        )
        return self.response.model_copy(
            update={
                "request_id": request.request_id,
                "status": "FALLBACK_PREVIOUS",
                "chunk": moved,
                "safety": safety,
                "iterations_completed": 0,
                "surprise": None,
                "warm_started": False,
                "capture_time_us": request.context[-1].capture_time_us,
                "costs": [],
                "latents": None,
            }
        )


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(
        np.allclose(one, other, rtol=0, atol=ROUNDING * max(1.0, np.abs(other).max()))
    )
