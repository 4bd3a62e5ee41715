"""Operator's API, on a listener that only this machine reaches: loads and unloads models while robots plan.

A model is named by its folder in the checkpoints folder. Nothing is fetched from elsewhere.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from server import schemas
from server.errors import ServiceError
from server.observability.metrics import CONTENT_TYPE
from server.observability.observer import observed
from server.schemas.values import Identifier
from server.service import Service
from server.settings import Settings
from server.transport.admission import Admission
from server.transport.http_gate import Gate
from server.transport.http_observed import ObservedRequests
from server.transport.problem import problem_response
from server.validation import new_request_id, read_json, validate
from telos import __version__


class Alias(schemas.Wire):
    """Another name for a model."""

    alias: Identifier


def admin_app(service: Service, settings: Settings, admission: Admission) -> FastAPI:
    """ASGI application, guarded by the server's token if it has one."""
    app = FastAPI(title="Telos administration", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, settings=settings, admission=admission)
    app.add_middleware(ObservedRequests, observer=service.observer)

    @app.post("/v1/models/{name}/load", response_model=schemas.ModelInfo)
    async def load(name: str) -> Response:
        return await _told(lambda: service.load_model(name))

    @app.post("/v1/models/{name}/unload", response_model=schemas.ModelInfo)
    async def unload(name: str) -> Response:
        return await _told(lambda: service.unload_model(name))

    @app.post("/v1/models/{name}/alias", response_model=schemas.ModelInfo)
    async def alias(name: str, request: Request) -> Response:
        async def give() -> schemas.ModelInfo:
            asked = validate(Alias, read_json(await request.body()))
            return service.alias_model(name, asked.alias)

        return await _told(give)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics(), media_type=CONTENT_TYPE)

    return app


async def _told(operation: Callable[[], Coroutine[Any, Any, schemas.ModelInfo]]) -> Response:
    observed().request_id = request_id = new_request_id()
    try:
        return Response((await operation()).model_dump_json(), media_type="application/json")
    except ServiceError as error:
        return problem_response(error, request_id)
