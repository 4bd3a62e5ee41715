from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tensor(_message.Message):
    __slots__ = ("datatype", "shape", "data")
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("encoded", "format")
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    encoded: bytes
    format: str
    def __init__(self, encoded: _Optional[bytes] = ..., format: _Optional[str] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("images", "step")
    class ImagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Image
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    images: _containers.MessageMap[str, Image]
    step: int
    def __init__(self, images: _Optional[_Mapping[str, Image]] = ..., step: _Optional[int] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("space_id", "latents")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    latents: Tensor
    def __init__(self, space_id: _Optional[str] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class Goal(_message.Message):
    __slots__ = ("observation", "embedding")
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    observation: Observation
    embedding: Embedding
    def __init__(self, observation: _Optional[_Union[Observation, _Mapping]] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ...) -> None: ...

class ModelRef(_message.Message):
    __slots__ = ("name", "version", "expect_sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECT_SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    expect_sha256: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., expect_sha256: _Optional[str] = ...) -> None: ...

class PlannerConfig(_message.Message):
    __slots__ = ("preset", "algorithm", "horizon", "num_samples", "num_elites", "max_iterations", "init_std", "seed", "search_space")
    PRESET_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NUM_ELITES_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    INIT_STD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SEARCH_SPACE_FIELD_NUMBER: _ClassVar[int]
    preset: str
    algorithm: str
    horizon: int
    num_samples: int
    num_elites: int
    max_iterations: int
    init_std: float
    seed: int
    search_space: str
    def __init__(self, preset: _Optional[str] = ..., algorithm: _Optional[str] = ..., horizon: _Optional[int] = ..., num_samples: _Optional[int] = ..., num_elites: _Optional[int] = ..., max_iterations: _Optional[int] = ..., init_std: _Optional[float] = ..., seed: _Optional[int] = ..., search_space: _Optional[str] = ...) -> None: ...

class ActionLimits(_message.Message):
    __slots__ = ("min", "max", "max_delta")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MAX_DELTA_FIELD_NUMBER: _ClassVar[int]
    min: _containers.RepeatedScalarFieldContainer[float]
    max: _containers.RepeatedScalarFieldContainer[float]
    max_delta: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, min: _Optional[_Iterable[float]] = ..., max: _Optional[_Iterable[float]] = ..., max_delta: _Optional[_Iterable[float]] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("request_id", "model", "session_id", "context", "action_history", "goals", "planner", "planning_budget_ms", "committed_actions", "warm_start", "limits", "include")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ACTION_HISTORY_FIELD_NUMBER: _ClassVar[int]
    GOALS_FIELD_NUMBER: _ClassVar[int]
    PLANNER_FIELD_NUMBER: _ClassVar[int]
    PLANNING_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    WARM_START_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: ModelRef
    session_id: str
    context: _containers.RepeatedCompositeFieldContainer[Observation]
    action_history: _containers.RepeatedCompositeFieldContainer[Tensor]
    goals: _containers.RepeatedCompositeFieldContainer[Goal]
    planner: PlannerConfig
    planning_budget_ms: int
    committed_actions: Tensor
    warm_start: bool
    limits: ActionLimits
    include: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., session_id: _Optional[str] = ..., context: _Optional[_Iterable[_Union[Observation, _Mapping]]] = ..., action_history: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., goals: _Optional[_Iterable[_Union[Goal, _Mapping]]] = ..., planner: _Optional[_Union[PlannerConfig, _Mapping]] = ..., planning_budget_ms: _Optional[int] = ..., committed_actions: _Optional[_Union[Tensor, _Mapping]] = ..., warm_start: _Optional[bool] = ..., limits: _Optional[_Union[ActionLimits, _Mapping]] = ..., include: _Optional[_Iterable[str]] = ...) -> None: ...

class ActionChunk(_message.Message):
    __slots__ = ("actions", "action_names", "dt_ms", "first_step", "valid_for_ms", "action_units", "control_steps")
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    ACTION_NAMES_FIELD_NUMBER: _ClassVar[int]
    DT_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    VALID_FOR_MS_FIELD_NUMBER: _ClassVar[int]
    ACTION_UNITS_FIELD_NUMBER: _ClassVar[int]
    CONTROL_STEPS_FIELD_NUMBER: _ClassVar[int]
    actions: Tensor
    action_names: _containers.RepeatedScalarFieldContainer[str]
    dt_ms: float
    first_step: int
    valid_for_ms: float
    action_units: _containers.RepeatedScalarFieldContainer[str]
    control_steps: int
    def __init__(self, actions: _Optional[_Union[Tensor, _Mapping]] = ..., action_names: _Optional[_Iterable[str]] = ..., dt_ms: _Optional[float] = ..., first_step: _Optional[int] = ..., valid_for_ms: _Optional[float] = ..., action_units: _Optional[_Iterable[str]] = ..., control_steps: _Optional[int] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("decode_us", "queue_us", "encode_us", "plan_us", "total_us", "late_us")
    DECODE_US_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    ENCODE_US_FIELD_NUMBER: _ClassVar[int]
    PLAN_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    LATE_US_FIELD_NUMBER: _ClassVar[int]
    decode_us: int
    queue_us: int
    encode_us: int
    plan_us: int
    total_us: int
    late_us: int
    def __init__(self, decode_us: _Optional[int] = ..., queue_us: _Optional[int] = ..., encode_us: _Optional[int] = ..., plan_us: _Optional[int] = ..., total_us: _Optional[int] = ..., late_us: _Optional[int] = ...) -> None: ...

class SafetyReport(_message.Message):
    __slots__ = ("saturated_fraction", "max_step_delta", "within_limits")
    SATURATED_FRACTION_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_DELTA_FIELD_NUMBER: _ClassVar[int]
    WITHIN_LIMITS_FIELD_NUMBER: _ClassVar[int]
    saturated_fraction: float
    max_step_delta: _containers.RepeatedScalarFieldContainer[float]
    within_limits: bool
    def __init__(self, saturated_fraction: _Optional[float] = ..., max_step_delta: _Optional[_Iterable[float]] = ..., within_limits: _Optional[bool] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("model_name", "model_version", "weights_sha256", "manifest_sha256", "effective_planner", "server_version", "device", "dtype")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_PLANNER_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    weights_sha256: str
    manifest_sha256: str
    effective_planner: PlannerConfig
    server_version: str
    device: str
    dtype: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., manifest_sha256: _Optional[str] = ..., effective_planner: _Optional[_Union[PlannerConfig, _Mapping]] = ..., server_version: _Optional[str] = ..., device: _Optional[str] = ..., dtype: _Optional[str] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("request_id", "session_id", "chunk", "status", "predicted_cost", "goal_distance", "iterations_completed", "timing", "safety", "provenance", "surprise", "planned_goal_distance", "warm_started", "costs", "latents")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[PlanResponse.Status]
        CONVERGED: _ClassVar[PlanResponse.Status]
        MAX_ITERATIONS: _ClassVar[PlanResponse.Status]
        BUDGET_EXHAUSTED: _ClassVar[PlanResponse.Status]
    STATUS_UNSPECIFIED: PlanResponse.Status
    CONVERGED: PlanResponse.Status
    MAX_ITERATIONS: PlanResponse.Status
    BUDGET_EXHAUSTED: PlanResponse.Status
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_COST_FIELD_NUMBER: _ClassVar[int]
    GOAL_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    SAFETY_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    SURPRISE_FIELD_NUMBER: _ClassVar[int]
    PLANNED_GOAL_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    WARM_STARTED_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    session_id: str
    chunk: ActionChunk
    status: PlanResponse.Status
    predicted_cost: float
    goal_distance: float
    iterations_completed: int
    timing: Timing
    safety: SafetyReport
    provenance: Provenance
    surprise: float
    planned_goal_distance: float
    warm_started: bool
    costs: _containers.RepeatedScalarFieldContainer[float]
    latents: Tensor
    def __init__(self, request_id: _Optional[str] = ..., session_id: _Optional[str] = ..., chunk: _Optional[_Union[ActionChunk, _Mapping]] = ..., status: _Optional[_Union[PlanResponse.Status, str]] = ..., predicted_cost: _Optional[float] = ..., goal_distance: _Optional[float] = ..., iterations_completed: _Optional[int] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., safety: _Optional[_Union[SafetyReport, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., surprise: _Optional[float] = ..., planned_goal_distance: _Optional[float] = ..., warm_started: _Optional[bool] = ..., costs: _Optional[_Iterable[float]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class AnomalyRequest(_message.Message):
    __slots__ = ("request_id", "model", "observations", "actions")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: ModelRef
    observations: _containers.RepeatedCompositeFieldContainer[Observation]
    actions: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., observations: _Optional[_Iterable[_Union[Observation, _Mapping]]] = ..., actions: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ...) -> None: ...

class AnomalyResponse(_message.Message):
    __slots__ = ("request_id", "surprise", "p_value", "threshold", "is_anomalous", "provenance")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SURPRISE_FIELD_NUMBER: _ClassVar[int]
    P_VALUE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    IS_ANOMALOUS_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    surprise: _containers.RepeatedScalarFieldContainer[float]
    p_value: _containers.RepeatedScalarFieldContainer[float]
    threshold: float
    is_anomalous: bool
    provenance: Provenance
    def __init__(self, request_id: _Optional[str] = ..., surprise: _Optional[_Iterable[float]] = ..., p_value: _Optional[_Iterable[float]] = ..., threshold: _Optional[float] = ..., is_anomalous: _Optional[bool] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ...) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("request_id", "model", "observations")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: ModelRef
    observations: _containers.RepeatedCompositeFieldContainer[Observation]
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., observations: _Optional[_Iterable[_Union[Observation, _Mapping]]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("request_id", "embeddings", "space_id", "provenance")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    embeddings: Tensor
    space_id: str
    provenance: Provenance
    def __init__(self, request_id: _Optional[str] = ..., embeddings: _Optional[_Union[Tensor, _Mapping]] = ..., space_id: _Optional[str] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelInfo]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelInfo, _Mapping]]] = ...) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("name", "version", "recipe", "task", "ready", "camera", "height_px", "width_px", "action", "context_frames", "horizon", "presets", "surprise_threshold", "space_id", "weights_sha256", "manifest_sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FRAMES_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    PRESETS_FIELD_NUMBER: _ClassVar[int]
    SURPRISE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
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
    presets: _containers.RepeatedCompositeFieldContainer[PlannerConfig]
    surprise_threshold: float
    space_id: str
    weights_sha256: str
    manifest_sha256: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., recipe: _Optional[str] = ..., task: _Optional[str] = ..., ready: _Optional[bool] = ..., camera: _Optional[str] = ..., height_px: _Optional[int] = ..., width_px: _Optional[int] = ..., action: _Optional[_Union[ActionInfo, _Mapping]] = ..., context_frames: _Optional[int] = ..., horizon: _Optional[int] = ..., presets: _Optional[_Iterable[_Union[PlannerConfig, _Mapping]]] = ..., surprise_threshold: _Optional[float] = ..., space_id: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., manifest_sha256: _Optional[str] = ...) -> None: ...

class ActionInfo(_message.Message):
    __slots__ = ("names", "units", "low", "high", "dt_ms", "control_steps")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    DT_MS_FIELD_NUMBER: _ClassVar[int]
    CONTROL_STEPS_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    low: _containers.RepeatedScalarFieldContainer[float]
    high: _containers.RepeatedScalarFieldContainer[float]
    dt_ms: float
    control_steps: int
    def __init__(self, names: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., low: _Optional[_Iterable[float]] = ..., high: _Optional[_Iterable[float]] = ..., dt_ms: _Optional[float] = ..., control_steps: _Optional[int] = ...) -> None: ...
