"""The same request twice gets the same answer, and is worked on once."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from server.errors import Code, ServiceError

T = TypeVar("T")


@dataclass(frozen=True)
class _Reply(Generic[T]):
    expires: float
    digest: bytes
    future: "asyncio.Future[T]"


class Replays(Generic[T]):
    """Answers by the key of their request, for a while. Failures are not kept: asking again is asking anew."""

    def __init__(self, *, ttl_s: float, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._clock = clock
        self._replies: OrderedDict[tuple[str, ...], _Reply[T]] = OrderedDict()

    async def once(self, key: tuple[str, ...], digest: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to this key, from `work` unless it is there or on its way.

        Raises ServiceError (idempotency-conflict) when the key came with another request, and what `work` raises.
        """
        while (known := self._known(key)) is not None:
            if known.digest != digest:
                detail = "this key was used for another request a moment ago; draw a new one for each request"
                raise ServiceError(Code.IDEMPOTENCY_CONFLICT, detail)
            await asyncio.wait([known.future])
            if not known.future.cancelled():
                return known.future.result()
        reply = _Reply[T](self._clock() + self._ttl_s, digest, asyncio.get_running_loop().create_future())
        self._remember(key, reply)
        try:
            reply.future.set_result(await work())
            return reply.future.result()
        finally:
            if not reply.future.done():
                reply.future.cancel()
                if self._replies.get(key) is reply:
                    del self._replies[key]

    def __len__(self) -> int:
        return len(self._replies)

    def _known(self, key: tuple[str, ...]) -> _Reply[T] | None:
        reply = self._replies.get(key)
        return reply if reply is not None and self._clock() < reply.expires else None

    def _remember(self, key: tuple[str, ...], reply: _Reply[T]) -> None:
        """Times run on in one direction, so the oldest is the first to go."""
        self._replies[key] = reply
        self._replies.move_to_end(key)
        while len(self._replies) > self._capacity or next(iter(self._replies.values())).expires <= self._clock():
            self._replies.popitem(last=False)
