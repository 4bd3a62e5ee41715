"""Stream of a moving robot: observations in, plans out.

At most one plan is under way and one observation waits. A newer observation replaces the waiting one, and both get an
answer. Observations do not interrupt the plan under way, or a fast camera would never let one end; new goals do.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from server import schemas
from server.errors import Code, ServiceError, internal
from server.service import Service
from server.stream_context import StreamContext
from server.validation import new_request_id

log = logging.getLogger("telos")

Send = Callable[[schemas.PlanStreamResponse], Awaitable[None]]

MAX_UNSENT = 64
"""Most answers that wait for the robot to read. With more, no event is read from it and incumbents are dropped."""


@dataclass(frozen=True, eq=False)
class _Job:
    request: schemas.PlanRequest
    seq: int | None

    @property
    def request_id(self) -> str:
        return self.request.request_id or ""


class PlanStream:
    """Stream of one robot. `send` waits while the robot does not read, for at most `send_timeout_s` an answer."""

    def __init__(self, service: Service, send: Send, *, send_timeout_s: float, grace_s: float) -> None:
        self._service = service
        self._send = send
        self._send_timeout_s = send_timeout_s
        self._grace_s = grace_s
        self._context: StreamContext | None = None
        self._unsent: asyncio.Queue[schemas.PlanStreamResponse | None] = asyncio.Queue(MAX_UNSENT)
        self._waiting: _Job | None = None
        self._woken = asyncio.Event()
        self._over = False
        self._current: tuple[_Job, asyncio.Task[schemas.PlanResponse]] | None = None

    async def run(self, events: AsyncIterator[schemas.PlanStreamRequest]) -> None:
        """Serve until the robot ends its side or the server shuts down; accepted requests are finished.

        Raises ServiceError for an event that is not valid, and for a robot that does not read (slow-reader).
        """
        reading, planning, writing = (
            asyncio.ensure_future(each) for each in (self._read(events), self._plan_all(), self._write())
        )
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
                await asyncio.wait({planning, writing}, return_when=asyncio.FIRST_COMPLETED)
                if planning.done():
                    planning.result()
                    ending = asyncio.ensure_future(self._unsent.put(None))
                    await asyncio.wait({writing})
                    ending.cancel()
            writing.result()
        finally:
            for each in (reading, planning, writing):
                each.cancel()
            await asyncio.gather(reading, planning, writing, return_exceptions=True)
            if self._context is not None:
                self._context.close()

    async def _read(self, events: AsyncIterator[schemas.PlanStreamRequest]) -> None:
        draining = asyncio.ensure_future(self._service.drained.wait())
        try:
            while (event := await _next(events, draining)) is not None:
                await self._take(event)
        finally:
            draining.cancel()
        if self._service.drained.is_set():
            drain = schemas.Drain(grace_ms=round(self._grace_s * 1e3))
            await self._unsent.put(schemas.PlanStreamResponse(drain=drain))
        self._over = True
        self._woken.set()

    async def _take(self, event: schemas.PlanStreamRequest) -> None:
        context = self._context
        if context is None:
            if event.open is None:
                raise ServiceError(Code.VALIDATION_FAILED, "the first event of a stream must be open; send it first")
            self._context = StreamContext(self._service, event.open)
            await self._ask(self._context.request(event.open.request_id), event.seq)
        elif event.open is not None:
            raise ServiceError(Code.VALIDATION_FAILED, "the stream is open already; open a second one beside it")
        elif event.observation is not None:
            context.see(event.observation)
            request = context.request(event.observation.request_id, event.observation.committed_actions)
            await self._ask(request, event.seq)
        elif event.goals is not None:
            context.aim(event.goals.goals)
            await self._ask(context.request(event.goals.request_id), event.seq)
        elif event.progress is not None:
            context.progress(event.progress.executed_step)
        elif event.cancel_request_id is not None:
            await self._cancel(event.cancel_request_id)

    async def _ask(self, request: schemas.PlanRequest, seq: int | None) -> None:
        replaced, self._waiting = self._waiting, _Job(request, seq)
        self._woken.set()
        if replaced is not None:
            await self._unsent.put(_superseded(replaced))

    async def _cancel(self, request_id: str) -> None:
        """Cancel a request, unless it has been answered."""
        if self._waiting is not None and self._waiting.request_id == request_id:
            cancelled, self._waiting = self._waiting, None
            await self._unsent.put(_problem(cancelled, _cancelled()))
        elif self._current is not None and self._current[0].request_id == request_id:
            self._current[1].cancel()

    async def _plan_all(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting is not None:
                job, self._waiting = self._waiting, None
                await self._unsent.put(await self._plan(job))
            if self._over:
                return

    async def _plan(self, job: _Job) -> schemas.PlanStreamResponse:
        def tell(incumbent: schemas.PlanResponse) -> None:
            if not self._unsent.full():
                self._unsent.put_nowait(schemas.PlanStreamResponse(incumbent=incumbent, seq=job.seq))

        planning = asyncio.ensure_future(self._service.plan(job.request, tell))
        self._current = job, planning
        try:
            await asyncio.wait({planning})
            if planning.cancelled():
                return _problem(job, _cancelled())
            return schemas.PlanStreamResponse(final=planning.result(), seq=job.seq)
        except ServiceError as error:
            return _superseded(job) if error.code is Code.SUPERSEDED else _problem(job, error)
        except Exception:
            log.exception("request %s of a stream failed", job.request_id)
            return _problem(job, internal())
        finally:
            self._current = None
            planning.cancel()

    async def _write(self) -> None:
        while (response := await self._unsent.get()) is not None:
            try:
                async with asyncio.timeout(self._send_timeout_s):
                    await self._send(response)
            except TimeoutError:
                detail = f"an answer was not read within {self._send_timeout_s:g} s; read them as they come"
                raise ServiceError(Code.SLOW_READER, detail) from None


async def _next(
    events: AsyncIterator[schemas.PlanStreamRequest], stop: "asyncio.Future[Any]"
) -> schemas.PlanStreamRequest | None:
    """The next event; None at the end, or when the stream must stop."""
    coming = asyncio.ensure_future(anext(events, None))
    try:
        await asyncio.wait({coming, stop}, return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() else None
    finally:
        coming.cancel()


def _superseded(job: _Job) -> schemas.PlanStreamResponse:
    return schemas.PlanStreamResponse(superseded=schemas.Superseded(request_id=job.request_id), seq=job.seq)


def _problem(job: _Job, error: ServiceError) -> schemas.PlanStreamResponse:
    return schemas.PlanStreamResponse(problem=problem(error, job.request_id), seq=job.seq)


def problem(error: ServiceError, request_id: str) -> schemas.Problem:
    """Message with the fields of application/problem+json."""
    return schemas.Problem.model_validate(error.problem(request_id or new_request_id()))


def _cancelled() -> ServiceError:
    return ServiceError(Code.CANCELLED, "the request was cancelled, as was asked for")
