"""The client on its own: what it imports, what it sends, and what it does when the other side misbehaves."""

import http.server
import json
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
from PIL import Image

import telos
from telos import HttpPlanner, Observation, PlanOptions, TelosError, connect
from telos.images import encode_image
from tests.server.live import encoded
from tests.server.test_serve import ROOT, free_port

IMAGE = np.zeros((16, 16, 3), np.uint8)
MODEL = {
    **{"name": "m", "version": "1", "recipe": "r", "task": "", "ready": True, "latent_shape": [1, 1]},
    **{"context_frames": 1, "horizon": 1, "presets": [], "surprise_threshold": 1.0, "space_id": "s", "device": "cpu"},
    **{"weights_sha256": "", "manifest_sha256": "", "dtype": "float32", "new_field_of_a_newer_server": 1},
    "sensors": [{"name": "top", "kind": "camera", "shape": [16, 16, 3], "names": [], "units": []}],
    "action": {"names": ["x"], "units": ["m"], "low": [0.0], "high": [1.0], "dt_ms": 10.0, "control_steps": 1},
}


def test_the_version_is_that_of_the_distribution() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["dynamic"] == ["version"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "telos.__version__"}
    assert version("telos") == telos.__version__


def test_a_robot_installs_numpy_and_pillow_only() -> None:
    heavy = ("torch", "pydantic", "grpc", "google", "fastapi", "server", "worldmodel", "planner")
    check = f"import telos, sys; found = [m for m in {heavy} if m in sys.modules]; assert not found, found"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=60)


@contextmanager
def answering(answer: Callable[[str, dict[str, Any]], Any]) -> Iterator[str]:
    """An HTTP server that gives every POST what `answer` says, and one model. Its address."""

    class AnswerHandler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply({"models": [MODEL]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(answer(self.path, body))

        def reply(self, body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), AnswerHandler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def encode_with(address: str, **options: Any) -> None:
    with HttpPlanner(address, **options) as planner:
        planner.encode("m", [IMAGE])


def code_of(caught: pytest.ExceptionInfo[TelosError]) -> tuple[str, bool]:
    return caught.value.code, caught.value.retryable


def test_an_answer_to_another_question_is_discarded() -> None:
    with answering(lambda path, body: {"request_id": "another"}) as address:
        with pytest.raises(TelosError) as caught:
            encode_with(address)
    assert code_of(caught) == ("stale-reply", False)


@pytest.mark.parametrize("reply", [b"<html>", b"[]", b"", b"\xff"])
def test_an_answer_that_is_no_answer(reply: bytes) -> None:
    with answering(lambda path, body: reply) as address:
        with pytest.raises(TelosError) as caught:
            encode_with(address)
    assert code_of(caught)[0] == "unreadable-reply"


def test_a_server_that_says_nothing() -> None:
    silent = threading.Event()
    with answering(lambda path, body: silent.wait(5) or {}) as address:
        with pytest.raises(TelosError) as caught:
            encode_with(address, timeout_s=0.5)
        silent.set()
    assert code_of(caught) == ("timeout", True)


def test_a_late_answer_never_meets_a_later_question() -> None:
    first = threading.Event()

    def late_once(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if not first.is_set():
            first.set()
            threading.Event().wait(1.0)
        embeddings = {"datatype": "FP32", "shape": [1, 1, 1], "data": "AAAAAA=="}
        provenance = {"model_name": "m", "model_version": "1", "weights_sha256": "", "manifest_sha256": ""}
        provenance |= {"server_version": "", "device": "", "dtype": ""}
        return {"request_id": body["request_id"], "embeddings": embeddings, "space_id": "s", "provenance": provenance}

    with answering(late_once) as address, HttpPlanner(address, timeout_s=0.5) as planner:
        with pytest.raises(TelosError, match="timeout"):
            planner.encode("m", [IMAGE])
        assert planner.encode("m", [IMAGE]).embeddings[0].space_id == "s"


def test_a_kept_connection_that_the_server_closed_is_opened_again() -> None:
    def serve_twice(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"models": []}')
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_twice, args=(listener,))
        thread.start()
        with HttpPlanner(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=5) as planner:
            assert planner.models() == planner.models() == ()
        thread.join()


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_nobody_there(transport: str) -> None:
    port = free_port()
    with connect(f"{transport}://127.0.0.1:{port}", timeout_s=0.4) as planner:
        assert not planner.ready()
        with pytest.raises(TelosError) as caught:
            planner.models()
    assert code_of(caught) == ("unreachable", True)
    assert f"127.0.0.1:{port}" in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:8600", "ftp://x", "http://", ""])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="wanted http://host:port"):
        HttpPlanner(address)


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), b"BM"])
def test_what_is_no_image_is_not_sent(image: Any) -> None:
    with pytest.raises(ValueError):
        encode_image(image, "png")


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_files_are_sent_as_they_are(image_format: str) -> None:
    data = encoded(Image.fromarray(IMAGE), image_format)
    assert encode_image(data, "png") == {"encoded": data, "format": image_format}


def test_numbers_that_are_not_finite_are_not_sent() -> None:
    with answering(lambda path, body: {}) as address, HttpPlanner(address) as planner:
        with pytest.raises(ValueError):
            limits = telos.ActionLimits(min=(float("nan"),), max=(1.0,))
            planner.plan("m", [Observation(IMAGE)], IMAGE, PlanOptions(limits=limits))
