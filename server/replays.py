"""Repeated requests: a request that arrives twice is processed once, and both get the same answer."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from server.call import Call
from server.digest import digest
from server.errors import Code, ServiceError
from server.schemas import PlanRequest
from server.session import RobotSession

T = TypeVar("T")


@dataclass(frozen=True)
class _KeptReply(Generic[T]):
    expires: float
    said: bytes
    future: "asyncio.Future[T]"


class Replays(Generic[T]):
    """Answers by the key of their request, kept for a while. Failures are not kept: a new attempt starts again."""

    def __init__(self, *, ttl_s: float, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._capacity = capacity
        self._clock = clock
        self._replies: OrderedDict[tuple[str, ...], _KeptReply[T]] = OrderedDict()

    async def once(self, key: tuple[str, ...], said: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer for this key: the kept one, the one under way, or else the result of `work`.

        Raises ServiceError (idempotency-conflict) when the key came with other contents, and whatever `work` raises.
        """
        while (known := self._known(key)) is not None:
            if known.said != said:
                detail = "this key was used for another request a moment ago; draw a new one for each request"
                raise ServiceError(Code.IDEMPOTENCY_CONFLICT, detail)
            await asyncio.wait([known.future])
            if not known.future.cancelled():
                return known.future.result()
        reply = _KeptReply[T](self._clock() + self._ttl_s, said, asyncio.get_running_loop().create_future())
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

    def _known(self, key: tuple[str, ...]) -> _KeptReply[T] | None:
        reply = self._replies.get(key)
        return reply if reply is not None and self._clock() < reply.expires else None

    def _remember(self, key: tuple[str, ...], reply: _KeptReply[T]) -> None:
        """Keep a reply. All are kept for the same time, so the oldest expires first."""
        self._replies[key] = reply
        self._replies.move_to_end(key)
        while len(self._replies) > self._capacity or next(iter(self._replies.values())).expires <= self._clock():
            self._replies.popitem(last=False)


def replay_key(request: PlanRequest, session: RobotSession | None, call: Call) -> tuple[str, ...] | None:
    """The key of a plan request; None without a session or key of its own, when its seed makes it safe to repeat."""
    if call.idempotency_key is not None:
        return ("key", call.idempotency_key)
    if session is None:
        return None
    return ("request", session.session_id, str(session.epoch), request.request_id or "")


def contents(request: PlanRequest, session: RobotSession | None) -> bytes:
    """Digest of a request without its id. A reset of its session changes it."""
    said = request.model_dump(exclude={"request_id"})
    return digest([said, None if session is None else session.epoch])
