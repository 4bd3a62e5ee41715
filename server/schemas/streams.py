"""Messages about sessions, streams and the server's clock."""

from pydantic import Field, model_validator

from server.arrays import ArrayIn
from server.schemas.requests import Goal, Observation, PlanRequest
from server.schemas.responses import PlanResponse
from server.schemas.values import Counter, Identifier, Wire


class ListModelsRequest(Wire):
    pass


class CreateSessionRequest(Wire):
    session_id: Identifier | None = None
    """Identifier; drawn when left out."""
    hold_on_surprise: bool = False
    """Default of every plan request of the session."""


class SessionRef(Wire):
    session_id: Identifier


class Session(Wire):
    """A robot's state on the server between two plans."""

    session_id: str
    epoch: int
    """Number that grows with each reset of the session. No session of this server had it before."""
    committed_step: int | None
    """Control step of the last plan's first action, or a later one that the robot reported."""
    expires_in_ms: int
    """Time until the session is forgotten, unless it is used before."""
    hold_on_surprise: bool
    active_goal: int


class DeleteSessionResponse(Wire):
    pass


class ServerTimeRequest(Wire):
    pass


class ServerTime(Wire):
    """The server's clock, in microseconds from an origin of its own. Jumps of the wall clock do not move it."""

    clock_id: str
    """Identifier of this clock, to be sent in `clock_offset`. It changes when the server restarts."""
    received_us: int
    sent_us: int


class StreamObservation(Wire):
    observation: Observation
    """Observation with its `step`, which a session needs."""
    executed: ArrayIn | None = None
    """Actions executed since the frame before: [control_steps, actions]. Without them, earlier frames are forgotten."""
    request_id: Identifier | None = None
    committed_actions: ArrayIn | None = None


class GoalUpdate(Wire):
    goals: list[Goal] = Field(min_length=1)
    request_id: Identifier | None = None


class Progress(Wire):
    executed_step: Counter
    """Control step that the robot has reached, on its own counter."""


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
    """JSON pointer (RFC 6901) to the field that is wrong."""
    reason: str


class Problem(Wire):
    """Problem (RFC 9457). Programs should decide on `code`."""

    type: str
    title: str
    status: int
    """HTTP status."""
    detail: str
    code: str
    request_id: str
    retryable: bool
    """True when the same request can succeed later."""
    retry_after_ms: int | None = None
    errors: list[FieldProblem]


class PlanStreamResponse(Wire):
    """One answer of a stream: exactly one of its messages, and the number of the event that it answers."""

    incumbent: PlanResponse | None = None
    """A better plan than the one before; the search goes on."""
    final: PlanResponse | None = None
    superseded: Superseded | None = None
    """Notice that a newer observation or goal replaced this request."""
    problem: Problem | None = None
    drain: Drain | None = None
    """Notice that the server is shutting down: it finishes the plan under way and accepts nothing new."""
    seq: int | None = None
