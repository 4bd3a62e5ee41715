"""Bytes that are almost HTTP (2): refused as a problem or not at all, and neither memory nor other clients notice."""

import contextlib
import json
import random
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.reliability.report import Measure
from tests.reliability.server_process import ATTACKER, Healthy, ServerProcess, healthy_alone, server_process

pytestmark = [pytest.mark.reliability(2), pytest.mark.alone]

GROWTH_MIB_PER_100 = 1.0
PLAN = b"POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MODELS = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


def words(dice: random.Random, most: int) -> bytes:
    return bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz0123456789-", k=dice.randrange(1, most)))


def token(dice: random.Random) -> bytes:
    return dice.choice([b"\0", b"\r", b"\n", b" ", b"\t", b":", b"\xff", b"\x7f", b"%00", b"..", b"\x0b"])


def broken(whole: bytes, dice: random.Random) -> bytes:
    """With a few bytes changed, taken out or put in, and often cut off."""
    data = bytearray(whole)
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(data))
        match dice.randrange(3):
            case 0:
                data[at] = dice.randrange(256)
            case 1:
                del data[at]
            case _:
                data[at:at] = token(dice)
    return bytes(data[: dice.randrange(1, len(data))] if dice.random() < 0.3 else data)


STREAMS: dict[str, Callable[[random.Random], bytes]] = {
    "random bytes": lambda dice: dice.randbytes(dice.randrange(1, 2000)) + b"\r\n\r\n",
    "a broken GET": lambda dice: broken(MODELS, dice),
    "a broken POST": lambda dice: broken(PLAN + b"Content-Length: 2\r\n\r\n{}", dice),
    "a broken line": lambda dice: b"%b%b/%b %b\r\n\r\n" % (words(dice, 9), token(dice), words(dice, 9), words(dice, 9)),
    "a version of its own": lambda dice: b"GET / HTTP/%d.%d\r\n\r\n" % (dice.randrange(99), dice.randrange(99)),
    "a method of its own": lambda dice: words(dice, 30).upper() + b" /v1/plan HTTP/1.1\r\nHost: x\r\n\r\n",
    "length and chunks": lambda dice: (
        PLAN + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % dice.randrange(99) + MODELS
    ),
    "two lengths": lambda dice: PLAN + b"Content-Length: 2\r\nContent-Length: %d\r\n\r\n{}" % dice.randrange(3, 99),
    "a strange length": lambda dice: (
        PLAN + b"Content-Length: " + dice.choice([b"-1", b"+2", b"0x2", b"2,2", b"1e1", b"9" * 40, b""]) + b"\r\n\r\n{}"
    ),
    "a strange coding": lambda dice: (
        PLAN + b"Transfer-Encoding: " + dice.choice([b"gzip", b"chunked, gzip", b"x", b"\x0bchunked"]) + b"\r\n\r\n"
    ),
    "a strange chunk": lambda dice: (
        PLAN
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + dice.choice([b"-1", b"z", b"f" * 20, b"1;" + b"x" * 9999, b" 1", b"0x1"])
        + b"\r\n \r\n"
    ),
    "bad names": lambda dice: b"GET /v1/models HTTP/1.1\r\nHost%b: x\r\n\r\n" % token(dice),
    "bad values": lambda dice: b"GET /v1/models HTTP/1.1\r\nHost: x%bInjected: y\r\n\r\n" % token(dice),
    "many fields": lambda dice: b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * dice.randrange(1, 9000) + b"\r\n",
    "a path from nowhere": lambda dice: b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"../" * dice.randrange(1, 400)),
    "another protocol": lambda dice: dice.choice(
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(500),
            b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n" + dice.randbytes(99),
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + dice.randbytes(99),
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
        ]
    ),
    "requests one after another": lambda dice: MODELS * dice.randrange(2, 50) + dice.randbytes(9),
    "leaves in the middle": lambda dice: (PLAN + b"Content-Length: 5000\r\n\r\n" + b" " * 4999)[: dice.randrange(5000)],
    "waits to be told": lambda dice: (
        PLAN + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % dice.randrange(10**9)
    ),
}
LARGE: dict[str, tuple[bytes, int]] = {
    "a header of 100 KB": (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    "a header without an end": (b"GET / HTTP/1.1\r\nX: " + b"x" * 600_000, 431),
    "an address of 100 KB": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
    "a million chunks": (PLAN + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 10**6, 413),
    "chunks wrapped in words": (
        PLAN + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"x" * 4096 + b"\r\n \r\n") * 9000,
        413,
    ),
    "a trailer of 100 KB": (PLAN + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", 431),
}


@pytest.fixture(scope="module")
def server(checkpoints: Path) -> Iterator[ServerProcess]:
    with server_process(checkpoints, header_timeout_s=1, receive_timeout_s=2, send_timeout_s=1) as running:
        yield running


def answer_to(server: ServerProcess, stream: bytes, patience_s: float = 0.2) -> bytes:
    """All that comes back until the server closes or falls silent, between two answers or before the first."""
    address = ("127.0.0.1", server.http_port)
    answer = b""
    with socket.create_connection(address, timeout=5, source_address=(ATTACKER, 0)) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(stream)
        with contextlib.suppress(OSError):
            connection.settimeout(patience_s)
            while data := connection.recv(65536):
                answer += data
                connection.settimeout(patience_s if ends_whole(answer) else 5)
    return answer


def ends_whole(answers: bytes) -> bool:
    """Whether the last answer has the body that its head announced: a busy server may pause in between."""
    while answers:
        head, separator, rest = answers.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if not separator or len(rest) < size:
            return False
        answers = rest[size:]
    return True


def check(answer: bytes) -> None:
    """Every answer is HTTP; every refusal is a problem that tells nothing of our insides."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head or head.startswith(b"HTTP/1.1 100 "):
        return
    status = int(head.split(b" ", 2)[1])
    assert head.startswith(b"HTTP/1.1 ") and status < 500, answer
    assert b"nosniff" in head, answer
    if status >= 400:
        assert b"application/problem+json" in head, answer
        problem, _ = json.JSONDecoder().raw_decode(body.decode())
        assert problem["status"] == status and problem["request_id"]
    assert b"Traceback" not in answer and b".py" not in answer and b"0x" not in body


def storm(server: ServerProcess, rounds: range) -> None:
    for seed in rounds:
        dice = random.Random(seed)
        name = dice.choice(list(STREAMS))
        try:
            check(answer_to(server, STREAMS[name](dice), patience_s=0.02))
        except Exception as error:
            raise AssertionError(f"seed {seed}, {name}") from error


@pytest.mark.parametrize("stream", STREAMS)
def test_every_kind_is_refused_or_answered(server: ServerProcess, stream: str) -> None:
    for seed in range(2):
        check(answer_to(server, STREAMS[stream](random.Random(seed))))


@pytest.mark.parametrize("stream", LARGE)
def test_what_is_large_is_refused_while_it_comes(server: ServerProcess, stream: str) -> None:
    data, status = LARGE[stream]
    before = server.rss_bytes()
    answer = answer_to(server, data, patience_s=3)
    check(answer)
    assert not answer or answer.startswith(b"HTTP/1.1 %d" % status), answer[:200]  # a reset may outrun the answer
    assert server.rss_bytes() - before < 8 * 2**20
    assert server.plan() == 200


@pytest.mark.parametrize(
    "streams", [pytest.param(200, id="200 streams"), pytest.param(2000, id="2000 streams", marks=pytest.mark.slow)]
)
def test_a_storm_leaves_no_trace(server: ServerProcess, streams: int, measure: Measure) -> None:
    alone = healthy_alone(server.http_port, 2)
    with Healthy(server.http_port):
        storm(server, range(-200, 0))  # caches and pools fill once
    before = server.rss_bytes()
    with Healthy(server.http_port) as robot:
        storm(server, range(streams))
    grown = (server.rss_bytes() - before) / 2**20 / (streams / 100)
    assert set(robot.statuses) == {200} and server.plan() == 200
    measure(f"memory for each 100 of {streams} hostile streams", grown, at_most=GROWTH_MIB_PER_100, unit="MiB")
    if streams == 2000:  # on a machine that tests something else beside, a short run tells only the worst of that
        measure("healthy p99 beside hostile streams", robot.slower_than(alone), at_most=2.0, unit="x")
