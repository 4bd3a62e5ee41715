"""Turns an untrusted dictionary into a request, or into an error that names every wrong field."""

import math
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from server.arrays import NonFiniteError
from server.errors import MAX_FIELD_ERRORS, Code, ServiceError, refuse
from server.schemas import Wire
from telos import FieldError

W = TypeVar("W", bound=Wire)

_MAX_ECHO = 64
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises ServiceError (malformed-request)."""
    try:
        payload = from_json(body, allow_inf_nan=True)  # validation then names the field that is not finite
    except ValueError as error:
        raise ServiceError(Code.MALFORMED_REQUEST, f"the body is not JSON: {error}; send one JSON object") from None
    if not isinstance(payload, dict):
        raise ServiceError(Code.MALFORMED_REQUEST, f"the body is a JSON {type(payload).__name__}; send one JSON object")
    return payload


def validate(kind: type[W], payload: Mapping[str, Any]) -> W:
    """Raises ServiceError (validation-failed, non-finite-input) with a JSON pointer for each field."""
    try:
        return kind.model_validate(payload)
    except ValidationError as error:
        details = error.errors(include_url=False)
    code = Code.NON_FINITE_INPUT if all(_is_non_finite(d) for d in details) else Code.VALIDATION_FAILED
    fields = [FieldError(pointer_to(*d["loc"]), _reason(d)) for d in details[:MAX_FIELD_ERRORS]]
    noun = "field is" if len(details) == 1 else "fields are"
    raise ServiceError(code, f"{len(details)} {noun} not valid: {fields[0].pointer or '/'}: {fields[0].reason}", fields)


def request_id_of(payload: Mapping[str, Any]) -> str:
    """The client's request_id if it is valid, else a new one. Answers to invalid requests have one too."""
    given = payload.get("request_id")
    return given if isinstance(given, str) and _IDENTIFIER.fullmatch(given) else new_request_id()


def new_request_id() -> str:
    return secrets.token_hex(8)


def shorten(text: str) -> str:
    """A client's text, shortened and printable, so that an error can repeat it."""
    kept = text if len(text) <= _MAX_ECHO else text[:_MAX_ECHO] + "…"
    return "".join(c if c.isprintable() else "?" for c in kept)


def unknown_model(name: str, known: Iterable[str]) -> ServiceError:
    """Error for a model name that is not known."""
    given = f"given '{shorten(name)}'; this server has {', '.join(sorted(known))}"
    return refuse(Code.MODEL_NOT_FOUND, "/model/name", given)


def pointer_to(*location: int | str) -> str:
    """JSON pointer (RFC 6901), with names shortened and printable."""
    return "".join("/" + shorten(str(part)).replace("~", "~0").replace("/", "~1") for part in location)


def _is_non_finite(detail: ErrorDetails) -> bool:
    return detail["type"] == "finite_number" or isinstance(detail.get("ctx", {}).get("error"), NonFiniteError)


def _reason(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return "this field is not known; remove it or check its spelling"
    if detail["type"] == "missing":
        return "this field is missing; it is required"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return f"given {_given(detail['input'])}; {message}"


def _given(value: Any) -> str:
    """A client's value as a few safe words."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) < 2**64:
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "a number that is not finite"
    if isinstance(value, str):
        return f"'{shorten(value)}'"
    return {list: "a list", dict: "an object", bytes: "bytes"}.get(type(value), "something else")


def check_most(given: int, most: int, pointer: str, noun: str = "") -> None:
    """Raises ServiceError if a request asks for more than the limit."""
    if given > most:
        reason = f"given {given} {noun}".rstrip() + f"; at most {most} are allowed here"
        raise refuse(Code.VALIDATION_FAILED, pointer, reason)
