"""The OpenAPI document. Its request bodies are added here, since the server parses and validates them itself."""

import json
from functools import cache
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from server import schemas
from server.call import LONGEST_MS, MAX_KEY
from server.transport.examples import EXAMPLES

_REFERENCE = "#/components/schemas/{model}"
_ABOUT = """\
A robot sends what its sensors give and what they should give; the answer is the actions that get there. Times are in
ms or us as their names say, actions and readings in the units of `/v1/models`. What is wrong is refused with a problem
that names the field; nothing is clamped.

An observation has exactly the sensors that `/v1/models` lists for the model: cameras in `images`, vectors in `arrays`,
as lists of numbers or as tensors. Those captured at another time than the others say when in `capture_times_us`.

A reply belongs to one request: compare `request_id` and, in a session, `session_epoch`; execute `chunk.actions` from
control step `chunk.first_step` on. Stop or hold when `chunk.valid_for_ms` is over without a newer plan. Images may also
be parts of a multipart form: `{"part": "name", "format": "png"}` in place of `encoded`. gRPC (`telos.v1.Planner`) has
the same messages, and streams observations too.
"""
_BODIES = (
    schemas.PlanRequest,
    schemas.PlanStreamResponse,
    schemas.Problem,
    schemas.AnomalyRequest,
    schemas.EncodeRequest,
    schemas.CreateSessionRequest,
)
_PROBLEM = {
    "description": "RFC 9457 problem; `code` is what to decide on.",
    "content": {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
}
_HEADERS = [
    {
        "name": "Request-Timeout-Ms",
        "in": "header",
        "required": False,
        "description": "The answer must have left by then, counted from the request's arrival; else there is none.",
        "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_MS},
    },
    {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Of plans. The same request with the same key gets the same answer for 30 s.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$"},
    },
]


def accepts(kind: type[schemas.Wire], *, headers: bool = True) -> dict[str, Any]:
    """Request body of an operation: JSON, or a form whose part `request` is that JSON."""
    schema = {"$ref": _REFERENCE.format(model=kind.__name__)}
    form = {"type": "object", "properties": {"request": schema}, "required": ["request"]}
    content = {
        "application/json": {"schema": schema, "examples": EXAMPLES[kind]},
        "multipart/form-data": {"schema": form},
    }
    described = {"requestBody": {"required": True, "content": content}, "responses": {"default": _PROBLEM}}
    return described | ({"parameters": _HEADERS} if headers else {})


def describe(app: FastAPI) -> None:
    """Give `app` its document, which is built and serialised on the first request only, since it is large."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, description=_ABOUT, routes=app.routes, servers=[{"url": "/"}]
            )
            components = made.setdefault("components", {}).setdefault("schemas", {})
            for kind in _BODIES:
                schema = kind.model_json_schema(ref_template=_REFERENCE)
                components |= schema.pop("$defs", {}) | {kind.__name__: schema}
            _describe_refusals(made)
            app.openapi_schema = made
        return app.openapi_schema

    @cache
    def written() -> bytes:
        return json.dumps(document()).encode()

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(written(), media_type="application/json")

    app.openapi = document  # type: ignore[method-assign]


def _describe_refusals(document: dict[str, Any]) -> None:
    """Add the problems to every operation, and remove FastAPI's own form of 422, which is never sent."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"].setdefault("default", _PROBLEM)
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
