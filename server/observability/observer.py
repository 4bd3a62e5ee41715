"""One request as it is seen from outside: counted, logged and traced when it ends, whichever way it ends.

Both transports open `Observer.request` around whatever they do with a request. What is only known further in (which
model, which problem, what took how long) is noted on the way, on the request that the current task works for.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeAlias

from server import schemas
from server.errors import Code
from server.observability.metrics import Metrics
from server.observability.trace_context import TraceContext, parse_traceparent
from server.observability.tracing import Tracing

log = logging.getLogger("telos.request")

OK = "ok"
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: in the log only when somebody debugs."""

Answer: TypeAlias = schemas.PlanResponse | schemas.AnomalyResponse | schemas.EncodeResponse


@dataclass(eq=False)
class Observed:
    """What is known of a request so far."""

    endpoint: str
    """The route's path or the method's name; for what has neither, `none`."""
    trace: TraceContext | None = None
    request_id: str = ""
    model: str = ""
    code: str = OK
    answer: Answer | None = None
    began: float = field(default_factory=time.monotonic)


_current: ContextVar[Observed | None] = ContextVar("telos_request", default=None)


def observed() -> Observed:
    """The request that this task works for; outside of one, something to write on that nobody reads."""
    return _current.get() or Observed("none")


class Observer:
    """Of one server."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self.metrics = metrics
        self._tracing = tracing

    @contextlib.contextmanager
    def request(self, endpoint: str, traceparent: str) -> Iterator[Observed]:
        """From the head of a request to the end of its answer."""
        seen = Observed(endpoint, parse_traceparent(traceparent))
        token = _current.set(seen)
        try:
            yield seen
        except Exception:
            seen.code = Code.INTERNAL
            raise
        except BaseException:
            seen.code = Code.CANCELLED
            raise
        finally:
            _current.reset(token)
            self._ended(seen, time.monotonic() - seen.began)

    def _ended(self, seen: Observed, seconds: float) -> None:
        self.metrics.answered(seen.endpoint, seen.model, seen.code, seconds)
        if isinstance(seen.answer, schemas.PlanResponse):
            self.metrics.planned(seen.model, seen.answer)
        trace_id = self._tracing.record(seen.endpoint, seen.trace, seconds, attributes(seen), stages(seen))
        log.log(_level(seen), "request", extra={"trace_id": trace_id, "duration_ms": _ms(seconds), **attributes(seen)})


def _level(seen: Observed) -> int:
    if seen.code == Code.INTERNAL:
        return logging.ERROR
    return logging.DEBUG if seen.endpoint in QUIET else logging.INFO


def attributes(seen: Observed) -> dict[str, str | int | float]:
    """What logs and traces say: names, codes and times, and nothing else that a client sent."""
    known: dict[str, str | int | float] = {"endpoint": seen.endpoint, "code": str(seen.code)}
    if seen.request_id:
        known["request_id"] = seen.request_id
    if seen.model:
        known["model"] = seen.model
    if isinstance(seen.answer, schemas.PlanResponse):
        known |= {"status": seen.answer.status, "iterations": seen.answer.iterations_completed}
        known |= {f"{name}_ms": _ms(seconds) for name, seconds in stages(seen).items()}
    return known


def stages(seen: Observed) -> dict[str, float]:
    """Seconds of each part of a plan, one after the other until it was answered."""
    if not isinstance(seen.answer, schemas.PlanResponse):
        return {}
    timing = seen.answer.timing
    parts = {"decode": timing.decode_us, "queue": timing.queue_us, "encode": timing.encode_us, "plan": timing.plan_us}
    return {name: microseconds / 1e6 for name, microseconds in parts.items()}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
