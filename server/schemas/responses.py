"""What goes out."""

from typing import Literal

from pydantic import Field

from server.arrays import RowsOut, TensorOut
from server.schemas.requests import PlannerConfig
from server.schemas.values import Wire


class ActionChunk(Wire):
    actions: RowsOut
    """[steps, actions], physical units."""
    action_names: list[str]
    action_units: list[str]
    dt_ms: float
    """Of one control step."""
    control_steps: int
    """In one model step: execute a multiple of it before planning again."""
    first_step: int
    """The control step, on the robot's counter, that the first action belongs to."""
    valid_for_ms: float
    """Hold or stop when this has passed since `first_step` without a newer plan."""


class Timing(Wire):
    decode_us: int
    queue_us: int
    encode_us: int
    plan_us: int
    total_us: int
    late_us: int
    """After the planning budget was over. 0: in time, or no budget was given."""


class SafetyReport(Wire):
    saturated_fraction: float
    """Share of action values that sit on a limit."""
    max_step_delta: list[float]
    """Largest change from one control step to the next, one entry for each action."""
    start_jump: list[float]
    """From the action before the chunk to its first one, one entry for each action; empty when it is not known."""
    within_limits: bool


class Provenance(Wire):
    model_name: str
    model_version: str
    weights_sha256: str
    manifest_sha256: str
    effective_planner: PlannerConfig | None = None
    """Sent again, seed included, it gives the same plan."""
    server_version: str
    device: str
    dtype: str


class InputWarning(Wire):
    """Something unusual about a reading. The plan is made all the same."""

    code: Literal["aspect-changed", "unlike-training"]
    pointer: str
    """JSON pointer (RFC 6901) to the reading in the request."""
    reason: str


class PlanResponse(Wire):
    request_id: str
    session_id: str | None = None
    session_epoch: int | None = None
    """Discard the reply unless it is yours."""
    status: Literal["CONVERGED", "MAX_ITERATIONS", "BUDGET_EXHAUSTED", "FALLBACK_PREVIOUS", "POLICY"]
    """FALLBACK_PREVIOUS: no new plan in time, so this is the rest of the session's last one, with its cost and
    distances. POLICY: the model's policy answered, and nothing was searched. Each of the others is a new plan."""
    chunk: ActionChunk
    predicted_cost: float | None = None
    """Left out of a policy's answer, unless a world model verified it."""
    goal_distance: float
    """Latent distance of the last frame to the active goal; 1 is that of unrelated frames."""
    goal_distances: list[float]
    """The same to each goal."""
    active_goal: int
    """The goal planned for."""
    goal_reached: bool
    """The last frame is within the tolerance of the last goal, all before it having been reached."""
    planned_goal_distance: float | None = None
    """To the active goal at the end of the imagined future; left out when none was imagined."""
    iterations_completed: int
    surprise: float | None = None
    """Of the last transition in the context."""
    novelty: float | None = None
    """How unlike training the last frame is: above 1, it is unlike what the model learned from. The largest of all
    sensors. Left out for a model that was not calibrated, and with FALLBACK_PREVIOUS."""
    goal_novelty: float | None = None
    """The same of the active goal; left out for a goal that is an embedding, too."""
    warnings: list[InputWarning] = Field(default_factory=list)
    """Of the last frame and of each goal that is an observation."""
    warm_started: bool
    capture_time_us: int | None = None
    """Of the last frame, as it was sent."""
    costs: list[float]
    """Best cost after each iteration, when included."""
    latents: TensorOut | None = None
    """[horizon, n, d] imagined future, when included."""
    timing: Timing
    safety: SafetyReport
    provenance: Provenance


class AnomalyResponse(Wire):
    request_id: str
    surprise: list[float]
    p_value: list[float]
    threshold: float
    is_anomalous: bool
    provenance: Provenance


class EncodeResponse(Wire):
    request_id: str
    embeddings: TensorOut
    space_id: str
    provenance: Provenance


class ActionInfo(Wire):
    names: list[str]
    units: list[str]
    low: list[float]
    high: list[float]
    dt_ms: float
    control_steps: int


class SensorInfo(Wire):
    """One of a model's sensors."""

    name: str
    kind: Literal["camera", "vector"]
    shape: list[int]
    """A camera's [height_px, width_px, 3], to which images are resized; a vector's [entries]."""
    names: list[str] = Field(default_factory=list)
    """A vector's entries, in order."""
    units: list[str] = Field(default_factory=list)
    low: list[float] = Field(default_factory=list)
    """Readings of an entry lie within low..high, in its unit; what lies clearly beyond is refused."""
    high: list[float] = Field(default_factory=list)
    aspect_ratio: float | None = None
    """Width over height of the pictures that the model learned from; left out where it is that of `shape`."""


class ModelInfo(Wire):
    name: str
    version: str
    recipe: str
    task: str
    ready: bool
    sensors: list[SensorInfo]
    """An observation has exactly these."""
    latent_shape: list[int]
    """[n, d] of one observation."""
    action: ActionInfo | None = None
    """Left out of a model that encodes and plans nothing."""
    context_frames: int | None = None
    """At most, one model step apart."""
    horizon: int | None = None
    """By default, in model steps."""
    presets: list[PlannerConfig]
    """That it can be asked with."""
    surprise_threshold: float | None = None
    """Left out when the model was not calibrated."""
    novelty_false_alarm_rate: float | None = None
    """Share of normal readings of a sensor whose novelty exceeds 1, at most; left out when the model was not
    calibrated."""
    space_id: str
    weights_sha256: str
    manifest_sha256: str
    device: str
    """cpu, or a GPU as cuda:0."""
    dtype: str
    """float32 or bfloat16: what imagining computes in."""


class ListModelsResponse(Wire):
    models: list[ModelInfo]
