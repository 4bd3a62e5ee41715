"""What an operator does to a server that runs in its two processes: load, reload, record, replay."""

import http.client
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.reliability.server_process import ROOT, Healthy, ServerProcess, server_process
from tests.reliability.test_model_loading import other_version
from tests.server.live import MODEL, plan_payload, to_json
from tests.server.test_serve import free_port
from tests.tiny import write_tiny_checkpoint
from tests.waiting import wait_until


def post(port: int, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, json.dumps(body, default=to_json), {"Content-Type": "application/json"})
    with connection.getresponse() as response:
        data = json.loads(response.read())
    connection.close()
    assert response.status == 200, data
    return data


def weights_of(server: ServerProcess) -> str:
    """SHA-256 of those that a plan was made with."""
    return post(server.http_port, "/v1/plan", plan_payload())["provenance"]["weights_sha256"]


def on_disk(folder: Path) -> str:
    return json.loads((folder / MODEL / "manifest.json").read_text())["weights"]["sha256"]


def test_models_change_while_robots_plan_and_recorded_plans_are_made_again(tmp_path: Path) -> None:
    folder, recordings, admin = tmp_path / "checkpoints", tmp_path / "recordings", free_port()
    write_tiny_checkpoint(folder)
    first = on_disk(folder)
    kept = shutil.copytree(folder / MODEL, tmp_path / "kept")
    with server_process(folder, admin_port=admin, record=recordings) as server:
        with Healthy(server.http_port) as robot:
            assert weights_of(server) == first
            other_version(folder)
            assert weights_of(server) == first, "what is served changed before it was loaded"
            post(admin, f"/v1/models/{MODEL}/load")
            assert weights_of(server) == on_disk(folder) != first

            shutil.copytree(kept, folder / MODEL, dirs_exist_ok=True)
            server.front.send_signal(signal.SIGHUP)
            wait_until(lambda: weights_of(server) == first)
        assert set(robot.statuses) == {200}
    files = sorted(map(str, recordings.glob("*.mcap")))
    with server_process(folder) as server:
        command = ["replay", *files, "--server", f"127.0.0.1:{server.grpc_port}", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "server.cli", *command], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
    compared = json.loads(done.stdout)
    verdicts = Counter(each["verdict"] for each in compared)
    assert set(verdicts) == {"same", "refused"} and verdicts["same"] >= 5, (verdicts, done.stderr)
    assert done.returncode != 0 and "does not plan as recorded" in done.stderr, "plans of weights that are gone"
