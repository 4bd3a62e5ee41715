"""Responses, and the messages that they contain."""

from typing import Literal

from pydantic import Field

from server.arrays import RowsOut, TensorOut
from server.schemas.requests import PlannerConfig
from server.schemas.values import Wire


class ActionChunk(Wire):
    actions: RowsOut
    """Actions in physical units: [steps, actions], one row for each control step."""
    action_names: list[str]
    action_units: list[str]
    dt_ms: float
    """Duration of one control step."""
    control_steps: int
    """Control steps in one model step. Execute a multiple of it before you plan again."""
    first_step: int
    """Control step of the first action, on the robot's counter."""
    valid_for_ms: float
    """Time since `first_step` after which the robot must hold or stop unless it has a newer plan."""


class Timing(Wire):
    decode_us: int
    queue_us: int
    encode_us: int
    plan_us: int
    total_us: int
    late_us: int
    """Time by which the answer exceeded its planning budget; 0 when it was in time or had no budget."""


class SafetyReport(Wire):
    saturated_fraction: float
    """Share of action values that lie on a limit."""
    max_step_delta: list[float]
    """Largest change from one control step to the next, one entry for each action."""
    start_jump: list[float]
    """Change from the action before the chunk to its first one, one entry for each action; empty when unknown."""
    within_limits: bool


class Provenance(Wire):
    model_name: str
    model_version: str
    weights_sha256: str
    manifest_sha256: str
    effective_planner: PlannerConfig | None = None
    """Settings that were used, seed included. Send them again to get the same plan."""
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
    """Epoch of the session. Discard the reply unless it is your epoch."""
    status: Literal["CONVERGED", "MAX_ITERATIONS", "BUDGET_EXHAUSTED", "FALLBACK_PREVIOUS", "POLICY"]
    """Origin of the plan. CONVERGED, MAX_ITERATIONS and BUDGET_EXHAUSTED: by a search, and the reason it ended.
    FALLBACK_PREVIOUS: the rest of the session's last plan, with its cost and distances, because no new plan was ready
    in time. POLICY: by the model's policy, without a search."""
    chunk: ActionChunk
    predicted_cost: float | None = None
    """Cost of the plan. Left out for a policy's plan that no world model verified."""
    goal_distance: float
    """Latent distance from the last frame to the active goal; 1 is the distance of unrelated frames."""
    goal_distances: list[float]
    """Latent distance from the last frame to each goal."""
    active_goal: int
    """Index of the goal to which the plan leads."""
    goal_reached: bool
    """True when all goals are reached: the last frame is within the tolerance of the last goal."""
    planned_goal_distance: float | None = None
    """Distance to the active goal at the end of the imagined future; left out when nothing was imagined."""
    iterations_completed: int
    surprise: float | None = None
    """Surprise of the last transition in the context; left out when there is none."""
    novelty: float | None = None
    """Novelty of the last frame, the largest of its sensors: above 1, the frame is unlike what the model learned from.
    Left out for a model that was not calibrated, and with FALLBACK_PREVIOUS."""
    goal_novelty: float | None = None
    """Novelty of the active goal; also left out for a goal that is an embedding."""
    warnings: list[InputWarning] = Field(default_factory=list)
    """Warnings about the last frame and about each goal that is an observation."""
    warm_started: bool
    capture_time_us: int | None = None
    """Time of the last frame, as it was sent."""
    costs: list[float]
    """Best cost after each iteration, if `include` has `costs`."""
    latents: TensorOut | None = None
    """Imagined future, [horizon, n, d], if `include` has `latents`."""
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
    """A sensor of a model."""

    name: str
    kind: Literal["camera", "vector"]
    shape: list[int]
    """[height_px, width_px, 3] of a camera, to which images are resized; [entries] of a vector."""
    names: list[str] = Field(default_factory=list)
    """Names of a vector's entries, in order."""
    units: list[str] = Field(default_factory=list)
    low: list[float] = Field(default_factory=list)
    """Lowest reading of each entry, in its unit. A reading clearly outside `low` to `high` is refused."""
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
    """Sensors that every observation must have, and no others."""
    latent_shape: list[int]
    """Shape of the latents of one observation: [n, d]."""
    action: ActionInfo | None = None
    """Actions; left out for a model that encodes and does not plan."""
    context_frames: int | None = None
    """Largest number of context frames, one model step apart."""
    horizon: int | None = None
    """Default horizon, in model steps."""
    presets: list[PlannerConfig]
    """Planner settings that a request may name."""
    surprise_threshold: float | None = None
    """Surprise that 1 % of held-out transitions exceed; left out when the model was not calibrated."""
    novelty_false_alarm_rate: float | None = None
    """Largest share of normal readings of a sensor whose novelty exceeds 1; left out when the model was not
    calibrated."""
    space_id: str
    weights_sha256: str
    manifest_sha256: str
    device: str
    """Device that the model runs on: cpu, or a GPU such as cuda:0."""
    dtype: str
    """Precision of the rollout: float32 or bfloat16."""


class ListModelsResponse(Wire):
    models: list[ModelInfo]
