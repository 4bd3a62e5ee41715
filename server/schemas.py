"""What comes in and what goes out, for both transports: `telos.proto` has the same messages with the same field names.

A request that passed here has the right types and sane counts. What depends on a model or on the deployment (shapes,
limits, known names) is checked in `preparation`, which words its errors the same way.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from planner.names import AlgorithmName, SearchSpaceName
from server.arrays import ArrayIn, RowsOut, TensorOut
from telos.wire.tensors import unbase64

MAX_SAFE_INTEGER = 2**53 - 1
"""JSON readers that know only doubles read no larger whole number right."""

Name = Annotated[str, Field(min_length=1, max_length=128)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Encoded = Annotated[
    bytes,
    BeforeValidator(unbase64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


class Wire(BaseModel):
    """Strict: unknown fields, wrong types and numbers that are not finite are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
    )


class Image(Wire):
    """In multipart requests `part`, the name of the form part with the bytes, stands in for `encoded`."""

    encoded: Encoded
    format: Literal["jpeg", "png", "webp"]


class Observation(Wire):
    images: dict[str, Image]
    """By camera name."""
    step: int | None = Field(default=None, ge=0, le=MAX_SAFE_INTEGER)
    """The robot's own counter, in control steps. Has no meaning in a goal."""


class Embedding(Wire):
    space_id: Name
    latents: ArrayIn


class Goal(Wire):
    observation: Observation | None = None
    embedding: Embedding | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Goal":
        if (self.observation is None) == (self.embedding is None):
            raise ValueError("a goal is either an observation or an embedding; send exactly one of the two")
        return self


class ModelRef(Wire):
    name: Name
    version: Name | None = None
    expect_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of the weights."""


class PlannerConfig(Wire):
    """What is left out comes from the preset; a seed is drawn."""

    preset: Name | None = None
    algorithm: AlgorithmName | None = None
    search_space: SearchSpaceName | None = None
    num_samples: Count | None = None
    num_elites: Count | None = None
    """Of cem and icem; the other algorithms have none."""
    max_iterations: Count | None = None
    init_std: float | None = Field(default=None, gt=0, le=10)
    horizon: Count | None = None
    seed: int | None = Field(default=None, ge=0, le=MAX_SAFE_INTEGER)


class ActionLimits(Wire):
    min: list[float]
    max: list[float]
    max_delta: list[float] = []
    """Largest change from one control step to the next, also from the last action of the history; empty: any."""


class Request(Wire):
    request_id: Identifier | None = None
    model: ModelRef


class PlanRequest(Request):
    session_id: Identifier | None = None
    context: list[Observation] = Field(min_length=1)
    action_history: list[ArrayIn] = []
    goals: list[Goal] = Field(min_length=1, max_length=1)
    planner: PlannerConfig = PlannerConfig()
    planning_budget_ms: Count | None = None
    committed_actions: ArrayIn | None = None
    """The plan's first control steps, which the robot runs anyway: [steps, actions], physical units."""
    warm_start: bool | None = None
    limits: ActionLimits | None = None
    include: list[Literal["costs", "latents"]] = []


class AnomalyRequest(Request):
    observations: list[Observation] = Field(min_length=2)
    actions: list[ArrayIn] = Field(min_length=1)


class EncodeRequest(Request):
    observations: list[Observation] = Field(min_length=1)


class ActionChunk(Wire):
    actions: RowsOut
    action_names: list[str]
    action_units: list[str]
    dt_ms: float
    control_steps: int
    first_step: int
    valid_for_ms: float


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
    max_step_delta: list[float]
    within_limits: bool


class Provenance(Wire):
    model_name: str
    model_version: str
    weights_sha256: str
    manifest_sha256: str
    effective_planner: PlannerConfig | None = None
    server_version: str
    device: str
    dtype: str


class PlanResponse(Wire):
    request_id: str
    session_id: str | None = None
    status: Literal["CONVERGED", "MAX_ITERATIONS", "BUDGET_EXHAUSTED"]
    chunk: ActionChunk
    predicted_cost: float
    goal_distance: float
    planned_goal_distance: float
    iterations_completed: int
    surprise: float | None = None
    warm_started: bool
    costs: list[float]
    latents: TensorOut | None = None
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


class ModelInfo(Wire):
    name: str
    version: str
    recipe: str
    task: str
    ready: bool
    camera: str
    height_px: int
    width_px: int
    action: ActionInfo
    context_frames: int
    horizon: int
    presets: list[PlannerConfig]
    surprise_threshold: float
    space_id: str
    weights_sha256: str
    manifest_sha256: str


class ListModelsResponse(Wire):
    models: list[ModelInfo]
