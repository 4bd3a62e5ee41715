"""Metrics for Prometheus: counts and times, by labels that no client can multiply.

A label is the route or method that answered, a problem code, a plan's status, or the name of a model that is served;
never text out of a request.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server import schemas
from server.errors import Code
from telos import __version__

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)
_SURPRISE = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 100.0)
_REFUSALS = frozenset(
    {
        Code.QUEUE_FULL,
        Code.RATE_LIMITED,
        Code.NOT_READY,
        Code.DEADLINE_INFEASIBLE,
        Code.UNAUTHENTICATED,
        Code.PAYLOAD_TOO_LARGE,
        Code.HEADERS_TOO_LARGE,
        Code.RECEIVE_TIMEOUT,
    }
)
"""Refusals before any work, for a reason outside the request's message."""


@dataclass(frozen=True)
class Present:
    """The state of a server at one moment."""

    in_flight: int = 0
    queue_depth: int = 0
    sessions: int = 0
    ready: bool = False
    restarts: int = 0
    models: tuple[schemas.ModelInfo, ...] = ()


class Metrics:
    """The metrics of one server, in a registry of their own; use them from the event loop."""

    def __init__(self, present: Callable[[], Present] = Present) -> None:
        """`present` is called whenever the metrics are read."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Presence(present))
        self._make_requests()
        self._make_plans()
        self._make_engine()
        self._make_recording()

    def text(self) -> bytes:
        """The exposition format that Prometheus scrapes."""
        return generate_latest(self.registry)

    def answered(self, endpoint: str, model: str, code: str, seconds: float) -> None:
        """Count an answered request. `model` is empty where none was found; `code` is ok or a problem's."""
        self.request_seconds.labels(endpoint, model, code).observe(seconds)
        if code in _REFUSALS:
            self.rejected.labels(code).inc()
        if code == Code.SUPERSEDED:
            self.superseded.inc()
        if code == Code.NON_FINITE_PLAN:
            self.non_finite.labels("plan").inc()
        elif code == Code.NON_FINITE_INPUT:
            self.non_finite.labels("input").inc()

    def refused(self, code: Code) -> None:
        """Count input that never became a request: not HTTP, too slow, too large, or one connection too many."""
        self.rejected.labels(code).inc()

    def planned(self, model: str, response: schemas.PlanResponse) -> None:
        """Count a plan that is about to leave."""
        timing = response.timing
        self.queue_seconds.labels(model).observe(timing.queue_us / 1e6)
        self.encode_seconds.labels(model).observe(timing.encode_us / 1e6)
        self.plan_seconds.labels(model).observe(timing.plan_us / 1e6)
        self.iterations.labels(model).observe(response.iterations_completed)
        self.plan_status.labels(model, response.status).inc()
        if timing.late_us:
            self.deadline_misses.labels(model).inc()
        if response.safety.saturated_fraction:
            self.saturated.labels(model).inc()
        if response.surprise is not None:
            self.surprise.labels(model).observe(response.surprise)

    def stepped(self, model: str, robots: int, seconds: float) -> None:
        """Count one iteration on the torch thread, shared by `robots`."""
        self.batch_size.labels(model).observe(robots)
        self.iteration_seconds.labels(model).observe(seconds)

    def _make_requests(self) -> None:
        self.request_seconds = self._histogram(
            "request_duration_seconds", "From a request's head to its answer.", ("endpoint", "model", "code"), _SECONDS
        )
        self.rejected = self._counter("rejected", "Requests refused before any work.", ("reason",))
        self.superseded = self._counter("superseded", "Plans replaced by a newer request of their session.")
        self.non_finite = self._counter(
            "nonfinite", "Requests and plans refused for a number that is not finite.", ("where",)
        )
        self.loop_lag = self._histogram("event_loop_lag_seconds", "How late the event loop wakes up.", (), _SECONDS)

    def _make_plans(self) -> None:
        of_model = ("model",)
        self.queue_seconds = self._histogram(
            "queue_wait_seconds", "Wait until the torch thread begins.", of_model, _SECONDS
        )
        self.encode_seconds = self._histogram("encode_seconds", "Encoding the frames of a plan.", of_model, _SECONDS)
        self.plan_seconds = self._histogram("plan_seconds", "Searching for a plan.", of_model, _SECONDS)
        self.iterations = self._histogram("plan_iterations", "Iterations of a plan.", of_model, _COUNTS)
        self.plan_status = self._counter("plan_status", "Why plans ended.", ("model", "status"))
        self.deadline_misses = self._counter("deadline_miss", "Plans answered after their budget.", of_model)
        self.saturated = self._counter("action_saturated", "Plans with an action on a limit.", of_model)
        self.surprise = self._histogram("surprise", "Surprise of the transition before a plan.", of_model, _SURPRISE)

    def _make_engine(self) -> None:
        of_model = ("model",)
        self.iteration_seconds = self._histogram(
            "plan_iteration_seconds", "One iteration, shared by all robots in it.", of_model, _SECONDS
        )
        self.batch_size = self._histogram("batch_size", "Robots that share an iteration.", of_model, _COUNTS)
        self.model_loads = self._counter("model_loads", "Models put into service, or kept out of it.", ("outcome",))

    def _make_recording(self) -> None:
        self.recorded = self._counter("recorded", "Requests written to the recording.")
        self.recording_drops = self._counter("recording_dropped", "Requests left out of the recording.", ("reason",))

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, namespace="telos", registry=self.registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: Iterable[float]) -> Histogram:
        return Histogram(name, text, labels, namespace="telos", registry=self.registry, buckets=tuple(buckets))


class _Presence(Collector):
    """Gauges whose values are looked up when they are read, so that they cannot be out of date."""

    def __init__(self, present: Callable[[], Present]) -> None:
        self._present = present

    def collect(self) -> Iterator[Metric]:
        now = self._present()
        yield GaugeMetricFamily("telos_inflight", "Requests being worked on.", value=now.in_flight)
        yield GaugeMetricFamily("telos_queue_depth", "Requests that wait for a first plan.", value=now.queue_depth)
        yield GaugeMetricFamily("telos_sessions", "Sessions remembered.", value=now.sessions)
        yield GaugeMetricFamily("telos_ready", "1 when the server is ready, as in /readyz.", value=now.ready)
        restarts = CounterMetricFamily("telos_worker_restarts", "Engine processes started after the first.")
        restarts.add_metric([], now.restarts)
        yield restarts
        build = GaugeMetricFamily("telos_build_info", "The version of this server.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        info = GaugeMetricFamily("telos_model_info", "1 for each model.", labels=["model", "version", "sha256"])
        for model in now.models:
            info.add_metric([model.name, model.version, model.weights_sha256], model.ready)
        yield info
