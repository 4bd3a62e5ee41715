"""Plan stream over HTTP: one line of JSON for each incumbent (NDJSON)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from server import schemas
from server.call import Call
from server.errors import ServiceError, internal
from server.plan_stream import MAX_UNSENT, problem
from server.service import Service

log = logging.getLogger("telos")

LINES: dict[str, Any] = {
    "description": "One PlanStreamResponse a line: incumbents, then the final plan or a problem.",
    "content": {"application/x-ndjson": {"schema": {"$ref": "#/components/schemas/PlanStreamResponse"}}},
}


class LineStream(StreamingResponse):
    media_type = "application/x-ndjson"


async def plan_lines(service: Service, request: schemas.PlanRequest, call: Call) -> LineStream:
    """Lines that begin with the first incumbent. Raises ServiceError for a problem before it."""
    lines: asyncio.Queue[schemas.PlanStreamResponse | ServiceError] = asyncio.Queue(MAX_UNSENT)

    def tell(incumbent: schemas.PlanResponse) -> None:
        if not lines.full():
            lines.put_nowait(schemas.PlanStreamResponse(incumbent=incumbent))

    async def work() -> None:
        try:
            await lines.put(schemas.PlanStreamResponse(final=await service.plan(request, tell, call)))
        except ServiceError as error:
            await lines.put(error)
        except Exception:
            log.exception("request %s failed", request.request_id)
            await lines.put(internal())

    working = asyncio.ensure_future(work())
    try:
        first = await lines.get()
        if isinstance(first, ServiceError):
            raise first
    except BaseException:
        working.cancel()
        raise
    return LineStream(_lines(first, lines, working, request.request_id or ""))


async def _lines(
    line: schemas.PlanStreamResponse | ServiceError,
    lines: "asyncio.Queue[schemas.PlanStreamResponse | ServiceError]",
    working: "asyncio.Task[None]",
    request_id: str,
) -> AsyncIterator[str]:
    try:
        while isinstance(line, schemas.PlanStreamResponse) and line.incumbent is not None:
            yield _written(line)
            line = await lines.get()
        if isinstance(line, ServiceError):
            line = schemas.PlanStreamResponse(problem=problem(line, request_id))
        yield _written(line)
    finally:
        working.cancel()


def _written(line: schemas.PlanStreamResponse) -> str:
    unset = {name for name in type(line).model_fields if getattr(line, name) is None}
    return line.model_dump_json(exclude=unset) + "\n"
