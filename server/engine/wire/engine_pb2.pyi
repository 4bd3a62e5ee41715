from telos.wire import telos_pb2 as _telos_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Command(_message.Message):
    __slots__ = ("call", "plan", "anomaly", "encode", "cancel", "load", "unload")
    CALL_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    ANOMALY_FIELD_NUMBER: _ClassVar[int]
    ENCODE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    UNLOAD_FIELD_NUMBER: _ClassVar[int]
    call: int
    plan: PlanCall
    anomaly: _telos_pb2.AnomalyRequest
    encode: _telos_pb2.EncodeRequest
    cancel: Cancel
    load: str
    unload: str
    def __init__(self, call: _Optional[int] = ..., plan: _Optional[_Union[PlanCall, _Mapping]] = ..., anomaly: _Optional[_Union[_telos_pb2.AnomalyRequest, _Mapping]] = ..., encode: _Optional[_Union[_telos_pb2.EncodeRequest, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., load: _Optional[str] = ..., unload: _Optional[str] = ...) -> None: ...

class PlanCall(_message.Message):
    __slots__ = ("request", "deadline_s", "warm_start", "incumbents")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    WARM_START_FIELD_NUMBER: _ClassVar[int]
    INCUMBENTS_FIELD_NUMBER: _ClassVar[int]
    request: _telos_pb2.PlanRequest
    deadline_s: float
    warm_start: WarmStart
    incumbents: bool
    def __init__(self, request: _Optional[_Union[_telos_pb2.PlanRequest, _Mapping]] = ..., deadline_s: _Optional[float] = ..., warm_start: _Optional[_Union[WarmStart, _Mapping]] = ..., incumbents: _Optional[bool] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WarmStart(_message.Message):
    __slots__ = ("variables", "first_step", "manifest_sha256", "search_space", "horizon")
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    SEARCH_SPACE_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    variables: _telos_pb2.Tensor
    first_step: int
    manifest_sha256: str
    search_space: str
    horizon: int
    def __init__(self, variables: _Optional[_Union[_telos_pb2.Tensor, _Mapping]] = ..., first_step: _Optional[int] = ..., manifest_sha256: _Optional[str] = ..., search_space: _Optional[str] = ..., horizon: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("call", "plan", "incumbent", "anomaly", "encode", "problem", "heartbeat", "state", "failure", "model")
    CALL_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    INCUMBENT_FIELD_NUMBER: _ClassVar[int]
    ANOMALY_FIELD_NUMBER: _ClassVar[int]
    ENCODE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    call: int
    plan: EngineReply
    incumbent: EngineReply
    anomaly: _telos_pb2.AnomalyResponse
    encode: _telos_pb2.EncodeResponse
    problem: Problem
    heartbeat: Heartbeat
    state: State
    failure: Failure
    model: _telos_pb2.ModelInfo
    def __init__(self, call: _Optional[int] = ..., plan: _Optional[_Union[EngineReply, _Mapping]] = ..., incumbent: _Optional[_Union[EngineReply, _Mapping]] = ..., anomaly: _Optional[_Union[_telos_pb2.AnomalyResponse, _Mapping]] = ..., encode: _Optional[_Union[_telos_pb2.EncodeResponse, _Mapping]] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., state: _Optional[_Union[State, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., model: _Optional[_Union[_telos_pb2.ModelInfo, _Mapping]] = ...) -> None: ...

class EngineReply(_message.Message):
    __slots__ = ("response", "warm_start")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    WARM_START_FIELD_NUMBER: _ClassVar[int]
    response: _telos_pb2.PlanResponse
    warm_start: WarmStart
    def __init__(self, response: _Optional[_Union[_telos_pb2.PlanResponse, _Mapping]] = ..., warm_start: _Optional[_Union[WarmStart, _Mapping]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("code", "detail", "errors", "retry_after_ms")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    errors: _containers.RepeatedCompositeFieldContainer[FieldError]
    retry_after_ms: int
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ..., errors: _Optional[_Iterable[_Union[FieldError, _Mapping]]] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class FieldError(_message.Message):
    __slots__ = ("pointer", "reason")
    POINTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    pointer: str
    reason: str
    def __init__(self, pointer: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("step_s", "calls", "waiting", "iterations")
    STEP_S_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    step_s: float
    calls: int
    waiting: int
    iterations: _containers.RepeatedCompositeFieldContainer[SharedIteration]
    def __init__(self, step_s: _Optional[float] = ..., calls: _Optional[int] = ..., waiting: _Optional[int] = ..., iterations: _Optional[_Iterable[_Union[SharedIteration, _Mapping]]] = ...) -> None: ...

class SharedIteration(_message.Message):
    __slots__ = ("model", "robots", "seconds")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROBOTS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    robots: int
    seconds: float
    def __init__(self, model: _Optional[str] = ..., robots: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("models", "not_ready")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NOT_READY_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[_telos_pb2.ModelInfo]
    not_ready: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, models: _Optional[_Iterable[_Union[_telos_pb2.ModelInfo, _Mapping]]] = ..., not_ready: _Optional[_Iterable[str]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("reason", "permanent")
    REASON_FIELD_NUMBER: _ClassVar[int]
    PERMANENT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    permanent: bool
    def __init__(self, reason: _Optional[str] = ..., permanent: _Optional[bool] = ...) -> None: ...
