"""Clients that send, read or leave slowly (10): each is closed in time, and nobody else waits for them."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from tests.fault_proxy import fault_proxy
from tests.reliability.report import Measure
from tests.reliability.server_process import ATTACKER, Healthy, ServerProcess, healthy_alone, server_process

pytestmark = [pytest.mark.reliability(10), pytest.mark.alone]

TIMEOUTS = {"header_timeout_s": 5.0, "receive_timeout_s": 8.0, "send_timeout_s": 4.0, "idle_timeout_s": 5.0}
CLOSED_WITHIN_S = 10.0
IDLE_SOCKETS = 200

Connect = Callable[[], socket.socket]
Drip = Callable[[socket.socket], None]


@pytest.fixture(scope="module", params=[0.2, pytest.param(1.0, marks=pytest.mark.slow)], ids=["a fifth", "as shipped"])
def scale(request: pytest.FixtureRequest) -> float:
    return request.param


@pytest.fixture(scope="module")
def server(checkpoints: Path, scale: float) -> Iterator[ServerProcess]:
    with server_process(checkpoints, **{name: value * scale for name, value in TIMEOUTS.items()}) as running:
        yield running


@pytest.fixture(scope="module")
def alone(server: ServerProcess) -> Healthy:
    return healthy_alone(server.http_port, 2)


def connected(server: ServerProcess) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.http_port), timeout=5, source_address=(ATTACKER, 0))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return connection


def slow_header(connection: socket.socket) -> None:
    connection.sendall(b"X")


def slow_lines(connection: socket.socket) -> None:
    connection.sendall(b"\r\n")


def slow_body(connection: socket.socket) -> None:
    connection.sendall(b" ")


def slow_chunks(connection: socket.socket) -> None:
    connection.sendall(b"1\r\n \r\n")


def after_a_refusal(connection: socket.socket) -> None:
    connection.sendall(b" " * 100)


def nothing(connection: socket.socket) -> None:
    pass


POST = b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
CLIENTS: dict[str, tuple[bytes, Drip]] = {
    "one byte of a header at a time": (b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nX-Slow: ", slow_header),
    "line ends instead of a request": (b"", slow_lines),
    "one byte of a body at a time": (POST + b"Content-Length: 100000\r\n\r\n", slow_body),
    "one chunk at a time": (POST + b"Transfer-Encoding: chunked\r\n\r\n", slow_chunks),
    "a body that was refused already": (POST + b"Content-Length: 999999999\r\n\r\n", after_a_refusal),
    "nothing": (b"", nothing),
    "nothing after half a request": (POST, nothing),
    "nothing after an answer": (GET, nothing),
    "answers that are not read": (GET * 300, nothing),
}


def seconds_until_closed(server: ServerProcess, connections: list[socket.socket], drip: Drip, limit_s: float) -> float:
    """Until the server holds none of these open any more, by its own list of sockets."""
    began = time.monotonic()
    names = {connection.getsockname() for connection in connections}
    while names & server.peers(server.http_port):
        if time.monotonic() - began > limit_s:
            return time.monotonic() - began
        for connection in connections:
            with contextlib.suppress(OSError):
                drip(connection)
        time.sleep(limit_s / 100)
    return time.monotonic() - began


@pytest.mark.parametrize("client", CLIENTS)
def test_slow_clients_are_closed_in_time(server: ServerProcess, client: str, scale: float, measure: Measure) -> None:
    first, drip = CLIENTS[client]
    with connected(server) as connection:
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):  # when all buffers are full of unread answers
            connection.sendall(first)
        took_s = seconds_until_closed(server, [connection], drip, 2 * CLOSED_WITHIN_S * scale)
    measure(f"closed, {client}", took_s, at_most=CLOSED_WITHIN_S * scale, unit="s")


def test_the_others_do_not_wait_for_slow_ones(
    server: ServerProcess, alone: Healthy, scale: float, measure: Measure
) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(server)) for _ in range(IDLE_SOCKETS)]
        slow = [stack.enter_context(connected(server)) for _ in range(8)]
        for connection, (first, _) in zip(slow, CLIENTS.values(), strict=False):
            connection.settimeout(0.2)
            with contextlib.suppress(OSError):
                connection.sendall(first)
        with Healthy(server.http_port) as robot:
            took_s = seconds_until_closed(server, [*idle, *slow], nothing, 2 * CLOSED_WITHIN_S * scale)
            time.sleep(max(0, 2 - took_s))
    assert set(robot.statuses) == {200}
    measure(f"{IDLE_SOCKETS} idle sockets closed", took_s, at_most=CLOSED_WITHIN_S * scale, unit="s")
    if scale == 1:  # on a machine that tests something else beside, a short run tells only the worst of that
        measure("healthy p99 beside slow clients", robot.slower_than(alone), at_most=1.5, unit="x")


HALF_OPEN = {
    "while idle": GET,
    "in the middle of a request": POST + b"Content-Length: 100000\r\n\r\n",
    "with answers on the way": GET * 20,
}


@pytest.mark.parametrize("when", HALF_OPEN)
def test_half_open_connections_are_closed(server: ServerProcess, when: str, scale: float, measure: Measure) -> None:
    """A network that passes nothing more, and tells nobody."""
    with fault_proxy(server.http_port) as proxy:
        before = server.peers(server.http_port)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                connection.sendall(HALF_OPEN[when])
            if when == "while idle":
                assert connection.recv(1)
            proxy.freeze()
            took_s = seconds_until_gone(server, before, server.http_port, 2 * CLOSED_WITHIN_S * scale)
    measure(f"half-open HTTP closed, {when}", took_s, at_most=CLOSED_WITHIN_S * scale, unit="s")


def test_half_open_grpc_is_closed(server: ServerProcess, scale: float, measure: Measure) -> None:
    with fault_proxy(server.grpc_port) as proxy:
        before = server.peers(server.grpc_port)
        with grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
            channel.unary_unary("/telos.v1.Planner/ListModels")(b"", timeout=5)
            proxy.freeze()
            took_s = seconds_until_gone(server, before, server.grpc_port, 2 * CLOSED_WITHIN_S)
    measure("half-open gRPC closed", took_s, at_most=CLOSED_WITHIN_S, unit="s")


def seconds_until_gone(server: ServerProcess, before: set[tuple[str, int]], port: int, limit_s: float) -> float:
    """Until the server holds open only what it held before."""
    began = time.monotonic()
    while server.peers(port) - before and time.monotonic() - began < limit_s:
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_slow_but_steady_robot_is_served(server: ServerProcess, scale: float) -> None:
    """The deadlines are for whole requests: bytes that come slowly, but in time, are as good as any."""
    answers: list[bytes] = []

    def ask() -> None:
        with connected(server) as connection:
            for byte in b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
                connection.sendall(bytes([byte]))
                time.sleep(0.005 * scale)
            while data := connection.recv(4096):
                answers.append(data)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(20)
    assert b"".join(answers).startswith(b"HTTP/1.1 200")
