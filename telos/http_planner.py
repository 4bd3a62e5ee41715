"""Planner over HTTP, with the standard library only."""

import base64
import http.client
import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from telos.errors import TelosError
from telos.http_connection import KeptConnection
from telos.images import Format
from telos.planner import Method, Planner
from telos.retries import until_answered
from telos.tls import Tls
from telos.wire.tensors import pack

_ROUTES: dict[Method, tuple[str, str]] = {
    "plan": ("POST", "/v1/plan"),
    "anomaly": ("POST", "/v1/anomaly"),
    "encode": ("POST", "/v1/encode"),
    "create_session": ("POST", "/v1/sessions"),
    "get_session": ("GET", "/v1/sessions/{session_id}"),
    "reset_session": ("POST", "/v1/sessions/{session_id}/reset"),
    "delete_session": ("DELETE", "/v1/sessions/{session_id}"),
}


class HttpPlanner(Planner):
    """A server at `base_url`, such as `http://127.0.0.1:8600`. `timeout_s` bounds every call, retries included.

    `https://` is encrypted; `tls` names the authorities to trust, by default those of this machine.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        timeout_s: float = 10.0,
        image_format: Format = "png",
        tls: Tls | None = None,
    ) -> None:
        super().__init__(image_format)
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url is {base_url!r}; wanted http://host:port or https://host:port")
        if url.scheme == "http" and tls is not None:
            raise ValueError(f"base_url is {base_url!r} and tls is given; wanted https://host:port")
        context = (tls or Tls()).context() if url.scheme == "https" else None
        self._connection = KeptConnection(url.hostname, url.port, context)
        self._path = url.path.rstrip("/")
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._timeout_s = timeout_s

    def close(self) -> None:
        self._connection.close()

    def ready(self) -> bool:
        try:
            self._request("GET", "/readyz", None, self._timeout_s)
        except TelosError:
            return False
        return True

    def _replace_connection(self) -> None:
        self._connection.close()  # the next call opens a new one

    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        verb, route = _ROUTES[method]
        path = route.format(session_id=quote(payload.get("session_id", ""), safe=""))
        body = None
        if path == route and verb == "POST":  # otherwise the path has all parameters
            body = _json(payload)
        return until_answered(lambda left_s: self._request(verb, path, body, left_s), self._timeout_s)

    def _stream(self, payload: dict[str, Any]) -> Generator[Mapping[str, Any], None, None]:
        path, deadline = "/v1/plan/stream", time.monotonic() + self._timeout_s
        with self._named_failures(path), self._response("POST", path, _json(payload), deadline) as response:
            if response.status != 200:
                raise TelosError.from_problem(self._object(path, response.read()), response.status)
            for line in response:
                yield self._object(path, line)

    def _list_models(self) -> Sequence[Mapping[str, Any]]:
        answer = until_answered(lambda left_s: self._request("GET", "/v1/models", None, left_s), self._timeout_s)
        models = answer.get("models")
        if not isinstance(models, list):
            raise self._unreadable("did not answer /v1/models with a list of models")
        return models

    def _request(self, verb: str, path: str, body: bytes | None, left_s: float) -> Mapping[str, Any]:
        with self._named_failures(path):
            status, answer = self._exchange_bytes(verb, path, body, time.monotonic() + left_s)
        data = self._object(path, answer)
        if not 200 <= status < 300:
            raise TelosError.from_problem(data, status)
        return data

    def _exchange_bytes(self, verb: str, path: str, body: bytes | None, deadline: float) -> tuple[int, bytes]:
        """Status and body. If the server has closed the kept connection, this opens it again, once."""
        kept = self._connection.is_open
        try:
            with self._response(verb, path, body, deadline) as response:
                return response.status, response.read()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            if not kept:
                raise
            return self._exchange_bytes(verb, path, body, deadline)

    def _response(
        self, verb: str, path: str, body: bytes | None, deadline: float
    ) -> AbstractContextManager[http.client.HTTPResponse]:
        budget_ms = max(1, round(1e3 * (deadline - time.monotonic())))
        headers = self._headers | {"Request-Timeout-Ms": str(budget_ms)}
        return self._connection.response(verb, self._path + path, body, headers, deadline)

    @contextmanager
    def _named_failures(self, path: str) -> Iterator[None]:
        """Raise failures of the connection as TelosError, with the address and the timeout."""
        address, budget = self._connection.address, f"{self._timeout_s:g} s"
        try:
            yield
        except TimeoutError as error:
            detail = f"{address} did not answer {path} within {budget}; give a longer timeout_s, or a shorter plan"
            raise TelosError("timeout", detail, retryable=True) from error
        except (OSError, http.client.IncompleteRead, http.client.RemoteDisconnected) as error:
            reason = f"{address} cannot be reached within {budget}: {error}; is the server running there?"
            raise TelosError("unreachable", reason, retryable=True) from error
        except http.client.HTTPException as error:
            raise self._unreadable(f"did not answer {path} with HTTP") from error

    def _object(self, path: str, answer: bytes) -> Mapping[str, Any]:
        try:
            data = json.loads(answer)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise self._unreadable(f"did not answer {path} with a JSON object")
        return data

    def _unreadable(self, what: str) -> TelosError:
        return TelosError("unreadable-reply", f"{self._connection.address} {what}; does a Telos server listen there?")


def _json(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, default=_encode, allow_nan=False).encode()


def _encode(value: Any) -> Any:
    """JSON form of bytes and arrays."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, np.ndarray):
        return pack(value)
    raise TypeError(f"a request cannot hold a {type(value).__name__}")
