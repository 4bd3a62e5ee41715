"""The process: it starts, says when it is ready, and stops when it is told to."""

import http.client
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
from pathlib import Path

import psutil
import pytest

from server.engine.local import LocalEngine
from server.engine.registry import Registry
from server.serve import Running
from server.settings import Settings, SettingsError
from telos import HttpPlanner
from tests.server.live import MODEL, plan_payload, serving, settings_for, to_json
from tests.server.test_plans import HEAVY
from worldmodel.errors import CheckpointError

ROOT = Path(__file__).parents[2]
SERVE = "import os, server.serve, server.settings as s; server.serve.run(s.Settings.from_environment(os.environ))"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def process(checkpoints: Path) -> Iterator[tuple[subprocess.Popen[bytes], HttpPlanner, int]]:
    """`telos serve`, ready, as a process of its own; a client, and its port."""
    port = free_port()
    settings = {"TELOS_HTTP_PORT": str(port), "TELOS_GRPC_PORT": "0", "TELOS_CHECKPOINTS": str(checkpoints)}
    front = subprocess.Popen([sys.executable, "-c", SERVE], cwd=ROOT, env={**os.environ, **settings})
    try:
        with HttpPlanner(f"http://127.0.0.1:{port}") as planner:
            until = time.monotonic() + 120
            while not planner.ready():
                assert front.poll() is None and time.monotonic() < until
                time.sleep(0.1)
            yield front, planner, port
    finally:
        front.kill()
        front.wait()


def test_sigterm_ends_it_cleanly(checkpoints: Path) -> None:
    with process(checkpoints) as (front, planner, _):
        (engine,) = psutil.Process(front.pid).children()
        assert planner.models()[0].name == MODEL
        front.send_signal(signal.SIGTERM)
        assert front.wait(timeout=15) == 0
        assert not planner.ready()
        engine.wait(timeout=5)


def test_a_second_sigterm_ends_it_at_once(checkpoints: Path) -> None:
    answers: list[int] = []
    with process(checkpoints) as (front, _, port):

        def ask() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            body = json.dumps(plan_payload(planner=HEAVY), default=to_json)
            connection.request("POST", "/v1/plan", body, {"Content-Type": "application/json"})
            answers.append(connection.getresponse().status)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.5)
        front.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert front.poll() is None, "the plan under way has five seconds"
        front.send_signal(signal.SIGTERM)
        assert front.wait(timeout=3) == 0
        thread.join()
        assert answers == [503]
        socket.create_server(("127.0.0.1", port)).close()


def test_the_engine_dies_with_the_front_even_when_it_is_stopped(checkpoints: Path) -> None:
    with process(checkpoints) as (front, _, _):
        (engine,) = psutil.Process(front.pid).children()
        engine.send_signal(signal.SIGSTOP)
        front.kill()
        engine.wait(timeout=5)


def test_a_port_that_is_taken_is_named_with_the_way_to_another(checkpoints: Path) -> None:
    with serving(settings_for(checkpoints)) as live:
        taken = {"http_port": live.running.http_port}, {"grpc_port": live.running.grpc_port}
        for clash in taken:
            ((setting, port),) = clash.items()
            with pytest.raises(SettingsError) as refused:
                live.do(start(checkpoints, {**vars(settings_for(checkpoints)), **clash}))
            assert str(refused.value).startswith(
                f"{setting}={port} cannot be opened on 127.0.0.1: Address already in use"
            )
            way_out = f"choose another with --{setting.replace('_', '-')} or TELOS_{setting.upper()}"
            assert str(refused.value).endswith(way_out)


async def start(checkpoints: Path, settings: dict[str, object]) -> None:
    changed = Settings(**settings)  # type: ignore[arg-type]
    running = Running(LocalEngine(Registry.load(changed), changed), changed)
    try:
        await running.start()
    finally:
        await running.stop()


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_an_error(checkpoints: Path, device: str) -> None:
    """The engine was started again for ever, and nobody was told why."""
    settings = settings_for(checkpoints)
    with pytest.raises(SettingsError, match=f"device={device} cannot be used: .*; choose cpu, cuda or cuda:0"):
        Registry.load(Settings(**{**vars(settings), "device": device}))


def test_nothing_to_serve_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"has no folder with a manifest\.json"):
        Registry.load(settings_for(tmp_path))


def test_a_broken_checkpoint_is_an_error(checkpoints: Path, tmp_path: Path) -> None:
    broken = tmp_path / MODEL
    broken.mkdir()
    for file in (checkpoints / MODEL).iterdir():
        data = bytearray(file.read_bytes())
        data[-1 if file.suffix == ".safetensors" else 0] ^= file.suffix == ".safetensors"
        (broken / file.name).write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256"):
        Registry.load(settings_for(tmp_path))


def test_a_server_that_stops_refuses_new_plans(checkpoints: Path) -> None:
    with serving(settings_for(checkpoints)) as live:
        live.loop.call_soon_threadsafe(live.running.service.drained.set)
        for answer in (live.json("plan", plan_payload()), live.grpc("plan", plan_payload())):
            assert answer.code == "not-ready" and answer.retryable
        assert live.http("GET", "/readyz")[0] == 503
        assert live.http("GET", "/healthz")[0] == 200


@pytest.mark.parametrize("transport", ["json", "grpc"])
def test_a_plan_that_was_accepted_is_finished_before_the_end(checkpoints: Path, transport: str) -> None:
    answers = []
    payload = plan_payload(planner=HEAVY, planning_budget_ms=1000)
    with serving(settings_for(checkpoints)) as live:
        thread = threading.Thread(target=lambda: answers.append(getattr(live, transport)("plan", payload)))
        thread.start()
        live.wait_until_busy()
    thread.join()
    assert answers[0].body["status"] == "BUDGET_EXHAUSTED"
