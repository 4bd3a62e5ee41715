"""What asks for too much memory is refused before any is taken; what takes too much all the same ends alone."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.engine.process import EngineProcess
from tests.reliability.report import Measure
from tests.server.live import Live, ask, plan_payload, serving, settings_for

pytestmark = [pytest.mark.reliability(13), pytest.mark.alone]

LIMIT_MIB = 1500
"""Torch and the tiny model have about 400."""
UNBOUNDED = {"max_samples": 2**24, "max_imagined_steps": 2**31, "engine_memory_limit_mib": LIMIT_MIB}
GIANTS: dict[str, dict[str, Any]] = {
    "samples": {"num_samples": 2**31 - 1},
    "iterations": {"max_iterations": 2**31 - 1},
    "horizon": {"horizon": 2**31 - 1},
    "all together": {"num_samples": 4096, "max_iterations": 100, "horizon": 64},
}


@pytest.fixture(scope="module")
def live(checkpoints: Path) -> Iterator[Live]:
    """An operator who set limits that his memory does not hold."""
    settings = settings_for(checkpoints, **UNBOUNDED)
    with serving(settings, EngineProcess(settings)) as running:
        yield running


@pytest.fixture(scope="module")
def bounded(checkpoints: Path) -> Iterator[Live]:
    settings = settings_for(checkpoints)
    with serving(settings, EngineProcess(settings)) as running:
        yield running


def resident_mib(live: Live) -> float:
    """Of the front, which is this process, and its engine."""
    return sum(psutil.Process(pid).memory_info().rss for pid in (None, live.running.service.engine.pid)) / 2**20


def test_giants_are_refused_before_anything_is_allocated(bounded: Live, measure: Measure) -> None:
    def refuse_all() -> None:
        for transport in ("json", "grpc"):
            for planner in GIANTS.values():
                answer = ask(bounded, transport)("plan", plan_payload(planner={"preset": "fast"} | planner))
                assert answer.code == "validation-failed" and answer.pointers[0].startswith("/planner")

    for _ in range(3):
        refuse_all()
    before = resident_mib(bounded)
    for _ in range(10):
        refuse_all()
    measure("growth over 80 giant requests, each refused", resident_mib(bounded) - before, at_most=4.0, unit="MiB")


def test_an_engine_out_of_memory_is_not_the_end_of_the_front(live: Live, measure: Measure) -> None:
    planner = {"preset": "fast", "num_samples": 2**22, "max_iterations": 2, "seed": 1}
    answer = live.json("plan", plan_payload(planner=planner))
    assert answer.code in ("internal", "worker-restarting")
    assert live.http("GET", "/healthz")[0] == 200
    began = time.monotonic()
    while (again := live.json("plan", plan_payload())).code:
        assert again.retryable and time.monotonic() - began < 60
        time.sleep(0.1)
    measure(f"engine beside its limit of {LIMIT_MIB} MiB", private_mib(live), at_most=LIMIT_MIB, unit="MiB")


def private_mib(live: Live) -> float:
    return psutil.Process(live.running.service.engine.pid).memory_info().data / 2**20
