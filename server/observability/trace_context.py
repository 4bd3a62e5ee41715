"""W3C Trace Context: which trace a request belongs to, as its `traceparent` header says.

https://www.w3.org/TR/trace-context/. A header that is not valid is ignored, as the recommendation wants: the request
starts a trace of its own.
"""

import re
from dataclasses import dataclass

_VALID = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)


@dataclass(frozen=True)
class TraceContext:
    """The caller's place in its trace."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    sampled: bool


def parse_traceparent(header: str) -> TraceContext | None:
    """None when the header is missing or not valid. Versions to come may add fields at the end; version 00 may not."""
    found = _VALID.fullmatch(header)
    if found is None or (found[1] == "00" and found[5]):
        return None
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & 1))
