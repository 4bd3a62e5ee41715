"""However a demo ends, its server ends too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from server.demo import server_process
from server.demo.errors import DemoError
from server.demo.server_process import running_server


def servers(of: int | None = None) -> list[psutil.Process]:
    return [child for child in psutil.Process(of).children(recursive=True) if "serve" in child.cmdline()]


def test_a_server_that_dies_on_the_way_is_reported_and_an_interruption_leaves_none(
    task_checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "PLAN_TIMEOUT_S", 2.0)
    with pytest.raises(DemoError, match=r"the server died during the demo; its log ends:\n"):
        with running_server(task_checkpoints, tmp_path / "server.log") as planner:
            assert planner.ready()
            (server,) = servers()
            server.kill()
            server.wait(10)
            planner.models()
    with pytest.raises(KeyboardInterrupt):
        with running_server(task_checkpoints, tmp_path / "server.log"):
            (server,) = servers()
            raise KeyboardInterrupt
    assert not server.is_running()


def test_sigterm_ends_the_demo_and_its_server(task_checkpoints: Path, tmp_path: Path) -> None:
    arguments = ["--checkpoints", str(task_checkpoints), "--out", str(tmp_path), "--quiet", "--episodes", "1000"]
    demo = subprocess.Popen([sys.executable, "-m", "server.cli", "demo", *arguments], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        log = tmp_path / "server.log"
        while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        found = servers(demo.pid)
        os.kill(demo.pid, signal.SIGTERM)
        assert demo.wait(20) == 128 + signal.SIGTERM
        assert found and not any(server.is_running() for server in found)
    finally:
        demo.kill()
        demo.wait()
