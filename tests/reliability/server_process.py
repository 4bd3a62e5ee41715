"""A server in processes of its own, so that its memory, its sockets and its pace are its own too."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from tests.server.live import plan_payload, to_json

ROOT = Path(__file__).parents[2]
ATTACKER = "127.0.0.2"
"""Another address than the well-behaved clients', who are not to pay for it."""
NOISE_S = 0.1
"""A shared machine delays anybody by so much now and then: what is below is no slower than what is at it."""


class ServerProcess:
    """`telos serve`, ready."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline() or "{}")
        self.http_port: int = ports["http_port"]
        self.grpc_port: int = ports["grpc_port"]
        self.front = psutil.Process(process.pid)

    def rss_bytes(self) -> int:
        """Of the process that listens and all that it started."""
        return sum(each.memory_info().rss for each in [self.front, *self.front.children(recursive=True)])

    def peers(self, port: int) -> set[tuple[str, int]]:
        """The other ends of the connections that this server holds open on one of its ports."""
        ours = self.front.net_connections("tcp4")
        return {tuple(each.raddr) for each in ours if each.raddr and each.laddr[1] == port}

    def plan(self) -> int:
        """Status of one plan over a new connection."""
        with well_behaved(self.http_port) as ask:
            return ask()


@contextmanager
def server_process(checkpoints: Path, **settings: Any) -> Iterator[ServerProcess]:
    changed = {f"TELOS_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "server.cli", "serve", "--checkpoints", str(checkpoints)]
    process = subprocess.Popen(
        [*command, "--http-port", "0", "--grpc-port", "0"],
        cwd=ROOT,
        env={**os.environ, **changed},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield ServerProcess(process)
        assert process.poll() is None, "the server died"
    finally:
        process.terminate()
        try:
            process.wait(15)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def well_behaved(port: int) -> Iterator[Callable[[], int]]:
    """A robot with one connection: each call asks for a small plan and returns the status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    small = {"num_samples": 8, "num_elites": 2, "max_iterations": 1, "seed": 7}
    body = json.dumps(plan_payload(planner=small), default=to_json)

    def ask() -> int:
        connection.request("POST", "/v1/plan", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status

    try:
        yield ask
    finally:
        connection.close()


class Healthy:
    """A robot that plans again and again, and notes what each plan took."""

    def __init__(self, port: int) -> None:
        self.statuses: list[int] = []
        self._took_s: list[float] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with well_behaved(self._port) as ask:
            while not self._over.is_set():
                began = time.monotonic()
                self.statuses.append(ask())
                self._took_s.append(time.monotonic() - began)
                time.sleep(0.01)

    def __enter__(self) -> "Healthy":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "a healthy client waits for ever"

    @property
    def p99_s(self) -> float:
        return float(np.percentile(self._took_s, 99))

    def slower_than(self, alone: "Healthy") -> float:
        """How many times its p99 is that of the same robot alone."""
        return max(self.p99_s, NOISE_S) / max(alone.p99_s, NOISE_S)


def healthy_alone(port: int, seconds: float) -> Healthy:
    with Healthy(port) as robot:
        time.sleep(seconds)
    return robot
