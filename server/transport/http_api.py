"""HTTP: a thin translation of the service to FastAPI."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from server import schemas
from server.call import Call, of_headers
from server.errors import Code, ServiceError, internal
from server.observability.metrics import CONTENT_TYPE
from server.observability.observer import observed
from server.service import Service
from server.settings import Settings
from server.transport.admission import Admission
from server.transport.http_gate import Gate
from server.transport.http_lines import LINES, LineStream, plan_lines
from server.transport.http_observed import ObservedRequests
from server.transport.http_payload import read_payload
from server.transport.openapi import accepts, describe
from server.transport.problem import problem_response
from server.validation import new_request_id, request_id_of, validate
from telos import __version__

log = logging.getLogger("telos")

T = TypeVar("T")
R = TypeVar("R", bound=schemas.Request)

_CODES = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}


def http_app(service: Service, settings: Settings, admission: Admission) -> FastAPI:
    """The ASGI application, with the gate."""
    app = FastAPI(title="Telos", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, settings=settings, admission=admission)
    app.add_middleware(ObservedRequests, observer=service.observer)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_defect)
    _add_operations(app, service)
    _add_models(app, service)
    _add_sessions(app, service)
    _add_health(app, service)
    describe(app)
    return app


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.post("/v1/plan", response_model=schemas.PlanResponse, openapi_extra=accepts(schemas.PlanRequest))
    async def plan(request: Request) -> Response:
        """Make a plan: actions from the last frame of the context to the active goal."""

        async def operation(asked: schemas.PlanRequest, call: Call) -> schemas.PlanResponse:
            return await service.plan(asked, call=call)

        return await _answer(request, schemas.PlanRequest, operation)

    @app.post(
        "/v1/plan/stream",
        response_class=LineStream,
        openapi_extra=accepts(schemas.PlanRequest),
        responses={200: LINES},
    )
    async def plan_stream(request: Request) -> Response:
        """Make a plan, with a line of JSON for each incumbent. The last line is the final plan or a problem."""

        async def operation(asked: schemas.PlanRequest, call: Call) -> Response:
            return await plan_lines(service, asked, call)

        return await _answer(request, schemas.PlanRequest, operation)

    @app.post("/v1/anomaly", response_model=schemas.AnomalyResponse, openapi_extra=accepts(schemas.AnomalyRequest))
    async def anomaly(request: Request) -> Response:
        """Score how surprising each transition of a clip is, compared with held-out transitions."""
        return await _answer(request, schemas.AnomalyRequest, service.anomaly)

    @app.post("/v1/encode", response_model=schemas.EncodeResponse, openapi_extra=accepts(schemas.EncodeRequest))
    async def encode(request: Request) -> Response:
        """Encode observations into latents, each of which can be a goal later."""
        return await _answer(request, schemas.EncodeRequest, service.encode)


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", response_model=schemas.ListModelsResponse)
    async def models() -> Response:
        """List the models, with their sensors, action names, units, limits and presets."""
        return _json(service.models())

    @app.get("/v1/models/{name}", response_model=schemas.ModelInfo)
    async def model(name: str) -> Response:
        """Describe one model."""

        async def operation() -> schemas.ModelInfo:
            return service.model(name)

        return await _tell(operation)


def _add_sessions(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/sessions",
        response_model=schemas.Session,
        status_code=201,
        openapi_extra=accepts(schemas.CreateSessionRequest, headers=False),
    )
    async def create_session(request: Request) -> Response:
        """Create a session, which remembers a robot's last plan. A plan with a new session_id creates one too."""

        async def operation() -> schemas.Session:
            payload = read_payload(request.headers.get("content-type", ""), await request.body())
            return await service.create_session(validate(schemas.CreateSessionRequest, payload))

        return await _tell(operation, 201)

    @app.get("/v1/sessions/{session_id}", response_model=schemas.Session)
    async def session(session_id: str) -> Response:
        """Describe a session. This does not count as use, so the session still expires."""
        return await _tell(lambda: service.session(_ref(session_id)))

    @app.post("/v1/sessions/{session_id}/reset", response_model=schemas.Session)
    async def reset_session(session_id: str) -> Response:
        """Forget the last plan and discard the one under way. The epoch goes up, and the old one is refused."""
        return await _tell(lambda: service.reset_session(_ref(session_id)))

    @app.delete("/v1/sessions/{session_id}", response_model=schemas.DeleteSessionResponse)
    async def delete_session(session_id: str) -> Response:
        """Delete a session."""
        return await _tell(lambda: service.delete_session(_ref(session_id)))

    @app.get("/v1/time", response_model=schemas.ServerTime)
    async def time() -> Response:
        """Read the server's clock, for `clock_offset`. Jumps of the wall clock do not affect it."""
        return await _tell(lambda: service.time(schemas.ServerTimeRequest()))


def _ref(session_id: str) -> schemas.SessionRef:
    return validate(schemas.SessionRef, {"session_id": session_id})


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"alive": True})

    @app.get("/readyz")
    async def readyz() -> Response:
        reasons = service.why_not_ready()
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(service.metrics(), media_type=CONTENT_TYPE)

    @app.get("/version")
    async def version() -> Response:
        return JSONResponse({"version": __version__, "api": "v1"})


async def _tell(operation: Callable[[], Coroutine[Any, Any, BaseModel]], status: int = 200) -> Response:
    """Answer of an operation that needs no engine."""
    try:
        return _json(await operation(), status)
    except ServiceError as error:
        return problem_response(error, new_request_id())


async def _answer(
    http: Request, kind: type[R], operation: Callable[[R, Call], Coroutine[Any, Any, BaseModel | Response]]
) -> Response:
    """Parse, validate and run a request. Every outcome is a response."""
    request_id = new_request_id()
    try:
        payload = read_payload(http.headers.get("content-type", ""), await http.body())
        request_id = request_id_of(payload)
        request = validate(kind, {"request_id": request_id} | payload)
        observed().request_id = request_id
        answer = await _unless_disconnected(http, operation(request, of_headers(http.headers)))
        return answer if isinstance(answer, Response) else _json(answer)
    except ServiceError as error:
        return problem_response(error, request_id)
    except Exception:
        log.exception("request %s failed", request_id)
        return problem_response(internal(), request_id)


def _json(response: BaseModel, status: int = 200) -> Response:
    return Response(response.model_dump_json(), status, media_type="application/json")


async def _unless_disconnected(http: Request, work: Coroutine[Any, Any, T]) -> T:
    """Result of `work`, which is cancelled if the client disconnects."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(http))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ServiceError(Code.CANCELLED, "the client closed the connection before the answer was ready")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = (
        "what /openapi.json lists: /v1/plan, /v1/anomaly, /v1/encode, /v1/models, /v1/sessions, /v1/time, /healthz, ..."
    )
    code = _CODES.get(error.status_code, Code.MALFORMED_REQUEST)
    return problem_response(ServiceError(code, f"this server answers {known}"), new_request_id())


async def _on_defect(request: Request, error: Exception) -> Response:
    return problem_response(internal(), new_request_id())
