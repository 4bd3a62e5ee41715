"""Spans as an OpenTelemetry collector would get them, and a server that has no OpenTelemetry at all."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from server.observability.trace_context import TraceContext
from server.observability.tracing import NoTracing, OpenTelemetry

ROOT = Path(__file__).parents[3]
PARENT = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)
STAGES = {"decode": 0.002, "queue": 0.001, "encode": 0.005, "plan": 0.1}


def spans_of(parent: TraceContext | None) -> tuple[str, dict[str, ReadableSpan]]:
    exporter = InMemorySpanExporter()
    tracing = OpenTelemetry(exporter)
    trace_id = tracing.record("/v1/plan", parent, 0.12, {"model": "tiny", "code": "ok"}, STAGES)
    tracing.close()
    return trace_id, {span.name: span for span in exporter.get_finished_spans()}


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None and span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_request_continues_the_trace_of_its_caller() -> None:
    trace_id, spans = spans_of(PARENT)
    request = spans["/v1/plan"]
    assert trace_id == PARENT.trace_id
    assert request.parent is not None and format(request.parent.span_id, "016x") == PARENT.span_id
    assert request.attributes == {"model": "tiny", "code": "ok"}
    assert {format(span.context.trace_id, "032x") for span in spans.values() if span.context} == {trace_id}


def test_its_stages_follow_each_other_to_its_end() -> None:
    _, spans = spans_of(None)
    request = spans.pop("/v1/plan")
    assert seconds(request) == pytest.approx(0.12, abs=1e-6)
    assert {name: seconds(span) for name, span in spans.items()} == pytest.approx(STAGES, abs=1e-6)
    stages = [spans[name] for name in STAGES]
    for before, after in pairwise(stages):
        assert before.end_time == after.start_time
    assert abs((stages[-1].end_time or 0) - (request.end_time or 0)) < 1000
    assert all(
        span.parent is not None and request.context and span.parent.span_id == request.context.span_id
        for span in stages
    )


def test_a_caller_that_is_not_sampled_gets_no_spans() -> None:
    trace_id, spans = spans_of(TraceContext(PARENT.trace_id, PARENT.span_id, sampled=False))
    assert trace_id == PARENT.trace_id and not spans


def test_without_opentelemetry_the_callers_trace_is_still_named() -> None:
    assert NoTracing().record("/v1/plan", PARENT, 0.1, {}, {}) == PARENT.trace_id
    assert NoTracing().record("/v1/plan", None, 0.1, {}, {}) == ""


def test_nothing_but_tracing_needs_opentelemetry() -> None:
    """In a process where it cannot be imported."""
    code = """
import sys
sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
import server.serve
from server.observability.tracing import NoTracing, OpenTelemetry
from server.settings import SettingsError
NoTracing()
try:
    OpenTelemetry()
except SettingsError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip install '.[otel]'" in result.stdout
