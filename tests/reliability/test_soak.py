"""`make soak` finds what it looks for: planted in half an hour of samples."""

from typing import Any

import pytest

from benchmarks.soak import Log, rows

SECONDS = 1800.0


def log(**growth_per_h: float) -> Log:
    """Half an hour that is the same throughout, but for what grows."""
    steady = {"front_rss_mib": 90.0, "front_fds": 30, "front_threads": 9}
    steady |= {"engine_rss_mib": 500.0, "engine_fds": 7, "engine_threads": 8}
    made = Log(latencies=[(float(at), 0.05 + growth_per_h.get("latency_s", 0) * at / 3600) for at in range(1800)])
    for at in range(0, 1800, 5):
        grown = {name: value + growth_per_h.get(name, 0) * at / 3600 for name, value in steady.items()}
        made.samples.append({"at_s": float(at), "p99_ms": 50.0, "engine_pid": 1, **grown})
    made.outcomes.update({"plan OK": 900, "plan 200": 900, "hostile 400": 10, "cancel left": 10})
    return made


def failed(made: Log) -> set[str]:
    return {row.name for row in rows(made, SECONDS) if not row.passed}


def test_a_server_that_stays_as_it_is() -> None:
    assert failed(log()) == set() and len(rows(log(), SECONDS)) == 9


@pytest.mark.parametrize(
    ("growth", "found"),
    [
        ({"front_rss_mib": 5.0}, "front: memory grows by"),
        ({"engine_rss_mib": 5.0}, "engine: memory grows by"),
        ({"front_fds": 20.0}, "front: more fds at the end"),
        ({"engine_threads": 20.0}, "engine: more threads at the end"),
        ({"latency_s": 0.1}, "p99 of plans, second half over first"),
    ],
)
def test_what_grows_is_found(growth: dict[str, Any], found: str) -> None:
    assert failed(log(**growth)) == {found}


def test_what_is_lost_is_found() -> None:
    broken = log()
    broken.outcomes["plan 500"] += 1
    broken.samples[-1]["engine_pid"] = 2
    assert failed(broken) == {
        "plans and clips neither answered nor refused, of 1821 requests",
        "restarts of the engine",
    }
