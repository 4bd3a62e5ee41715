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
    __slots__ = ("images", "arrays", "capture_time_us", "step", "capture_times_us")
    class ImagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Image
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Image, _Mapping]] = ...) -> None: ...
    class ArraysEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...
    class CaptureTimesUsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIMES_US_FIELD_NUMBER: _ClassVar[int]
    images: _containers.MessageMap[str, Image]
    arrays: _containers.MessageMap[str, Tensor]
    capture_time_us: int
    step: int
    capture_times_us: _containers.ScalarMap[str, int]
    def __init__(self, images: _Optional[_Mapping[str, Image]] = ..., arrays: _Optional[_Mapping[str, Tensor]] = ..., capture_time_us: _Optional[int] = ..., step: _Optional[int] = ..., capture_times_us: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("space_id", "latents")
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    space_id: str
    latents: Tensor
    def __init__(self, space_id: _Optional[str] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class Goal(_message.Message):
    __slots__ = ("observation", "embedding", "weight", "tolerance")
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    observation: Observation
    embedding: Embedding
    weight: float
    tolerance: float
    def __init__(self, observation: _Optional[_Union[Observation, _Mapping]] = ..., embedding: _Optional[_Union[Embedding, _Mapping]] = ..., weight: _Optional[float] = ..., tolerance: _Optional[float] = ...) -> None: ...

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
    __slots__ = ("preset", "algorithm", "horizon", "num_samples", "num_elites", "max_iterations", "min_iterations", "init_std", "seed", "search_space")
    PRESET_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NUM_ELITES_FIELD_NUMBER: _ClassVar[int]
    MAX_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    MIN_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    INIT_STD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SEARCH_SPACE_FIELD_NUMBER: _ClassVar[int]
    preset: str
    algorithm: str
    horizon: int
    num_samples: int
    num_elites: int
    max_iterations: int
    min_iterations: int
    init_std: float
    seed: int
    search_space: str
    def __init__(self, preset: _Optional[str] = ..., algorithm: _Optional[str] = ..., horizon: _Optional[int] = ..., num_samples: _Optional[int] = ..., num_elites: _Optional[int] = ..., max_iterations: _Optional[int] = ..., min_iterations: _Optional[int] = ..., init_std: _Optional[float] = ..., seed: _Optional[int] = ..., search_space: _Optional[str] = ...) -> None: ...

class ActionLimits(_message.Message):
    __slots__ = ("min", "max", "max_delta", "max_start_jump")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MAX_DELTA_FIELD_NUMBER: _ClassVar[int]
    MAX_START_JUMP_FIELD_NUMBER: _ClassVar[int]
    min: _containers.RepeatedScalarFieldContainer[float]
    max: _containers.RepeatedScalarFieldContainer[float]
    max_delta: _containers.RepeatedScalarFieldContainer[float]
    max_start_jump: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, min: _Optional[_Iterable[float]] = ..., max: _Optional[_Iterable[float]] = ..., max_delta: _Optional[_Iterable[float]] = ..., max_start_jump: _Optional[_Iterable[float]] = ...) -> None: ...

class Cost(_message.Message):
    __slots__ = ("distance", "over", "smoothness", "effort", "keep_out")
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    SMOOTHNESS_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    KEEP_OUT_FIELD_NUMBER: _ClassVar[int]
    distance: str
    over: str
    smoothness: float
    effort: float
    keep_out: _containers.RepeatedCompositeFieldContainer[KeepOut]
    def __init__(self, distance: _Optional[str] = ..., over: _Optional[str] = ..., smoothness: _Optional[float] = ..., effort: _Optional[float] = ..., keep_out: _Optional[_Iterable[_Union[KeepOut, _Mapping]]] = ...) -> None: ...

class KeepOut(_message.Message):
    __slots__ = ("embeddings", "radius", "weight")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    radius: float
    weight: float
    def __init__(self, embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., radius: _Optional[float] = ..., weight: _Optional[float] = ...) -> None: ...

class ClockOffset(_message.Message):
    __slots__ = ("clock_id", "offset_us")
    CLOCK_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_US_FIELD_NUMBER: _ClassVar[int]
    clock_id: str
    offset_us: int
    def __init__(self, clock_id: _Optional[str] = ..., offset_us: _Optional[int] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("request_id", "model", "session_id", "session_epoch", "context", "action_history", "goals", "planner", "planning_budget_ms", "require_complete", "inference_delay_steps", "committed_actions", "warm_start", "max_observation_age_ms", "limits", "include", "cost", "hold_on_surprise", "active_goal", "clock_offset")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ACTION_HISTORY_FIELD_NUMBER: _ClassVar[int]
    GOALS_FIELD_NUMBER: _ClassVar[int]
    PLANNER_FIELD_NUMBER: _ClassVar[int]
    PLANNING_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_DELAY_STEPS_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    WARM_START_FIELD_NUMBER: _ClassVar[int]
    MAX_OBSERVATION_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    HOLD_ON_SURPRISE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_GOAL_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: ModelRef
    session_id: str
    session_epoch: int
    context: _containers.RepeatedCompositeFieldContainer[Observation]
    action_history: _containers.RepeatedCompositeFieldContainer[Tensor]
    goals: _containers.RepeatedCompositeFieldContainer[Goal]
    planner: PlannerConfig
    planning_budget_ms: int
    require_complete: bool
    inference_delay_steps: int
    committed_actions: Tensor
    warm_start: bool
    max_observation_age_ms: int
    limits: ActionLimits
    include: _containers.RepeatedScalarFieldContainer[str]
    cost: Cost
    hold_on_surprise: bool
    active_goal: int
    clock_offset: ClockOffset
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., session_id: _Optional[str] = ..., session_epoch: _Optional[int] = ..., context: _Optional[_Iterable[_Union[Observation, _Mapping]]] = ..., action_history: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., goals: _Optional[_Iterable[_Union[Goal, _Mapping]]] = ..., planner: _Optional[_Union[PlannerConfig, _Mapping]] = ..., planning_budget_ms: _Optional[int] = ..., require_complete: _Optional[bool] = ..., inference_delay_steps: _Optional[int] = ..., committed_actions: _Optional[_Union[Tensor, _Mapping]] = ..., warm_start: _Optional[bool] = ..., max_observation_age_ms: _Optional[int] = ..., limits: _Optional[_Union[ActionLimits, _Mapping]] = ..., include: _Optional[_Iterable[str]] = ..., cost: _Optional[_Union[Cost, _Mapping]] = ..., hold_on_surprise: _Optional[bool] = ..., active_goal: _Optional[int] = ..., clock_offset: _Optional[_Union[ClockOffset, _Mapping]] = ...) -> None: ...

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
    __slots__ = ("saturated_fraction", "max_step_delta", "start_jump", "within_limits")
    SATURATED_FRACTION_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_DELTA_FIELD_NUMBER: _ClassVar[int]
    START_JUMP_FIELD_NUMBER: _ClassVar[int]
    WITHIN_LIMITS_FIELD_NUMBER: _ClassVar[int]
    saturated_fraction: float
    max_step_delta: _containers.RepeatedScalarFieldContainer[float]
    start_jump: _containers.RepeatedScalarFieldContainer[float]
    within_limits: bool
    def __init__(self, saturated_fraction: _Optional[float] = ..., max_step_delta: _Optional[_Iterable[float]] = ..., start_jump: _Optional[_Iterable[float]] = ..., within_limits: _Optional[bool] = ...) -> None: ...

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
    __slots__ = ("request_id", "session_id", "session_epoch", "chunk", "status", "predicted_cost", "goal_distance", "active_goal", "goal_reached", "iterations_completed", "timing", "safety", "provenance", "surprise", "planned_goal_distance", "warm_started", "costs", "latents", "goal_distances", "capture_time_us", "novelty", "goal_novelty", "warnings")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[PlanResponse.Status]
        CONVERGED: _ClassVar[PlanResponse.Status]
        MAX_ITERATIONS: _ClassVar[PlanResponse.Status]
        BUDGET_EXHAUSTED: _ClassVar[PlanResponse.Status]
        FALLBACK_PREVIOUS: _ClassVar[PlanResponse.Status]
        POLICY: _ClassVar[PlanResponse.Status]
    STATUS_UNSPECIFIED: PlanResponse.Status
    CONVERGED: PlanResponse.Status
    MAX_ITERATIONS: PlanResponse.Status
    BUDGET_EXHAUSTED: PlanResponse.Status
    FALLBACK_PREVIOUS: PlanResponse.Status
    POLICY: PlanResponse.Status
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_COST_FIELD_NUMBER: _ClassVar[int]
    GOAL_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_GOAL_FIELD_NUMBER: _ClassVar[int]
    GOAL_REACHED_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    SAFETY_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    SURPRISE_FIELD_NUMBER: _ClassVar[int]
    PLANNED_GOAL_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    WARM_STARTED_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    GOAL_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    NOVELTY_FIELD_NUMBER: _ClassVar[int]
    GOAL_NOVELTY_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    session_id: str
    session_epoch: int
    chunk: ActionChunk
    status: PlanResponse.Status
    predicted_cost: float
    goal_distance: float
    active_goal: int
    goal_reached: bool
    iterations_completed: int
    timing: Timing
    safety: SafetyReport
    provenance: Provenance
    surprise: float
    planned_goal_distance: float
    warm_started: bool
    costs: _containers.RepeatedScalarFieldContainer[float]
    latents: Tensor
    goal_distances: _containers.RepeatedScalarFieldContainer[float]
    capture_time_us: int
    novelty: float
    goal_novelty: float
    warnings: _containers.RepeatedCompositeFieldContainer[InputWarning]
    def __init__(self, request_id: _Optional[str] = ..., session_id: _Optional[str] = ..., session_epoch: _Optional[int] = ..., chunk: _Optional[_Union[ActionChunk, _Mapping]] = ..., status: _Optional[_Union[PlanResponse.Status, str]] = ..., predicted_cost: _Optional[float] = ..., goal_distance: _Optional[float] = ..., active_goal: _Optional[int] = ..., goal_reached: _Optional[bool] = ..., iterations_completed: _Optional[int] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., safety: _Optional[_Union[SafetyReport, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., surprise: _Optional[float] = ..., planned_goal_distance: _Optional[float] = ..., warm_started: _Optional[bool] = ..., costs: _Optional[_Iterable[float]] = ..., latents: _Optional[_Union[Tensor, _Mapping]] = ..., goal_distances: _Optional[_Iterable[float]] = ..., capture_time_us: _Optional[int] = ..., novelty: _Optional[float] = ..., goal_novelty: _Optional[float] = ..., warnings: _Optional[_Iterable[_Union[InputWarning, _Mapping]]] = ...) -> None: ...

class InputWarning(_message.Message):
    __slots__ = ("code", "pointer", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    POINTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: str
    pointer: str
    reason: str
    def __init__(self, code: _Optional[str] = ..., pointer: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("name", "version", "recipe", "task", "ready", "sensors", "latent_shape", "action", "context_frames", "horizon", "presets", "surprise_threshold", "space_id", "weights_sha256", "manifest_sha256", "device", "dtype", "novelty_false_alarm_rate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    SENSORS_FIELD_NUMBER: _ClassVar[int]
    LATENT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FRAMES_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    PRESETS_FIELD_NUMBER: _ClassVar[int]
    SURPRISE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    NOVELTY_FALSE_ALARM_RATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    recipe: str
    task: str
    ready: bool
    sensors: _containers.RepeatedCompositeFieldContainer[SensorInfo]
    latent_shape: _containers.RepeatedScalarFieldContainer[int]
    action: ActionInfo
    context_frames: int
    horizon: int
    presets: _containers.RepeatedCompositeFieldContainer[PlannerConfig]
    surprise_threshold: float
    space_id: str
    weights_sha256: str
    manifest_sha256: str
    device: str
    dtype: str
    novelty_false_alarm_rate: float
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., recipe: _Optional[str] = ..., task: _Optional[str] = ..., ready: _Optional[bool] = ..., sensors: _Optional[_Iterable[_Union[SensorInfo, _Mapping]]] = ..., latent_shape: _Optional[_Iterable[int]] = ..., action: _Optional[_Union[ActionInfo, _Mapping]] = ..., context_frames: _Optional[int] = ..., horizon: _Optional[int] = ..., presets: _Optional[_Iterable[_Union[PlannerConfig, _Mapping]]] = ..., surprise_threshold: _Optional[float] = ..., space_id: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., manifest_sha256: _Optional[str] = ..., device: _Optional[str] = ..., dtype: _Optional[str] = ..., novelty_false_alarm_rate: _Optional[float] = ...) -> None: ...

class SensorInfo(_message.Message):
    __slots__ = ("name", "kind", "shape", "names", "units", "low", "high", "aspect_ratio")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    ASPECT_RATIO_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    low: _containers.RepeatedScalarFieldContainer[float]
    high: _containers.RepeatedScalarFieldContainer[float]
    aspect_ratio: float
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., names: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., low: _Optional[_Iterable[float]] = ..., high: _Optional[_Iterable[float]] = ..., aspect_ratio: _Optional[float] = ...) -> None: ...

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

class CreateSessionRequest(_message.Message):
    __slots__ = ("session_id", "hold_on_surprise")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    HOLD_ON_SURPRISE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    hold_on_surprise: bool
    def __init__(self, session_id: _Optional[str] = ..., hold_on_surprise: _Optional[bool] = ...) -> None: ...

class SessionRef(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("session_id", "epoch", "committed_step", "expires_in_ms", "hold_on_surprise", "active_goal")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_STEP_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_MS_FIELD_NUMBER: _ClassVar[int]
    HOLD_ON_SURPRISE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_GOAL_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    epoch: int
    committed_step: int
    expires_in_ms: int
    hold_on_surprise: bool
    active_goal: int
    def __init__(self, session_id: _Optional[str] = ..., epoch: _Optional[int] = ..., committed_step: _Optional[int] = ..., expires_in_ms: _Optional[int] = ..., hold_on_surprise: _Optional[bool] = ..., active_goal: _Optional[int] = ...) -> None: ...

class DeleteSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerTimeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerTime(_message.Message):
    __slots__ = ("clock_id", "received_us", "sent_us")
    CLOCK_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_US_FIELD_NUMBER: _ClassVar[int]
    SENT_US_FIELD_NUMBER: _ClassVar[int]
    clock_id: str
    received_us: int
    sent_us: int
    def __init__(self, clock_id: _Optional[str] = ..., received_us: _Optional[int] = ..., sent_us: _Optional[int] = ...) -> None: ...

class PlanStreamRequest(_message.Message):
    __slots__ = ("open", "observation", "goals", "progress", "cancel_request_id", "seq")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    GOALS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    open: PlanRequest
    observation: StreamObservation
    goals: GoalUpdate
    progress: Progress
    cancel_request_id: str
    seq: int
    def __init__(self, open: _Optional[_Union[PlanRequest, _Mapping]] = ..., observation: _Optional[_Union[StreamObservation, _Mapping]] = ..., goals: _Optional[_Union[GoalUpdate, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., cancel_request_id: _Optional[str] = ..., seq: _Optional[int] = ...) -> None: ...

class StreamObservation(_message.Message):
    __slots__ = ("observation", "executed", "request_id", "committed_actions")
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    observation: Observation
    executed: Tensor
    request_id: str
    committed_actions: Tensor
    def __init__(self, observation: _Optional[_Union[Observation, _Mapping]] = ..., executed: _Optional[_Union[Tensor, _Mapping]] = ..., request_id: _Optional[str] = ..., committed_actions: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class GoalUpdate(_message.Message):
    __slots__ = ("goals", "request_id")
    GOALS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    goals: _containers.RepeatedCompositeFieldContainer[Goal]
    request_id: str
    def __init__(self, goals: _Optional[_Iterable[_Union[Goal, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("executed_step",)
    EXECUTED_STEP_FIELD_NUMBER: _ClassVar[int]
    executed_step: int
    def __init__(self, executed_step: _Optional[int] = ...) -> None: ...

class PlanStreamResponse(_message.Message):
    __slots__ = ("incumbent", "final", "superseded", "problem", "drain", "seq")
    INCUMBENT_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    incumbent: PlanResponse
    final: PlanResponse
    superseded: Superseded
    problem: Problem
    drain: Drain
    seq: int
    def __init__(self, incumbent: _Optional[_Union[PlanResponse, _Mapping]] = ..., final: _Optional[_Union[PlanResponse, _Mapping]] = ..., superseded: _Optional[_Union[Superseded, _Mapping]] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., seq: _Optional[int] = ...) -> None: ...

class Superseded(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ("grace_ms",)
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    grace_ms: int
    def __init__(self, grace_ms: _Optional[int] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("type", "title", "status", "detail", "code", "request_id", "retryable", "retry_after_ms", "errors")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    retryable: bool
    retry_after_ms: int
    errors: _containers.RepeatedCompositeFieldContainer[FieldProblem]
    def __init__(self, type: _Optional[str] = ..., title: _Optional[str] = ..., status: _Optional[int] = ..., detail: _Optional[str] = ..., code: _Optional[str] = ..., request_id: _Optional[str] = ..., retryable: _Optional[bool] = ..., retry_after_ms: _Optional[int] = ..., errors: _Optional[_Iterable[_Union[FieldProblem, _Mapping]]] = ...) -> None: ...

class FieldProblem(_message.Message):
    __slots__ = ("pointer", "reason")
    POINTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    pointer: str
    reason: str
    def __init__(self, pointer: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
