"""Kill -9, SIGBUS and SIGSTOP of the engine under load: some plans are to be asked for again, and none is wrong."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from server.engine.process import EngineProcess
from tests.reliability.report import Measure
from tests.server.live import Live, actions_of, ask, plan_payload, serving, settings_for
from tests.waiting import wait_until

pytestmark = [pytest.mark.reliability(11), pytest.mark.alone]

SEEDS = range(4)
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGBUS, signal.SIGSTOP)
ASK_AGAIN = {"worker-restarting": (503, "UNAVAILABLE"), "not-ready": (503, "UNAVAILABLE")}


@pytest.fixture
def live(checkpoints: Path) -> Iterator[Live]:
    settings = settings_for(checkpoints)
    with serving(settings, EngineProcess(settings)) as running:
        yield running


class Load:
    """Robots that go on asking, over HTTP and gRPC, and a probe of /healthz."""

    def __init__(self, live: Live, requests_per_s: float) -> None:
        self._live = live
        self._pause_s = len(SEEDS) * 2 / requests_per_s
        self._over = threading.Event()
        self.codes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._expected = {seed: actions_of(live.json("plan", self._payload(seed)).body) for seed in SEEDS}
        robots = [(self._robot, transport, seed) for seed in SEEDS for transport in ("json", "grpc")]
        self._threads = [threading.Thread(target=work, args=rest) for work, *rest in [*robots, (self._probe,)]]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _payload(self, seed: int) -> dict[str, object]:
        return plan_payload(planner={"preset": "fast", "seed": seed})

    def _robot(self, transport: str, seed: int) -> None:
        rng = random.Random(f"{transport}{seed}")
        while not self._over.wait(rng.expovariate(1 / self._pause_s)):
            answer = ask(self._live, transport)("plan", self._payload(seed))
            self.codes[answer.code] += 1
            if answer.code:
                if answer.status not in ASK_AGAIN.get(answer.code, ()) or not answer.retryable:
                    self.wrong.append(f"{transport}: {answer.code} {answer.status}")
            elif not np.array_equal(actions_of(answer.body), self._expected[seed]):
                self.wrong.append(f"{transport}: another plan")

    def _probe(self) -> None:
        while not self._over.wait(0.05):
            if self._live.http("GET", "/healthz")[0] != 200:
                self.wrong.append("healthz")


def kill_again_and_again(live: Live, kills: int, requests_per_s: float) -> tuple[Load, list[float], list[float]]:
    """What came back, and for each kill the seconds until /readyz said so, and until it was ready again."""
    engine, rng = live.running.service.engine, random.Random(11)
    noticed_s, ready_s = [], []
    with Load(live, requests_per_s) as load:
        for number in range(kills):
            time.sleep(rng.uniform(0.1, 0.6))
            began, starts = time.monotonic(), engine.starts
            os.kill(engine.pid, SIGNALS[number % len(SIGNALS)])
            wait_until(lambda: live.http("GET", "/readyz")[0] == 503, within_s=300)
            noticed_s.append(time.monotonic() - began)
            wait_until(lambda: live.http("GET", "/readyz")[0] == 200, within_s=300)
            ready_s.append(time.monotonic() - began)
            assert engine.starts == starts + 1
        planned = load.codes[""]
        wait_until(lambda: load.codes[""] > planned)  # the load goes on as before
    assert live.running.service.in_flight == 0
    return load, noticed_s, ready_s


def test_a_few_kills_cost_nothing_but_what_was_under_way(live: Live) -> None:
    load, _, _ = kill_again_and_again(live, kills=2, requests_per_s=10)
    assert load.wrong == []


@pytest.mark.slow
def test_fifty_kills(live: Live, measure: Measure) -> None:
    load, noticed_s, ready_s = kill_again_and_again(live, kills=50, requests_per_s=50)
    assert load.wrong == [], load.wrong[:5]
    answered = load.codes.total()
    measure("wrong replies, or /healthz not 200, in 50 kills", len(load.wrong), at_most=0)
    measure("replies in 50 kills", answered, at_least=500)
    measure("/readyz false after a kill, worst of 50", max(noticed_s), at_most=2.0, unit="s")
    measure("ready again after kill -9 or SIGBUS, worst", worst(ready_s, stopped=False), at_most=5.0, unit="s")
    measure("ready again after SIGSTOP, worst", worst(ready_s, stopped=True), at_most=7.0, unit="s")


def worst(ready_s: list[float], *, stopped: bool) -> float:
    """SIGSTOP takes two seconds longer: silence is all there is to notice."""
    pairs = zip(ready_s, (SIGNALS[number % len(SIGNALS)] for number in range(len(ready_s))), strict=True)
    return max(seconds for seconds, sent in pairs if (sent == signal.SIGSTOP) is stopped)
