"""Translates between the objects of front and engine and the messages that they exchange."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from google.protobuf.message import Message

from server import schemas
from server.engine.protocol import EngineReply, WarmStart
from server.engine.wire import engine_pb2 as pb
from server.errors import Code, ServiceError, internal
from server.validation import validate
from telos import FieldError
from telos.wire.messages import to_message, to_payload
from telos.wire.tensors import unpack

log = logging.getLogger("telos")

R = TypeVar("R", bound=schemas.Wire)


def from_warm_start(warm_start: WarmStart) -> pb.WarmStart:
    """Message of a warm start."""
    return to_message(pb.WarmStart, vars(warm_start))


def to_warm_start(message: pb.WarmStart) -> WarmStart:
    """Warm start of a message. Raises ValueError for a malformed tensor."""
    fields = to_payload(message)
    return WarmStart(variables=unpack(fields.pop("variables")), **fields)


def from_reply(reply: EngineReply) -> pb.EngineReply:
    """Message of a plan or an incumbent."""
    return to_message(pb.EngineReply, {"response": reply.response.model_dump(), "warm_start": vars(reply.warm_start)})


def to_reply(message: pb.EngineReply) -> EngineReply:
    """Plan or incumbent of a message. Raises ServiceError for a message that is not a finite plan."""
    reply = EngineReply(to_response(schemas.PlanResponse, message.response), to_warm_start(message.warm_start))
    if not np.isfinite(reply.warm_start.variables).all():
        raise _not_finite()
    return reply


def to_response(kind: type[R], message: Message) -> R:
    """Response of a message, checked as strictly as a client's request. Raises ServiceError."""
    try:
        return validate(kind, to_payload(message))
    except ServiceError as error:
        if error.code is Code.NON_FINITE_INPUT:
            raise _not_finite() from error
        log.error("the engine answered what is no %s: %s", kind.__name__, error.detail)
        raise internal() from error


def from_problem(error: ServiceError) -> pb.Problem:
    """Message of the error of a call."""
    errors = [dataclasses.asdict(field) for field in error.errors]
    fields = {"code": str(error.code), "detail": error.detail, "errors": errors, "retry_after_ms": error.retry_after_ms}
    return to_message(pb.Problem, fields)


def to_problem(message: pb.Problem) -> ServiceError:
    """Error that the engine raised."""
    errors = [FieldError(field.pointer, field.reason) for field in message.errors]
    retry_after_ms = message.retry_after_ms if message.HasField("retry_after_ms") else None
    return ServiceError(Code(message.code), message.detail, errors, retry_after_ms=retry_after_ms)


def from_state(models: Sequence[schemas.ModelInfo], not_ready: Sequence[str]) -> pb.State:
    """Message of an engine's models, and of the reasons why some are not ready."""
    return to_message(pb.State, {"models": [model.model_dump() for model in models], "not_ready": list(not_ready)})


def _not_finite() -> ServiceError:
    return ServiceError(Code.NON_FINITE_PLAN, "the plan holds a number that is not finite; no action is returned")
