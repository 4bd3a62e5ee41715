"""All errors that a server answers with, in one table for both transports."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import grpc

from telos import FieldError

DOMAIN = "telos.v1"
MAX_FIELD_ERRORS = 8
"""Most field errors of one answer: more would not fit into a gRPC trailer."""


class Code(StrEnum):
    MALFORMED_REQUEST = "malformed-request"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    VALIDATION_FAILED = "validation-failed"
    NON_FINITE_INPUT = "non-finite-input"
    IMAGE_REJECTED = "image-rejected"
    PAYLOAD_TOO_LARGE = "payload-too-large"
    HEADERS_TOO_LARGE = "headers-too-large"
    RECEIVE_TIMEOUT = "receive-timeout"
    UNAUTHENTICATED = "unauthenticated"
    CROSS_ORIGIN = "cross-origin"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    MODEL_NOT_FOUND = "model-not-found"
    SESSION_NOT_FOUND = "session-not-found"
    SESSION_EXISTS = "session-exists"
    MODEL_MISMATCH = "model-mismatch"
    MODEL_REFUSED = "model-refused"
    EPOCH_STALE = "epoch-stale"
    OBSERVATION_STALE = "observation-stale"
    SURPRISE_HOLD = "surprise-hold"
    SUPERSEDED = "superseded"
    IDEMPOTENCY_CONFLICT = "idempotency-conflict"
    QUEUE_FULL = "queue-full"
    RATE_LIMITED = "rate-limited"
    NOT_READY = "not-ready"
    WORKER_RESTARTING = "worker-restarting"
    DEADLINE_INFEASIBLE = "deadline-infeasible"
    CANCELLED = "cancelled"
    SLOW_READER = "slow-reader"
    NON_FINITE_PLAN = "non-finite-plan"
    ACTION_LIMIT_VIOLATION = "action-limit-violation"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Kind:
    """Title and status of a code on each transport. `retryable`: the same request can succeed later."""

    title: str
    http_status: int
    grpc_code: grpc.StatusCode
    retryable: bool = False


_G = grpc.StatusCode

KINDS: dict[Code, Kind] = {
    Code.MALFORMED_REQUEST: Kind("The request cannot be read", 400, _G.INVALID_ARGUMENT),
    Code.UNSUPPORTED_MEDIA_TYPE: Kind("The content type is not supported", 415, _G.INVALID_ARGUMENT),
    Code.VALIDATION_FAILED: Kind("A field is not valid", 422, _G.INVALID_ARGUMENT),
    Code.NON_FINITE_INPUT: Kind("A number is not finite", 422, _G.INVALID_ARGUMENT),
    Code.IMAGE_REJECTED: Kind("An image cannot be used", 422, _G.INVALID_ARGUMENT),
    Code.PAYLOAD_TOO_LARGE: Kind("The request is too large", 413, _G.RESOURCE_EXHAUSTED),
    Code.HEADERS_TOO_LARGE: Kind("The header is too large", 431, _G.RESOURCE_EXHAUSTED),
    Code.RECEIVE_TIMEOUT: Kind("The request came too slowly", 408, _G.DEADLINE_EXCEEDED),
    Code.UNAUTHENTICATED: Kind("A token is needed", 401, _G.UNAUTHENTICATED),
    Code.CROSS_ORIGIN: Kind("Web pages are not answered", 403, _G.PERMISSION_DENIED),
    Code.NOT_FOUND: Kind("The path does not exist", 404, _G.UNIMPLEMENTED),
    Code.METHOD_NOT_ALLOWED: Kind("The method is not allowed", 405, _G.UNIMPLEMENTED),
    Code.MODEL_NOT_FOUND: Kind("The model is not served here", 404, _G.NOT_FOUND),
    Code.SESSION_NOT_FOUND: Kind("The session is not known", 404, _G.NOT_FOUND),
    Code.MODEL_REFUSED: Kind("The model cannot be served", 409, _G.FAILED_PRECONDITION),
    Code.MODEL_MISMATCH: Kind("The model is not the expected one", 412, _G.FAILED_PRECONDITION),
    Code.SESSION_EXISTS: Kind("The session exists already", 409, _G.ALREADY_EXISTS),
    Code.EPOCH_STALE: Kind("The session was reset in the meantime", 409, _G.ABORTED),
    Code.OBSERVATION_STALE: Kind("The observation is too old", 422, _G.FAILED_PRECONDITION),
    Code.SURPRISE_HOLD: Kind("The world does not behave as learned: hold", 409, _G.FAILED_PRECONDITION),
    Code.SUPERSEDED: Kind("A newer request replaced this one", 409, _G.ABORTED),
    Code.IDEMPOTENCY_CONFLICT: Kind("The key was used for another request", 422, _G.INVALID_ARGUMENT),
    Code.QUEUE_FULL: Kind("The server is busy", 429, _G.RESOURCE_EXHAUSTED, retryable=True),
    Code.RATE_LIMITED: Kind("This client sends too much at one time", 429, _G.RESOURCE_EXHAUSTED, retryable=True),
    Code.NOT_READY: Kind("The server is not ready", 503, _G.UNAVAILABLE, retryable=True),
    Code.WORKER_RESTARTING: Kind("The planning engine is being started again", 503, _G.UNAVAILABLE, retryable=True),
    Code.DEADLINE_INFEASIBLE: Kind("The deadline cannot be met", 504, _G.DEADLINE_EXCEEDED),
    Code.CANCELLED: Kind("The client went away", 499, _G.CANCELLED),
    Code.SLOW_READER: Kind("The client does not read its answers", 408, _G.RESOURCE_EXHAUSTED),
    Code.NON_FINITE_PLAN: Kind("The plan is not finite", 500, _G.INTERNAL),
    Code.ACTION_LIMIT_VIOLATION: Kind("The plan leaves the action limits", 500, _G.INTERNAL),
    Code.INTERNAL: Kind("The server failed", 500, _G.INTERNAL),
}


class ServiceError(Exception):
    """An error that the transports send to the client. Its texts must contain no path and no traceback."""

    def __init__(
        self, code: Code, detail: str, errors: Sequence[FieldError] = (), *, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)[:MAX_FIELD_ERRORS]
        self.retry_after_ms = retry_after_ms

    @property
    def kind(self) -> Kind:
        return KINDS[self.code]

    def problem(self, request_id: str) -> dict[str, Any]:
        """The body of `application/problem+json` (RFC 9457)."""
        return {
            "type": f"urn:telos:{self.code}",
            "title": self.kind.title,
            "status": self.kind.http_status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            "retryable": self.kind.retryable,
            **({} if self.retry_after_ms is None else {"retry_after_ms": self.retry_after_ms}),
            "errors": [{"pointer": e.pointer, "reason": e.reason} for e in self.errors],
        }


def refuse(code: Code, pointer: str, reason: str) -> ServiceError:
    """The error for one field."""
    return ServiceError(code, f"{pointer or '/'}: {reason}", [FieldError(pointer, reason)])


def internal() -> ServiceError:
    """The error for a defect of the server; the log has the details."""
    return ServiceError(Code.INTERNAL, "the server failed on this request; its log says why under this request_id")
