"""Refusals before any handler runs: unknown clients, clients over their share, too large or compressed bodies."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import Code, ServiceError
from server.settings import Settings
from server.transport.access import client_name, credential_of
from server.transport.admission import Admission, Place
from server.transport.problem import problem_response
from server.validation import new_request_id

PUBLIC_PATHS = frozenset({"/healthz"})


class Gate:
    """ASGI middleware. It passes the whole body in one message, so that `receive` then only reports a disconnect."""

    def __init__(self, app: ASGIApp, settings: Settings, admission: Admission) -> None:
        self._app = app
        self._settings = settings
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, send)
            return
        sender = _Sender(send)
        try:
            await self._admitted(scope, receive, sender)
        except ServiceError as error:
            await sender.refuse(scope, receive, error)
        except asyncio.CancelledError:
            detail = "this server is shutting down; ask another one"
            await sender.refuse(scope, receive, ServiceError(Code.NOT_READY, detail, retry_after_ms=1000))
            raise

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        with self._admission.place(self._client(scope, headers)) as place:
            self._check_headers(headers)
            body = await self._read_body(receive, place)
            if body is not None:
                await self._app(scope, _replay(body, receive), send)

    def _client(self, scope: Scope, headers: Headers) -> str:
        """Name of the client. Raises ServiceError (unauthenticated; rate-limited after many wrong tokens)."""
        address = scope["client"][0] if scope.get("client") else ""
        certificate = scope.get("extensions", {}).get("tls", {}).get("client_cert_name", "")
        try:
            credential = credential_of(headers.get("authorization", ""), self._settings.tokens)
        except ServiceError:
            self._admission.spend(client_name("", certificate, address))
            raise
        return client_name(credential, certificate, address)

    def _check_headers(self, headers: Headers) -> None:
        # A web page in a browser on this machine can reach its loopback; the browser adds `Origin` to every POST.
        if "origin" in headers:
            detail = "the request comes from a web page (it has an Origin); ask from a program, or through a proxy"
            raise ServiceError(Code.CROSS_ORIGIN, detail)
        if headers.get("content-encoding", "identity") != "identity":
            raise ServiceError(Code.UNSUPPORTED_MEDIA_TYPE, "the body is compressed; send it without Content-Encoding")
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > self._settings.max_body_bytes:
            raise self._too_large()

    async def _read_body(self, receive: Receive, place: Place) -> bytes | None:
        """The body; None after a disconnect. Raises ServiceError (payload-too-large, rate-limited, queue-full)."""
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._settings.max_body_bytes:
                raise self._too_large()
            place.resize(size)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _too_large(self) -> ServiceError:
        most = self._settings.max_body_bytes
        return ServiceError(Code.PAYLOAD_TOO_LARGE, f"the body has more than {most} bytes; send smaller images")


class _Sender:
    """Passes an answer on, and records whether it has begun, after which no other answer can be sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    async def __call__(self, message: Message) -> None:
        self._begun = True
        await self._send(message)

    async def refuse(self, scope: Scope, receive: Receive, error: ServiceError) -> None:
        if not self._begun:
            await problem_response(error, new_request_id())(scope, receive, self)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
