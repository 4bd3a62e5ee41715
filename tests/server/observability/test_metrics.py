"""What Prometheus reads, and that no client can make it grow."""

import string

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from server.errors import Code
from server.observability.metrics import Metrics, Present
from server.observability.observer import Observer, observed
from server.observability.tracing import NoTracing


def series(metrics: Metrics) -> int:
    families = text_string_to_metric_families(metrics.text().decode())
    return sum(len(family.samples) for family in families if family.name.startswith("telos_"))


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None, name
    return found


def test_every_way_out_of_a_request_is_counted() -> None:
    metrics = Metrics()
    observer = Observer(metrics, NoTracing())
    with observer.request("/v1/plan", ""):
        observed().model, observed().code = "tiny", Code.QUEUE_FULL
    try:
        with observer.request("/v1/plan", ""):
            raise KeyError
    except KeyError:
        pass
    count = "telos_request_duration_seconds_count"
    assert value(metrics, count, endpoint="/v1/plan", model="tiny", code="queue-full") == 1
    assert value(metrics, count, endpoint="/v1/plan", model="", code="internal") == 1
    assert value(metrics, "telos_rejected_total", reason="queue-full") == 1


@given(st.lists(st.text(string.printable, max_size=200), min_size=1, max_size=30))
def test_what_clients_say_never_becomes_a_label(texts: list[str]) -> None:
    """Ids and trace headers are the client's; only a model that was found is noted."""
    metrics = Metrics()
    observer = Observer(metrics, NoTracing())
    with observer.request("/v1/plan", ""):
        observed().request_id = "first"
    before = series(metrics)
    for text in texts:
        with observer.request("/v1/plan", text):
            observed().request_id = text
    assert series(metrics) == before


def test_gauges_are_what_is_true_when_they_are_read() -> None:
    now = Present()
    metrics = Metrics(lambda: now)
    assert value(metrics, "telos_sessions") == 0 and value(metrics, "telos_ready") == 0
    now = Present(in_flight=3, queue_depth=2, sessions=5, ready=True)
    assert value(metrics, "telos_inflight") == 3
    assert value(metrics, "telos_queue_depth") == 2
    assert value(metrics, "telos_sessions") == 5
    assert value(metrics, "telos_ready") == 1


def test_two_servers_in_one_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.stepped("tiny", robots=3, seconds=0.01)
    assert value(one, "telos_batch_size_sum", model="tiny") == 3
    assert other.registry.get_sample_value("telos_batch_size_sum", {"model": "tiny"}) is None
