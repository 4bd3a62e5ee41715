"""Parses the body of an HTTP request: JSON, or multipart/form-data with images as separate parts."""

import logging
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.errors import Code, ServiceError, refuse
from server.validation import pointer_to, read_json, shorten

MAX_PARTS = 1024
"""Most parts of a form: the images of a clip of 64 frames with 16 cameras, the default limit of a request."""
logging.getLogger("python_multipart").setLevel(
    logging.ERROR
)  # it warns of every bad byte, so a client could flood the log


def read_payload(content_type: str, body: bytes) -> dict[str, Any]:
    """Dictionary of a body. Raises ServiceError."""
    kind, options = parse_options_header(content_type)
    if kind == b"application/json":
        return read_json(body)
    if kind == b"multipart/form-data":
        return _read_form(body, options.get(b"boundary", b""))
    given = f"content type '{shorten(content_type)}'" if content_type else "no content type"
    wanted = "send application/json, or multipart/form-data with a part 'request'"
    raise ServiceError(Code.UNSUPPORTED_MEDIA_TYPE, f"given {given}; {wanted}")


def _read_form(body: bytes, boundary: bytes) -> dict[str, Any]:
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks)
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise malformed("the form does not follow its boundary; let an HTTP library write it") from None
    if not form.complete:
        raise malformed("the form is cut off; send it to its last boundary")
    if "request" not in form.parts:
        raise malformed("the form has no part 'request'; send the JSON of the request there")
    payload = read_json(form.parts.pop("request"))
    unused = set(form.parts)
    payload = _attach(payload, form.parts, unused, "")
    if unused:
        unknown = f"part '{shorten(min(unused))}' is referenced by no image of the request"
        raise malformed(f"{unknown}; name it there as 'part', or leave it out")
    return payload


def malformed(reason: str) -> ServiceError:
    return ServiceError(Code.MALFORMED_REQUEST, reason)


class _Form:
    """Collects parts by name for the parser. The body is already in memory, so no part goes to disk."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.complete = False
        self._header = b""
        self._value = b""
        self._name = ""
        self._data: list[bytes] = []
        self.callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._grow_header,
            "on_header_value": self._grow_value,
            "on_header_end": self._end_header,
            "on_part_data": self._grow_data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        self._name = ""
        self._data = []

    def _grow_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _grow_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _grow_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(self._value)[1].get(b"name", b"")
            self._name = name.decode("utf-8", "replace")
        self._header = self._value = b""

    def _end(self) -> None:
        if not self._name or self._name in self.parts:
            raise malformed(f"part '{shorten(self._name)}' is there twice, or has no name; give each part its own")
        if len(self.parts) >= MAX_PARTS:
            raise malformed(f"the form has more than {MAX_PARTS} parts; send fewer images")
        self.parts[self._name] = b"".join(self._data)

    def _complete(self) -> None:
        self.complete = True


def _attach(node: Any, parts: dict[str, bytes], unused: set[str], pointer: str) -> Any:
    """Copy of `node` in which each image that names a part has its bytes. The JSON parser bounds the depth."""
    if isinstance(node, list):
        return [_attach(item, parts, unused, f"{pointer}/{index}") for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    name = node.get("part")
    if not isinstance(name, str) or "encoded" in node:  # a sensor may also be called `part`
        return {key: _attach(item, parts, unused, pointer + pointer_to(key)) for key, item in node.items()}
    if name not in parts:
        reason = f"given '{shorten(name)}'; wanted the name of a form part"
        raise refuse(Code.VALIDATION_FAILED, f"{pointer}/part", reason)
    unused.discard(name)
    return {key: item for key, item in node.items() if key != "part"} | {"encoded": parts[name]}
