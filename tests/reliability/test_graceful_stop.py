"""SIGTERM under load: what was accepted is answered, the end is clean, the ports are free."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.reliability.report import Measure
from tests.reliability.server_process import ROOT, ServerProcess
from tests.server.live import plan_payload, to_json

pytestmark = [pytest.mark.reliability(20), pytest.mark.alone]

REQUESTS_PER_S = 50
CLEARLY_BEFORE_S = 0.1
"""What is sent so long before the signal has been accepted; what comes later may be refused."""
BODY = json.dumps(plan_payload(planner={"preset": "fast"}), default=to_json)
GRACE_S = 5.0


class Robots:
    """Each asks once, on time, whatever became of the others."""

    def __init__(self, port: int) -> None:
        self.answers: list[tuple[float, int]] = []
        """When it was sent, and the status; 0 for none."""
        self._port = port
        self._threads: list[threading.Thread] = []

    def ask_for(self, seconds: float) -> None:
        began = time.monotonic()
        for index in range(round(seconds * REQUESTS_PER_S)):
            time.sleep(max(0.0, began + index / REQUESTS_PER_S - time.monotonic()))
            self._threads.append(threading.Thread(target=self._ask))
            self._threads[-1].start()

    def finish(self) -> None:
        for thread in self._threads:
            thread.join(timeout=30)

    def _ask(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        sent, status = time.monotonic(), 0
        try:
            connection.request("POST", "/v1/plan", BODY, {"Content-Type": "application/json"})
            sent = time.monotonic()
            status = connection.getresponse().status
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
            self.answers.append((sent, status))


def started(checkpoints: Path, stderr: int = subprocess.DEVNULL, **settings: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "server.cli", "serve", "--checkpoints", str(checkpoints)]
    changed = {f"TELOS_{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.Popen(
        [*command, "--http-port", "0", "--grpc-port", "0"],
        cwd=ROOT,
        env=os.environ | changed,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


@contextmanager
def until_it_ends(checkpoints: Path, **settings: float) -> Iterator[ServerProcess]:
    """A server that is expected to end."""
    process = started(checkpoints, **settings)
    try:
        yield ServerProcess(process)
    finally:
        process.kill()
        process.communicate()


def ended(server: ServerProcess) -> int:
    """Its exit code."""
    return server.front.wait(timeout=30)


def test_what_was_accepted_is_answered(checkpoints: Path, measure: Measure) -> None:
    with until_it_ends(checkpoints, max_in_flight=1000, shutdown_grace_s=GRACE_S) as server:
        robots = Robots(server.http_port)
        asking = threading.Thread(target=robots.ask_for, args=(2.0,))
        asking.start()
        time.sleep(1.0)
        server.front.send_signal(signal.SIGTERM)
        told = time.monotonic()
        code = ended(server)
        took = time.monotonic() - told
        asking.join()
        robots.finish()
        accepted = [status for sent, status in robots.answers if sent < told - CLEARLY_BEFORE_S]
        measure("accepted requests", len(accepted), at_least=10, unit="requests")
        measure("accepted requests that were dropped", sum(s != 200 for s in accepted), at_most=0, unit="requests")
        measure("from SIGTERM to the end", took, at_most=GRACE_S + 1, unit="s")
        measure("exit code", code, at_most=0)
        for port in (server.http_port, server.grpc_port):
            socket.create_server(("127.0.0.1", port)).close()


def test_while_it_is_starting(checkpoints: Path, measure: Measure) -> None:
    process = started(checkpoints, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        assert any(b"HTTP on" in line for line in process.stderr)  # it listens; its models are not there yet
        process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        _, _ = process.communicate(timeout=30)
        measure("from SIGTERM while starting to the end", time.monotonic() - told, at_most=GRACE_S + 1, unit="s")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def test_twice_is_at_once(checkpoints: Path, measure: Measure) -> None:
    with until_it_ends(checkpoints, shutdown_grace_s=60.0) as server:
        robots = Robots(server.http_port)
        robots.ask_for(0.5)
        server.front.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        server.front.send_signal(signal.SIGTERM)
        told = time.monotonic()
        assert ended(server) == 0
        measure("from the second SIGTERM to the end", time.monotonic() - told, at_most=GRACE_S, unit="s")
        robots.finish()
