"""Runs a server in its own process, on its own core, for a measurement."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Served:
    pid: int
    http_port: int
    grpc_port: int


@contextmanager
def served(module: str, arguments: Sequence[str], *, log: Path, core: int | None = None) -> Iterator[Served]:
    """Run `python -m module arguments` until the block ends; a ready server writes its ports as a line of JSON.

    With `core`, it and its child processes stay on that core. Raises RuntimeError if it ends too early.
    """
    command = [sys.executable, "-m", module, *arguments]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file)
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(command)} ended before it was ready:\n{log.read_text()[-2000:]}")
        ports = json.loads(line)
        yield Served(process.pid, ports["http_port"], ports["grpc_port"])
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
