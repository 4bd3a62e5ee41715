"""A server in front of a server that gives the wrong reply: the last one again, both, or somebody else's."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any, Literal

import grpc

Mix = Literal["previous", "twice"]
"""previous: the reply to the plan before, whoever asked for it. twice: the right one, and then once more."""


class _LastReply:
    """Shared by all connections: that is how a reply gets to somebody else."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reply: bytes | None = None

    def swap(self, reply: bytes) -> bytes:
        with self._lock:
            before, self._reply = self._reply, reply
        return reply if before is None else before


@contextmanager
def mixed_http(target_port: int, mix: Mix) -> Iterator[int]:
    """Its port. Plans are mixed up; everything else is passed on."""
    last = _LastReply()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.wfile.write(self.forward())

        def do_POST(self) -> None:
            reply = self.forward()
            self.wfile.write(last.swap(reply) if mix == "previous" else reply + reply)

        def forward(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = http.client.HTTPConnection("127.0.0.1", target_port, timeout=10)
            upstream.request(self.command, self.path, body, {"Content-Type": "application/json"})
            response = upstream.getresponse()
            data = response.read()
            upstream.close()
            head = f"HTTP/1.1 {response.status} {response.reason}\r\nContent-Length: {len(data)}\r\n\r\n"
            return head.encode() + data

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def mixed_grpc(target_port: int) -> Iterator[int]:
    """The same for gRPC, where a call has one reply: the one before."""
    last = _LastReply()

    class Forward(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
            method = handler_call_details.method

            def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
                reply = upstream.unary_unary(method)(data, timeout=10)
                return last.swap(reply) if method.endswith("/Plan") else reply

            return grpc.unary_unary_rpc_method_handler(handle)

    with grpc.insecure_channel(f"127.0.0.1:{target_port}") as upstream:
        server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Forward()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield port
        server.stop(None).wait()
