"""A line of the log: who it is about, and nothing that must stay secret."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from server.observability.logs import set_up_logs
from server.observability.metrics import Metrics
from server.observability.observer import Observer, observed
from server.observability.tracing import NoTracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADER = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    root, telos = logging.getLogger(), logging.getLogger("telos")
    handlers, levels = root.handlers[:], (root.level, telos.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    telos.setLevel(levels[1])


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def observer() -> Observer:
    return Observer(Metrics(), NoTracing())


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_one_line_of_json(stream: io.StringIO, observer: Observer) -> None:
    set_up_logs("json", "info", stream)
    with observer.request("/v1/plan", HEADER):
        observed().request_id, observed().model, observed().code = "r-1", "tiny", "queue-full"
    (line,) = lines(stream)
    assert line["event"] == "request" and line["level"] == "info" and line["logger"] == "telos.request"
    wanted = {"endpoint": "/v1/plan", "request_id": "r-1", "model": "tiny", "code": "queue-full", "trace_id": TRACE}
    assert line.items() >= wanted.items()
    assert float(line["duration_ms"]) >= 0  # type: ignore[arg-type]


def test_what_is_logged_on_the_way_says_whose_request_it_is(stream: io.StringIO, observer: Observer) -> None:
    set_up_logs("json", "info", stream)
    logging.getLogger("telos").info("outside %d", 1)
    with observer.request("/v1/plan", HEADER):
        observed().request_id = "r-2"
        logging.getLogger("telos").warning("within")
    outside, within, _ = lines(stream)
    assert outside["event"] == "outside 1" and "request_id" not in outside and "trace_id" not in outside
    assert (within["request_id"], within["trace_id"], within["level"]) == ("r-2", TRACE, "warning")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_are_logged_without_the_values_of_variables(stream: io.StringIO, log_format: str) -> None:
    set_up_logs(log_format, "info", stream)  # type: ignore[arg-type]
    try:
        token = "-".join(["hun", "ter", "two"])
        raise RuntimeError(f"of length {len(token)}")
    except RuntimeError:
        logging.getLogger("telos").exception("failed")
    assert "RuntimeError: of length 11" in stream.getvalue() and __name__.split(".")[-1] in stream.getvalue()
    assert "hun-ter-two" not in stream.getvalue()


def test_health_checks_do_not_fill_the_log(stream: io.StringIO, observer: Observer) -> None:
    set_up_logs("console", "info", stream)
    with observer.request("/healthz", ""):
        pass
    assert stream.getvalue() == ""
    set_up_logs("console", "debug", stream)
    with observer.request("/healthz", ""):
        pass
    assert "endpoint=/healthz" in stream.getvalue()


def test_other_libraries_speak_up_only_when_something_is_wrong(stream: io.StringIO) -> None:
    set_up_logs("json", "debug", stream)
    logging.getLogger("urllib3").info("chatter")
    logging.getLogger("urllib3").warning("trouble")
    assert [line["event"] for line in lines(stream)] == ["trouble"]
