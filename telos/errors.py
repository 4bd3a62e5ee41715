"""The one exception of the client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """One field of a request that was refused."""

    pointer: str
    """JSON pointer into the request, such as `/context/0/images`."""
    reason: str


class TelosError(Exception):
    """The server refused, did not answer, or answered something that must not be executed.

    Programs decide on `code`, one word of the server (`queue-full`, `validation-failed`, ...) or of the client
    (`unreachable`, `timeout`, `unreadable-reply`, `stale-reply`, `late-plan`, `plan-expired`, `unusable-plan`,
    `no-actions`). `status` is the HTTP status or the name of the gRPC code, empty when there was no answer. Wait
    `retry_after_s` before you ask again.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | str = "",
        retryable: bool = False,
        request_id: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after_s: float = 0.0,
    ) -> None:
        fields = "".join(f"\n  {error.pointer}: {error.reason}" for error in errors[1:])  # `detail` has the first one
        super().__init__(f"{code}: {detail}{fields}")
        self.code = code
        self.detail = detail
        self.status = status
        self.retryable = retryable
        self.request_id = request_id
        self.errors = errors
        self.retry_after_s = retry_after_s

    @classmethod
    def from_problem(cls, problem: Mapping[str, Any], status: int) -> "TelosError":
        """Error from the body of an `application/problem+json` answer (RFC 9457)."""
        return cls(
            str(problem.get("code", "unknown")),
            str(problem.get("detail", "the server gave no reason")),
            status=status,
            retryable=problem.get("retryable") is True,
            request_id=str(problem.get("request_id", "")),
            errors=tuple(FieldError(str(e.get("pointer")), str(e.get("reason"))) for e in problem.get("errors", [])),
            retry_after_s=float(problem.get("retry_after_ms", 0)) / 1e3,
        )
