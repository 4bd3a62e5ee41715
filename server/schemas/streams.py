"""Sessions, streams and the server's clock."""

from pydantic import Field, model_validator

from server.arrays import ArrayIn
from server.schemas.requests import Goal, Observation, PlanRequest
from server.schemas.responses import PlanResponse
from server.schemas.values import Counter, Identifier, Wire


class ListModelsRequest(Wire):
    pass


class CreateSessionRequest(Wire):
    session_id: Identifier | None = None
    """One is drawn when left out."""
    hold_on_surprise: bool = False
    """For every plan of the session that does not say otherwise."""


class SessionRef(Wire):
    session_id: Identifier


class Session(Wire):
    """What is remembered of a robot between two plans."""

    session_id: str
    epoch: int
    """Goes up when the session is reset, and was never used before by any session of this server."""
    committed_step: int | None
    """Control step of the last plan's first action, or later, as the robot reported."""
    expires_in_ms: int
    """Unless it is used before."""
    hold_on_surprise: bool
    active_goal: int


class DeleteSessionResponse(Wire):
    pass


class ServerTimeRequest(Wire):
    pass


class ServerTime(Wire):
    """The server's clock, in microseconds from an origin of its own. Jumps of the wall clock do not move it."""

    clock_id: str
    """Send it with `clock_offset`: a restarted server has another one."""
    received_us: int
    sent_us: int


class StreamObservation(Wire):
    observation: Observation
    """With its `step`: a stream has a session."""
    executed: ArrayIn | None = None
    """[control_steps, actions] since the frame before; left out, earlier frames are forgotten."""
    request_id: Identifier | None = None
    committed_actions: ArrayIn | None = None


class GoalUpdate(Wire):
    goals: list[Goal] = Field(min_length=1)
    request_id: Identifier | None = None


class Progress(Wire):
    executed_step: Counter
    """On the robot's own counter."""


class PlanStreamRequest(Wire):
    """One event of a stream."""

    open: PlanRequest | None = None
    observation: StreamObservation | None = None
    goals: GoalUpdate | None = None
    progress: Progress | None = None
    cancel_request_id: Identifier | None = None
    seq: Counter | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "PlanStreamRequest":
        events = (self.open, self.observation, self.goals, self.progress, self.cancel_request_id)
        if sum(event is not None for event in events) != 1:
            raise ValueError("send exactly one of open, observation, goals, progress and cancel_request_id")
        return self


class Superseded(Wire):
    request_id: str


class Drain(Wire):
    grace_ms: int


class FieldProblem(Wire):
    pointer: str
    """JSON pointer (RFC 6901) to what is wrong."""
    reason: str


class Problem(Wire):
    """RFC 9457 problem; `code` is what to decide on."""

    type: str
    title: str
    status: int
    """Of HTTP."""
    detail: str
    code: str
    request_id: str
    retryable: bool
    """Whether asking again unchanged can help."""
    retry_after_ms: int | None = None
    errors: list[FieldProblem]


class PlanStreamResponse(Wire):
    """One answer of a stream: exactly one of these, and which event it answers."""

    incumbent: PlanResponse | None = None
    """Better than what came before, and not the last word."""
    final: PlanResponse | None = None
    superseded: Superseded | None = None
    """A newer observation or goal took the place of this request."""
    problem: Problem | None = None
    drain: Drain | None = None
    """The server is shutting down: what is under way is finished, nothing new is taken."""
    seq: int | None = None
