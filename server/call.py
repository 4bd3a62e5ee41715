"""The deadline and the idempotency key of a call, which a transport carries beside the message."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from server.errors import Code, refuse

MAX_KEY = 256
LONGEST_MS = 24 * 3600 * 1000


@dataclass(frozen=True, kw_only=True)
class Call:
    deadline: float = math.inf
    """Latest time for the answer to leave, on the monotonic clock in seconds, by gRPC or `Request-Timeout-Ms`."""
    idempotency_key: str | None = None


UNBOUND = Call()
"""The terms of a call without a deadline and without retries."""


def of_headers(headers: Mapping[str, str]) -> Call:
    """The terms of an HTTP request. Raises ServiceError (validation-failed)."""
    deadline, given = math.inf, headers.get("request-timeout-ms")
    if given is not None:
        if not (given.isascii() and given.isdigit() and len(given) <= 9 and 1 <= int(given) <= LONGEST_MS):
            reason = f"wanted whole milliseconds, 1 to {LONGEST_MS}"
            raise refuse(Code.VALIDATION_FAILED, "", f"the header Request-Timeout-Ms is not valid: {reason}")
        deadline = time.monotonic() + int(given) / 1e3
    key = headers.get("idempotency-key")
    return Call(deadline=deadline, idempotency_key=None if key is None else idempotency_key(key))


def idempotency_key(given: str) -> str:
    """The key, checked. Raises ServiceError (validation-failed)."""
    if not (1 <= len(given) <= MAX_KEY and given.isascii() and given.isprintable()):
        reason = f"the idempotency key is not valid: wanted 1 to {MAX_KEY} printable ASCII characters"
        raise refuse(Code.VALIDATION_FAILED, "", reason)
    return given
