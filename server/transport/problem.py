"""Refusals as HTTP answers."""

from starlette.responses import JSONResponse

from server.errors import Code, ServiceError
from server.observability.observer import note_problem


def problem_response(error: ServiceError, request_id: str) -> JSONResponse:
    """Response of type `application/problem+json`."""
    note_problem(error.code, request_id)
    headers = {}
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    if error.code is Code.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.problem(request_id), error.kind.http_status, headers, "application/problem+json")
