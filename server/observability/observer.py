"""Counts, logs and traces every request when it ends, by whichever way.

Both transports open `Observer.request` around their work on a request. Inner code adds the facts that only it knows
(the model, the problem, the times) to the request of the current task.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from server import schemas
from server.errors import Code
from server.observability.metrics import Metrics, Present
from server.observability.trace_context import TraceContext, parse_traceparent
from server.observability.tracing import NoTracing, OpenTelemetry, Tracing

log = logging.getLogger("telos.request")

OK = "ok"
NO_ENDPOINT = "none"
QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""Endpoints that machines poll every few seconds, so they are logged at debug level only."""


@dataclass(eq=False)
class ObservedRequest:
    """Facts that are known about a request so far."""

    endpoint: str
    """The route's path or the method's full name."""
    trace: TraceContext | None = None
    request_id: str = ""
    model: str = ""
    code: str = OK
    plan: schemas.PlanResponse | None = None
    """The last plan that was made for it."""
    began: float = field(default_factory=time.monotonic)


_current: ContextVar[ObservedRequest | None] = ContextVar("telos_request", default=None)


def observed() -> ObservedRequest:
    """The request that this task works for; outside a request, a new object that is never read."""
    return _current.get() or ObservedRequest(NO_ENDPOINT)


def observer_for(present: Callable[[], Present], *, tracing: bool) -> "Observer":
    """The observer of a server whose state `present` gives. Raises SettingsError when tracing is not installed."""
    return Observer(Metrics(present), OpenTelemetry() if tracing else NoTracing())


def note_problem(code: Code, request_id: str) -> None:
    """Note that the current request is answered with a problem."""
    seen = observed()
    seen.code, seen.request_id = code, request_id


class Observer:
    """Observes the requests of one server."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self.metrics = metrics
        self._tracing = tracing

    @contextlib.contextmanager
    def request(self, endpoint: str, traceparent: str) -> Iterator[ObservedRequest]:
        """Observe one request, from its head to the end of its answer."""
        seen = ObservedRequest(endpoint, parse_traceparent(traceparent))
        token = _current.set(seen)
        try:
            yield seen
        except Exception:
            seen.code = Code.INTERNAL if seen.code == OK else seen.code
            raise
        except BaseException:
            seen.code = Code.CANCELLED
            raise
        finally:
            _current.reset(token)
            self._ended(seen, time.monotonic() - seen.began)

    def planned(self, response: schemas.PlanResponse) -> None:
        """Note a plan of the current request that is about to leave."""
        observed().plan = response
        self.metrics.planned(response.provenance.model_name, response)

    def close(self) -> None:
        """Send the spans that are still waiting."""
        self._tracing.close()

    def _ended(self, seen: ObservedRequest, seconds: float) -> None:
        self.metrics.answered(seen.endpoint, seen.model, seen.code, seconds)
        trace_id = self._tracing.record(seen.endpoint, seen.trace, seconds, attributes(seen), stages(seen))
        log.log(_level(seen), "request", extra={"trace_id": trace_id, "duration_ms": _ms(seconds), **attributes(seen)})


def _level(seen: ObservedRequest) -> int:
    if seen.code == Code.INTERNAL:
        return logging.ERROR
    return logging.DEBUG if seen.endpoint in QUIET else logging.INFO


def attributes(seen: ObservedRequest) -> dict[str, str | int | float]:
    """Fields of logs and traces: names, codes and times, and no other content of the request."""
    known: dict[str, str | int | float] = {"endpoint": seen.endpoint, "code": str(seen.code)}
    if seen.request_id:
        known["request_id"] = seen.request_id
    if seen.model:
        known["model"] = seen.model
    if seen.plan is not None:
        known |= {"status": seen.plan.status, "iterations": seen.plan.iterations_completed}
        known |= {f"{name}_ms": _ms(seconds) for name, seconds in stages(seen).items()}
    return known


def stages(seen: ObservedRequest) -> dict[str, float]:
    """Seconds of each part of a plan, one after the other until it was answered."""
    if seen.plan is None:
        return {}
    timing = seen.plan.timing
    parts = {"decode": timing.decode_us, "queue": timing.queue_us, "encode": timing.encode_us, "plan": timing.plan_us}
    return {name: microseconds / 1e6 for name, microseconds in parts.items()}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
