"""The OpenAPI document: what FastAPI cannot know, because bodies are read and validated by us."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from server import schemas

_REFERENCE = "#/components/schemas/{model}"
_BODIES = (
    schemas.PlanRequest,
    schemas.PlanStreamResponse,
    schemas.AnomalyRequest,
    schemas.EncodeRequest,
    schemas.CreateSessionRequest,
)
_PROBLEM = {
    "description": "RFC 9457 problem; `code` is what to decide on.",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                    "request_id": {"type": "string"},
                    "retryable": {"type": "boolean"},
                    "retry_after_ms": {"type": "integer"},
                    "errors": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"pointer": {"type": "string"}, "reason": {"type": "string"}},
                            "required": ["pointer", "reason"],
                        },
                    },
                },
                "required": ["type", "title", "status", "detail", "code", "request_id", "retryable", "errors"],
            }
        }
    },
}


def accepts(kind: type[BaseModel]) -> dict[str, Any]:
    """The request body of an operation: JSON, or a form whose part `request` is that JSON."""
    schema = {"$ref": _REFERENCE.format(model=kind.__name__)}
    form = {"type": "object", "properties": {"request": schema}, "required": ["request"]}
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}, "responses": {"default": _PROBLEM}}


def describe(app: FastAPI) -> None:
    """Give `app` its document, made when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, routes=app.routes)
            components = made.setdefault("components", {}).setdefault("schemas", {})
            for kind in _BODIES:
                schema = kind.model_json_schema(ref_template=_REFERENCE)
                components |= schema.pop("$defs", {}) | {kind.__name__: schema}
            _describe_refusals(made)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _describe_refusals(document: dict[str, Any]) -> None:
    """Any operation may be refused, also by what stands in front. FastAPI's own 422 is of a form that is never sent."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"].setdefault("default", _PROBLEM)
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
