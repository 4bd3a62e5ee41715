"""Sends spans to OpenTelemetry, if it is installed and turned on. All times in them are measured in any case.

OpenTelemetry's own variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT`, set the destination.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol

from server.observability.trace_context import TraceContext
from server.settings import SettingsError
from telos import __version__


class Tracing(Protocol):
    """Records requests that have ended."""

    def record(
        self,
        name: str,
        parent: TraceContext | None,
        seconds: float,
        attributes: Mapping[str, str | int | float],
        stages: Mapping[str, float],
    ) -> str:
        """Record a span of `seconds` that ends now, with a child span for each stage; the last stage ends now too.

        Returns the id of its trace; empty when there is none.
        """
        ...

    def close(self) -> None:
        """Send the spans that are still waiting."""
        ...


class NoTracing:
    """Sends nothing. The log still names the caller's trace."""

    def record(
        self,
        name: str,
        parent: TraceContext | None,
        seconds: float,
        attributes: Mapping[str, str | int | float],
        stages: Mapping[str, float],
    ) -> str:
        return parent.trace_id if parent else ""

    def close(self) -> None:
        pass


class OpenTelemetry:
    """Sends spans with an SDK exporter. A slow or absent collector loses spans and delays nothing."""

    def __init__(self, exporter: Any = None) -> None:
        """Without an exporter, send OTLP over HTTP. Raises SettingsError without the packages of the extra `otel`."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise SettingsError(
                "tracing needs the extra `otel`: pip install '.[otel]' in a checkout, or leave it off"
            ) from error
        resource = Resource.create({"service.name": "telos", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("telos", __version__)

    def record(
        self,
        name: str,
        parent: TraceContext | None,
        seconds: float,
        attributes: Mapping[str, str | int | float],
        stages: Mapping[str, float],
    ) -> str:
        from opentelemetry.trace import SpanKind, set_span_in_context

        ended_ns = time.time_ns()
        request = self._tracer.start_span(
            name,
            context=_remote(parent),
            kind=SpanKind.SERVER,
            attributes=dict(attributes),
            start_time=ended_ns - round(seconds * 1e9),
        )
        at_ns = ended_ns - round(sum(stages.values()) * 1e9)
        for stage, takes_s in stages.items():
            span = self._tracer.start_span(stage, context=set_span_in_context(request), start_time=at_ns)
            at_ns += round(takes_s * 1e9)
            span.end(at_ns)
        request.end(ended_ns)
        return format(request.get_span_context().trace_id, "032x")

    def close(self) -> None:
        self._provider.shutdown()


def _remote(parent: TraceContext | None) -> Any:
    """The caller's span, which the request's span is a child of; None for a trace of its own."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if parent is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    context = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(context))
