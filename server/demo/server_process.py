"""Server of a demo, in its own process, which ends with the demo."""

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.demo.errors import DemoError
from telos.errors import TelosError
from telos.http_planner import HttpPlanner

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 10.0
PLAN_TIMEOUT_S = 20.0
"""Timeout of a plan, and so the time until a dead server is noticed."""
_LOG_LINES = 12


@contextmanager
def running_server(checkpoints: Path, log: Path) -> Iterator[HttpPlanner]:
    """Connection to a ready server on a free port. Raises DemoError with the end of the log if the server dies."""
    process = _start(checkpoints, log)
    try:
        port = _await_port(process, log)
        token = os.environ.get("TELOS_TOKEN") or None  # the server reads the same variable
        with HttpPlanner(f"http://127.0.0.1:{port}", token=token, timeout_s=PLAN_TIMEOUT_S) as planner:
            if not planner.ready():
                raise DemoError(f"the server on port {port} is not ready{_end_of(log)}")
            yield planner
    except TelosError as error:
        if process.poll() is None:
            raise
        raise DemoError(f"the server died during the demo{_end_of(log)}") from error
    finally:
        _stop(process)


def _start(checkpoints: Path, log: Path) -> subprocess.Popen[bytes]:
    serve = ["serve", "--checkpoints", str(checkpoints), "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "0"]
    command = [sys.executable, "-m", "server.cli", *serve]
    with log.open("wb") as file:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file)


def _await_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait for the line on stdout that says that the server is ready; returns its HTTP port. Raises DemoError."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(START_TIMEOUT_S):
            raise DemoError(f"the server was not ready after {START_TIMEOUT_S:.0f} s{_end_of(log)}")
    line = process.stdout.readline()
    if not line:
        code = process.wait(STOP_TIMEOUT_S)
        raise DemoError(f"the server stopped with exit code {code} before it was ready{_end_of(log)}")
    return int(json.loads(line)["http_port"])


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    return "; its log ends:\n" + "\n".join(f"  | {line}" for line in lines or ["(empty)"])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, and kill it if it does not or if this wait is interrupted."""
    assert process.stdout is not None
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
