"""A client that asks for everything at once gets its share, and the others do not notice (10)."""

import contextlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.report import Measure
from tests.reliability.server_process import ATTACKER, Healthy, ServerProcess, server_process
from tests.server.live import plan_payload, to_json

pytestmark = [pytest.mark.reliability(10), pytest.mark.alone]

PLACES = 8
ROBOTS = 24


@pytest.fixture(scope="module")
def server(checkpoints: Path) -> Iterator[ServerProcess]:
    limits = {"max_in_flight": PLACES, "max_connections": 64, "max_requests_per_s_per_client": 200}
    with server_process(checkpoints, max_body_bytes=2**20, max_buffered_bytes=8 * 2**20, **limits) as running:
        yield running


def request_bytes() -> bytes:
    large = {"num_samples": 512, "num_elites": 8, "max_iterations": 20, "seed": 1}
    body = json.dumps(plan_payload(planner=large, planning_budget_ms=300), default=to_json).encode()
    head = b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def flood(server: ServerProcess, over: threading.Event, statuses: Counter[int]) -> None:
    """One of many robots of the same address, which asks again as soon as it was answered."""
    whole = request_bytes()
    while not over.is_set():
        with contextlib.suppress(OSError):
            address = ("127.0.0.1", server.http_port)
            with socket.create_connection(address, timeout=5, source_address=(ATTACKER, 0)) as connection:
                while not over.is_set():
                    connection.sendall(whole)
                    answer = connection.recv(65536)
                    if not answer:
                        break
                    if answer.startswith(b"HTTP/1.1 "):
                        statuses[int(answer[9:12])] += 1


@contextlib.contextmanager
def flooded(server: ServerProcess) -> Iterator[Counter[int]]:
    over, statuses = threading.Event(), Counter[int]()
    threads = [threading.Thread(target=flood, args=(server, over, statuses), daemon=True) for _ in range(ROBOTS)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join(10)


def received(connection: socket.socket) -> bytes:
    """All that comes until nothing more does."""
    connection.settimeout(0.5)
    data = b""
    with contextlib.suppress(TimeoutError):
        while more := connection.recv(65536):
            data += more
    return data


def test_plans_of_others_are_not_starved(server: ServerProcess, measure: Measure) -> None:
    with flooded(server) as statuses, Healthy(server.http_port) as robot:
        threading.Event().wait(4)
    refused = sum(status != 200 for status in robot.statuses)
    assert len(robot.statuses) >= 5 and set(statuses) >= {200, 429}, (robot.statuses, statuses)
    measure("plans refused to a robot beside a flood", refused, at_most=0)


def test_connections_of_one_client_leave_some_to_others(server: ServerProcess) -> None:
    address = ("127.0.0.1", server.http_port)
    with contextlib.ExitStack() as stack:
        taken = [
            stack.enter_context(socket.create_connection(address, timeout=5, source_address=("127.0.0.3", 0)))
            for _ in range(60)
        ]
        answers = []
        for connection in taken:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            answers.append(connection.recv(65536))
        assert server.plan() == 200
    assert Counter(int(answer[9:12]) for answer in answers) == {200: 48, 429: 12}
    assert all(b"connection: close" in answer and b"retry-after" in answer for answer in answers[48:])


def test_a_body_that_would_not_fit_is_refused_at_once(server: ServerProcess) -> None:
    """Seven bodies of nearly 1 MiB wait for their last byte; the budget is 8 MiB, and 6 of them one client's share."""
    head = b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000001\r\n\r\n"
    address = ("127.0.0.1", server.http_port)
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(7):
            connection = stack.enter_context(socket.create_connection(address, timeout=5, source_address=(ATTACKER, 0)))
            connection.sendall(head + b" " * 1_000_000)
            if answer := received(connection):
                answers.append(answer)
        assert server.plan() == 200
    assert len(answers) == 1 and answers[0].startswith(b"HTTP/1.1 429") and b"rate-limited" in answers[0]
