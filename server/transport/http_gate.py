"""What is refused before any handler runs: requests without the token, too large, too slow, or compressed."""

import asyncio
import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Code, ServiceError
from server.settings import Settings
from server.validation import new_request_id

PUBLIC_PATHS = frozenset({"/healthz"})


def problem_response(error: ServiceError, request_id: str) -> JSONResponse:
    """`application/problem+json`."""
    headers = {}
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    if error.code is Code.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error.problem(request_id), error.kind.http_status, headers, "application/problem+json")


def authorized(header: str, token: str) -> bool:
    """Whether a header says `Bearer <token>`; as long for a wrong token as for the right one. No token lets all in."""
    return not token or hmac.compare_digest(header.encode("utf-8", "replace"), f"Bearer {token}".encode())


class Gate:
    """ASGI middleware. Hands the whole body on in one message, so that what follows on `receive` is the disconnect."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check_headers(scope["path"], Headers(scope=scope))
            body = await self._read_body(receive)
        except ServiceError as error:
            await problem_response(error, new_request_id())(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    def _check_headers(self, path: str, headers: Headers) -> None:
        if path not in PUBLIC_PATHS and not authorized(headers.get("authorization", ""), self._settings.token):
            detail = "send the server's token as the header 'Authorization: Bearer <token>'"
            raise ServiceError(Code.UNAUTHENTICATED, detail)
        if headers.get("content-encoding", "identity") != "identity":
            raise ServiceError(Code.UNSUPPORTED_MEDIA_TYPE, "the body is compressed; send it without Content-Encoding")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > self._settings.max_body_bytes:
            raise self._too_large()

    async def _read_body(self, receive: Receive) -> bytes | None:
        """None when the client went away. Raises ServiceError (payload-too-large, receive-timeout)."""
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._settings.receive_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > self._settings.max_body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            waited = f"the body did not arrive within {self._settings.receive_timeout_s} s"
            detail = f"{waited}; send it faster or make it smaller"
            raise ServiceError(Code.RECEIVE_TIMEOUT, detail) from None

    def _too_large(self) -> ServiceError:
        most = self._settings.max_body_bytes
        return ServiceError(Code.PAYLOAD_TOO_LARGE, f"the body has more than {most} bytes; send smaller images")


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
