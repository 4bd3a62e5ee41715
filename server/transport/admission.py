"""Shares of the server for each client. A request beyond its client's share is refused before it is read."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from server.errors import Code, ServiceError
from server.settings import Settings

_REMEMBERED_CLIENTS = 4096
"""Most clients to remember; the longest idle is forgotten. It bounds the memory that many addresses can fill."""


class Admission:
    """Shared by both transports; belongs to one event loop.

    A client is its credential and address. Each may have a share of the places and of the buffered bytes, and a number
    of requests per second, saved up for one second, so that a flood of one client leaves the rest to the others.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._receiving = asyncio.Semaphore(self._receivers)
        self._bytes = 0

    @contextmanager
    def place(self, name: str, *, streams: bool = False) -> Iterator["Place"]:
        """Place of a request, from its header to the end of its answer. Raises ServiceError (rate-limited).

        A stream (`streams`) is mostly idle, so it counts against connections instead of places.
        """
        client = self.spend(name)
        places = self._settings.max_connections if streams else self._settings.max_in_flight
        taken, most = client.streams if streams else client.requests, self.share_of(places)
        if most <= taken < places:  # a full server refuses by itself
            noun = "streams" if streams else "requests"
            raise _rate_limited(f"{taken} {noun} of this client are under way; it may have {most} at one time", 0.1)
        place = Place(self, client)
        client.streams += streams
        client.requests += not streams
        try:
            yield place
        finally:
            place.resize(0)
            client.streams -= streams
            client.requests -= not streams

    def spend(self, name: str) -> "_Client":
        """Count one request of this client. Raises ServiceError (rate-limited)."""
        now, rate = self._clock(), self._settings.max_requests_per_s_per_client
        client = self._clients.setdefault(name, _Client(self.share_of(self._receivers), allowance=rate, at=now))
        self._clients.move_to_end(name)
        self._forget_idle()
        client.allowance = min(rate, client.allowance + (now - client.at) * rate)
        client.at = now
        if client.allowance < 1:
            raise _rate_limited(f"this client may ask {rate} times a second", (1 - client.allowance) / rate)
        client.allowance -= 1
        return client

    def share_of(self, amount: int) -> int:
        """One client's share of an amount."""
        return math.ceil(self._settings.max_share_per_client * amount)

    @property
    def buffered_bytes(self) -> int:
        return self._bytes

    @property
    def _receivers(self) -> int:
        return max(1, self._settings.max_buffered_bytes // self._settings.max_body_bytes)

    def _grow(self, client: "_Client", size: int) -> None:
        budget = self._settings.max_buffered_bytes
        if size > 0 and client.bytes + size > self.share_of(budget):
            raise _rate_limited(f"this client has {client.bytes} bytes of requests under way", 0.1)
        if size > 0 and self._bytes + size > budget:
            detail = f"the server holds {self._bytes} bytes of requests; ask again later, or send smaller images"
            raise ServiceError(Code.QUEUE_FULL, detail, retry_after_ms=1000)
        client.bytes += size
        self._bytes += size

    def _forget_idle(self) -> None:
        while len(self._clients) > _REMEMBERED_CLIENTS:
            name = next((name for name, client in self._clients.items() if not client.busy), None)
            if name is None:
                return
            del self._clients[name]


class Place:
    """Place of an admitted request."""

    def __init__(self, admission: Admission, client: "_Client") -> None:
        self._admission = admission
        self._client = client
        self._size = 0

    def resize(self, size: int) -> None:
        """Note that its body now takes `size` bytes of memory. Raises ServiceError (rate-limited, queue-full)."""
        self._admission._grow(self._client, size - self._size)
        self._size = size

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator[None]:
        """Wait until another message fits into memory even if it has the largest size allowed."""
        async with self._client.receiving, self._admission._receiving:
            yield


class _Client:
    def __init__(self, receivers: int, *, allowance: float, at: float) -> None:
        self.requests = 0
        self.streams = 0
        self.bytes = 0
        self.receiving = asyncio.Semaphore(receivers)
        self.allowance = allowance
        self.at = at

    @property
    def busy(self) -> bool:
        return bool(self.requests or self.streams or self.bytes)


def _rate_limited(reason: str, retry_after_s: float) -> ServiceError:
    detail = f"{reason}; ask less often"
    return ServiceError(Code.RATE_LIMITED, detail, retry_after_ms=max(1, round(retry_after_s * 1e3)))
