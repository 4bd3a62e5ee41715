"""A request of a session that is being worked on, and how something newer takes its place."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from server import schemas
from server.errors import ServiceError

T = TypeVar("T")


class Turn:
    """Of one request. Belongs to one event loop."""

    def __init__(self, request: schemas.PlanRequest) -> None:
        self.step = request.context[-1].step or 0
        """That the robot was at."""
        self._ended: asyncio.Future[ServiceError] = asyncio.get_running_loop().create_future()

    def end(self, error: ServiceError) -> None:
        """What is computed for it is thrown away, also if it is done by now; it is answered with `error`."""
        if not self._ended.done():
            self._ended.set_result(error)

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises ServiceError when the turn was ended."""
        working = asyncio.ensure_future(work)
        working.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, whoever waits
        try:
            await asyncio.wait({working, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                raise self._ended.result()
            return working.result()
        finally:
            working.cancel()
