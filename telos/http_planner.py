"""Plans over HTTP, with nothing but the standard library underneath."""

import base64
import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from telos.errors import TelosError
from telos.images import Format
from telos.planner import Method, Planner
from telos.wire.tensors import pack


class HttpPlanner(Planner):
    """A server at `base_url`, such as `http://127.0.0.1:8600`. `timeout_s` bounds every wait on the network."""

    def __init__(
        self, base_url: str, *, token: str | None = None, timeout_s: float = 10.0, image_format: Format = "png"
    ) -> None:
        super().__init__(image_format)
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"base_url is {base_url!r}; wanted http://host:port or https://host:port")
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(url.hostname, url.port, timeout=timeout_s)
        self._address = f"{url.hostname}:{self._connection.port}"
        self._path = url.path.rstrip("/")
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def close(self) -> None:
        self._connection.close()

    def ready(self) -> bool:
        try:
            self._request("GET", "/readyz")
        except TelosError:
            return False
        return True

    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        return self._request("POST", f"/v1/{method}", json.dumps(payload, default=_encode, allow_nan=False).encode())

    def _list_models(self) -> Sequence[Mapping[str, Any]]:
        return self._request("GET", "/v1/models")["models"]

    def _request(self, verb: str, path: str, body: bytes | None = None) -> Mapping[str, Any]:
        status, answer = self._exchange_bytes(verb, self._path + path, body)
        try:
            data = json.loads(answer)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise TelosError("unreadable-reply", f"{self._address} answered {path} with no JSON object")
        if status != 200:
            raise TelosError.from_problem(data, status)
        return data

    def _exchange_bytes(self, verb: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and body. A kept connection that the server closed meanwhile is opened again, once."""
        kept = self._connection.sock is not None
        try:
            self._connection.request(verb, path, body, self._headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            # The answer may still come: only a new connection is sure not to deliver it to the next question.
            self._connection.close()
            waited = f"{self._connection.timeout} s"
            raise TelosError("timeout", f"{self._address} did not answer {path} in {waited}", retryable=True) from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if kept and isinstance(error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError):
                return self._exchange_bytes(verb, path, body)
            reason = f"{self._address} cannot be reached: {error}; is the server running there?"
            raise TelosError("unreachable", reason, retryable=True) from error


def _encode(value: Any) -> Any:
    """What JSON has no word for: bytes and arrays."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, np.ndarray):
        return pack(value)
    raise TypeError(f"{type(value).__name__} has no place in a request")
