"""Open-loop load: every request leaves when it is due, whether or not earlier ones were answered.

Latency counts from the time when a request was due, not when it could be sent: a server that stalls must not slow the
load down and so look fast (coordinated omission).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import numpy as np

from server.process import no_collections

GIVE_UP_S = 10.0
OK = frozenset({"200", "OK"})
REFUSED = frozenset({"429", "503", "504", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"})


@dataclass(frozen=True)
class Sample:
    due_s: float
    """Seconds from the beginning of the load."""
    latency_s: float
    outcome: str
    """Status of HTTP or gRPC, or the name of another failure."""


class LoadTarget(Protocol):
    """A server that receives the load."""

    async def ask(self, body: bytes) -> str:
        """Send one request and return its status."""
        ...

    async def close(self) -> None: ...


async def offer(
    target: LoadTarget, bodies: Sequence[bytes], rate_per_s: float, seconds: float, seed: int
) -> list[Sample]:
    """Send requests with Poisson arrivals. Returns when the last one was answered or given up.

    Garbage collection is off: a full collection of this process, 100 ms and more, would count as latency.
    """
    dice = np.random.default_rng(seed)
    due = np.cumsum(dice.exponential(1 / rate_per_s, max(1, round(rate_per_s * seconds))))
    began = time.perf_counter() + 0.05

    async def one(due_s: float, body: bytes) -> Sample:
        await asyncio.sleep(began + due_s - time.perf_counter())
        try:
            outcome = await asyncio.wait_for(target.ask(body), GIVE_UP_S)
        except (OSError, asyncio.IncompleteReadError) as error:  # TimeoutError is an OSError
            outcome = type(error).__name__
        return Sample(due_s, time.perf_counter() - began - due_s, outcome)

    with no_collections():
        return await asyncio.gather(*(one(float(at), bodies[i % len(bodies)]) for i, at in enumerate(due)))


def summary(samples: Sequence[Sample], seconds: float, deadline_s: float) -> dict[str, Any]:
    """The results of a load of `seconds`. Goodput counts the plans that came before the deadline."""
    ok = [sample.latency_s for sample in samples if sample.outcome in OK]
    refused = [sample.latency_s for sample in samples if sample.outcome in REFUSED]
    return {
        "requests": len(samples),
        "goodput_per_s": round(sum(latency <= deadline_s for latency in ok) / seconds, 2),
        "outcomes": dict(Counter(sample.outcome for sample in samples)),
        "accepted_ms": quantiles_ms(ok),
        "refused_ms": quantiles_ms(refused),
    }


def quantiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """The quantiles p50, p95, p99 and max, in milliseconds; empty when nothing was measured."""
    names = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    return {name: round(1e3 * float(np.percentile(seconds, q)), 2) for name, q in names.items()} if seconds else {}


class HttpTarget:
    """Sends POST requests over kept connections, one for each request under way."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, body: bytes) -> str:
        """The status, as text. Like a robot's client, this replaces a kept connection that the server has closed."""
        while self._idle:
            reader, writer = self._idle.pop()
            try:
                return await self._exchange(reader, writer, body)
            except (ConnectionError, asyncio.IncompleteReadError):
                continue
        return await self._exchange(*await asyncio.open_connection("127.0.0.1", self._port), body)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> str:
        try:
            writer.write(f"{self._head}{len(body)}\r\n\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        except BaseException:
            writer.transport.abort()  # a late answer must not meet the next request
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return head[9:12].decode()

    async def close(self) -> None:
        """Close the connections that no request uses."""
        for _, writer in self._idle:
            writer.close()


class GrpcTarget:
    """Sends calls over one channel, as bytes."""

    def __init__(self, port: int, method: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._call = self._channel.unary_unary(f"/telos.v1.Planner/{method}")

    async def ask(self, body: bytes) -> str:
        """The name of the status."""
        try:
            await self._call(body)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()
