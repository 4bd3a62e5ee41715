"""A real server on free ports of this machine, in a thread of its own, and ways to ask it without the client."""

import asyncio
import base64
import http.client
import io
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from server.engine.local import LocalEngine
from server.engine.protocol import Engine
from server.engine.registry import Registry
from server.serve import Running
from server.settings import Settings
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message, to_payload
from telos.wire.tensors import pack, unpack
from tests.waiting import wait_until

MODEL = "tiny-lewm"
GRPC_METHODS = {
    "plan": ("Plan", pb.PlanRequest, pb.PlanResponse),
    "anomaly": ("ScoreAnomaly", pb.AnomalyRequest, pb.AnomalyResponse),
    "encode": ("Encode", pb.EncodeRequest, pb.EncodeResponse),
}


@dataclass(frozen=True)
class Answer:
    """What came back, whatever the transport. `code` is empty for a success."""

    code: str
    body: dict[str, Any]
    status: int | str = ""
    pointers: tuple[str, ...] = ()
    text: str = ""
    retryable: bool = False


class Live:
    """A server that runs, and its loop."""

    def __init__(self, running: Running, loop: asyncio.AbstractEventLoop) -> None:
        self.running = running
        self.loop = loop

    def wait_until_busy(self) -> None:
        """Until a request is being worked on."""
        wait_until(lambda: self.running.service.in_flight)

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)

    def http(
        self, verb: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout_s: float = 30.0
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.running.http_port, timeout=timeout_s)
        try:
            connection.request(verb, path, body, headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def post(self, path: str, body: Any, content_type: str = "application/json", **headers: str) -> Answer:
        status, _, data = self.http("POST", path, body, {"Content-Type": content_type, **headers})
        return http_answer(status, data)

    def json(self, method: str, payload: dict[str, Any]) -> Answer:
        return self.post(f"/v1/{method}", json.dumps(payload, default=to_json))

    def multipart(self, method: str, payload: dict[str, Any]) -> Answer:
        parts: dict[str, bytes] = {}
        request = json.dumps(_detach(payload, parts), default=to_json)
        return self.post(f"/v1/{method}", *multipart_body(request.encode(), parts))

    def grpc(self, method: str, payload: dict[str, Any]) -> Answer:
        return self.grpc_bytes(method, to_message(GRPC_METHODS[method][1], payload).SerializeToString())

    def grpc_bytes(self, method: str, data: bytes, metadata: tuple[tuple[str, str], ...] = ()) -> Answer:
        name, _, reply = GRPC_METHODS[method]
        return self.grpc_call(name, data, reply, metadata)

    def grpc_call(self, name: str, data: bytes, reply: Any, metadata: tuple[tuple[str, str], ...] = ()) -> Answer:
        with grpc.insecure_channel(f"127.0.0.1:{self.running.grpc_port}") as channel:
            try:
                answer = channel.unary_unary(f"/telos.v1.Planner/{name}")(data, timeout=30, metadata=metadata)
            except grpc.RpcError as error:
                return grpc_failure(error)
        return Answer("", to_payload(reply.FromString(answer)), "OK")


Ask = Callable[[str, dict[str, Any]], Answer]


def ask(live: Live, transport: str) -> Ask:
    """`json`, `multipart` or `grpc`, called alike."""
    return {"json": live.json, "multipart": live.multipart, "grpc": live.grpc}[transport]


@contextmanager
def serving(settings: Settings, engine: Engine | None = None) -> Iterator[Live]:
    """A server until the block ends. Without `engine` it plans with the checkpoints of the settings."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def make() -> Running:  # gRPC wants its server made on the loop that it will run on
        running = Running(engine or LocalEngine(Registry.load(settings), settings), settings)
        await running.start()
        return running

    live = Live(asyncio.run_coroutine_threadsafe(make(), loop).result(timeout=60), loop)
    try:
        yield live
    finally:
        live.do(live.running.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


def settings_for(checkpoints: Path, **changes: Any) -> Settings:
    return Settings(checkpoints=checkpoints, http_port=0, grpc_port=0, **changes)


def picture(seed: int, side: int = 32, image_format: str = "png") -> dict[str, Any]:
    """The fields of an Image: noise that differs with `seed`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return {"encoded": encoded(Image.fromarray(pixels), image_format), "format": image_format}


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=image_format, **options)
    return file.getvalue()


def plan_payload(**changes: Any) -> dict[str, Any]:
    """A good plan request of two frames, as a dictionary with images as bytes."""
    return {
        "model": {"name": MODEL},
        "context": [{"images": {"top": picture(1)}, "step": 10}, {"images": {"top": picture(2)}, "step": 15}],
        "action_history": [np.full((5, 2), 0.25)],
        "goals": [{"observation": {"images": {"top": picture(3)}}}],
        "planner": {"preset": "fast", "seed": 7},
    } | changes


def anomaly_payload(**changes: Any) -> dict[str, Any]:
    observations = [{"images": {"top": picture(seed)}} for seed in (1, 2, 3, 4, 5)]
    return {"model": {"name": MODEL}, "observations": observations, "actions": [np.zeros((5, 2))] * 4} | changes


def actions_of(body: dict[str, Any]) -> np.ndarray:
    """The actions of a plan, from JSON, gRPC or this process."""
    actions = body["chunk"]["actions"]
    return unpack(actions) if isinstance(actions, dict) else np.asarray(actions)


def multipart_body(request: bytes, parts: dict[str, bytes]) -> tuple[bytes, str]:
    """Body and content type."""
    boundary = b"frontier"
    body = b'--%b\r\nContent-Disposition: form-data; name="request"\r\n\r\n%b\r\n' % (boundary, request)
    for name, data in parts.items():
        head = b'Content-Disposition: form-data; name="%b"; filename="image"' % name.encode()
        body += b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary, head, data)
    return body + b"--%b--\r\n" % boundary, f"multipart/form-data; boundary={boundary.decode()}"


def http_answer(status: int, data: bytes) -> Answer:
    body = json.loads(data)
    if status == 200:
        return Answer("", body, status)
    pointers = tuple(error["pointer"] for error in body["errors"])
    assert body["status"] == status
    return Answer(body["code"], {}, status, pointers, data.decode(), body["retryable"])


def grpc_failure(error: Any) -> Answer:
    rich = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if rich is None:
        return Answer(f"transport: {error.details()}", {}, error.code().name)
    status = status_pb2.Status.FromString(rich)
    assert status.code == error.code().value[0]
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(bad)
    pointers = tuple(violation.field for violation in bad.field_violations)
    retryable = info.metadata["retryable"] == "true"
    return Answer(info.reason, {}, error.code().name, pointers, str(status), retryable)


def _detach(node: Any, parts: dict[str, bytes]) -> Any:
    if isinstance(node, list):
        return [_detach(item, parts) for item in node]
    if not isinstance(node, dict):
        return node
    if "encoded" in node:
        name = f"image{len(parts)}"
        parts[name] = node["encoded"]
        return {key: value for key, value in node.items() if key != "encoded"} | {"part": name}
    return {key: _detach(value, parts) for key, value in node.items()}


def to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return pack(value)
