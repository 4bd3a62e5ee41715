"""W3C Trace Context: the trace of a request, from its `traceparent` header.

https://www.w3.org/TR/trace-context/. As the recommendation demands, a header that is not valid is ignored, and the
request starts its own trace.
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
    """The caller's context; None if the header is missing or not valid. Versions after 00 may add fields at the end."""
    found = _VALID.fullmatch(header)
    if found is None or (found[1] == "00" and found[5]):
        return None
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & 1))
