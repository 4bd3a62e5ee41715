"""Requests recorded plans again and compares them.

A plan is a pure function of the request, the seed, the weights, the number of iterations and, in a session, the plan
before. Request and reply contain the first four, so they are repeated exactly; the last is the same when a session is
replayed from its beginning.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from telos.errors import TelosError
from telos.grpc_planner import GrpcPlanner
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_payload
from telos.wire.tensors import unpack

TOLERANCE = 1e-3
"""Largest difference of actions, in their own units. Plans that shared a rollout differ by rounding (DECISIONS)."""

_OF_THE_MOMENT: Final = (
    "request_id",
    "session_id",
    "session_epoch",
    "planning_budget_ms",
    "require_complete",
    "max_observation_age_ms",
    "clock_offset",
)
"""Fields about the time and place of the recording, which do not affect the plan."""

Verdict = Literal["same", "differs", "refused", "not comparable"]


@dataclass(frozen=True)
class Comparison:
    """A recorded plan beside its repetition."""

    request_id: str
    model: str
    verdict: Verdict
    difference: float | None
    """Largest difference of any action."""
    recorded_ms: float
    replayed_ms: float | None
    detail: str = ""


class ReplayConnection(GrpcPlanner):
    """Connection that sends the exact messages of a recording."""

    def ask(self, request: pb.PlanRequest) -> pb.PlanResponse:
        """Raises TelosError."""
        return self._invoke("Plan", request)


def replay(
    plans: Iterable[tuple[pb.PlanRequest, pb.PlanResponse]],
    ask: Callable[[pb.PlanRequest], pb.PlanResponse],
    tolerance: float = TOLERANCE,
) -> Iterator[Comparison]:
    """Comparisons in the order of the recording. Sessions get new names, so that robots at work are not disturbed."""
    run = secrets.token_hex(8)
    names: dict[str, str] = {}
    followed: set[str] = set()
    """Sessions in which the server has the same last plan as when this was recorded."""
    for request, reply in plans:
        session = request.session_id
        if reply.warm_started and session not in followed:
            detail = "it goes on from a plan that was not replayed"
            yield _comparison(request, reply, "not comparable", detail=detail)
            continue
        if reply.status == pb.PlanResponse.FALLBACK_PREVIOUS:
            yield _comparison(request, reply, "not comparable", detail="it is the rest of the plan before it")
            continue
        name = names.setdefault(session, f"replay-{run}-{len(names)}") if session else None
        try:
            again = ask(exactly(request, reply, name))
        except TelosError as error:
            followed.discard(session)
            yield _comparison(request, reply, "refused", detail=str(error))
        else:
            followed.add(session)
            yield _compared(request, reply, again, tolerance)


def exactly(request: pb.PlanRequest, reply: pb.PlanResponse, session_id: str | None) -> pb.PlanRequest:
    """Request for the same plan, with explicit settings and without a deadline."""
    asked = pb.PlanRequest()
    asked.CopyFrom(request)
    for field in _OF_THE_MOMENT:
        asked.ClearField(field)
    if len(request.goals) > 1:
        asked.active_goal = reply.active_goal
    if session_id is not None:
        asked.session_id = session_id
    asked.warm_start = reply.warm_started
    asked.planner.CopyFrom(reply.provenance.effective_planner)
    if reply.iterations_completed:  # a policy makes none
        asked.planner.max_iterations = reply.iterations_completed
    asked.model.version = reply.provenance.model_version
    asked.model.expect_sha256 = reply.provenance.weights_sha256
    return asked


def _compared(request: pb.PlanRequest, reply: pb.PlanResponse, again: pb.PlanResponse, tolerance: float) -> Comparison:
    was, now = (unpack(to_payload(each.chunk.actions)) for each in (reply, again))
    if was.shape != now.shape:
        detail = f"actions were {list(was.shape)} and are {list(now.shape)}"
        return _comparison(request, reply, "differs", again, detail=detail)
    difference = float(np.abs(was - now).max())
    verdict: Verdict = "same" if difference <= tolerance else "differs"
    return _comparison(request, reply, verdict, again, difference)


def _comparison(
    request: pb.PlanRequest,
    reply: pb.PlanResponse,
    verdict: Verdict,
    again: pb.PlanResponse | None = None,
    difference: float | None = None,
    detail: str = "",
) -> Comparison:
    return Comparison(
        request_id=reply.request_id,
        model=request.model.name,
        verdict=verdict,
        difference=difference,
        recorded_ms=reply.timing.total_us / 1e3,
        replayed_ms=again.timing.total_us / 1e3 if again else None,
        detail=detail,
    )
