"""HTTP connection with the guards that uvicorn leaves to a proxy: deadlines, header sizes, refusals as problems.

No handler runs for a request that is refused here, and nothing here waits for a handler. A connection is idle until
the first byte of a request; then the header arrives, then the body. Each has a deadline from a fixed moment, however
steadily it trickles in. The client must read the answer in time.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from server.errors import Code, ServiceError
from server.settings import Settings
from server.transport.admission import Admission
from server.transport.problem import problem_response
from server.validation import new_request_id

Refused = Callable[[Code], None]
"""Function that is called with the code of every refusal here."""


class _Phase(Enum):
    IDLE = "between two requests"
    HEAD = "header"
    BODY = "body"


class HttpConnection(HttpToolsProtocol):
    """uvicorn's protocol with the limits of `settings`. The parser calls it in the order of the bytes."""

    def __init__(
        self, config: Config, state: ServerState, settings: Settings, admission: Admission, refused: Refused
    ) -> None:
        super().__init__(config, state, {})
        self._settings = settings
        self._admission = admission
        self._refused = refused
        self._phase = _Phase.IDLE
        self._began = 0.0
        self._head_bytes = 0
        self._raw_bytes = 0
        self._chunks = 0
        self._refusal: tuple[Code, str] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    # From the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit a connection. Beyond the limit it gets one answer that says so; beyond twice the limit, none."""
        others = len(self.connections)
        mine = sum(1 for other in self.connections if _address(other) == transport.get_extra_info("peername", [""])[0])
        super().connection_made(transport)
        most = self._settings.max_connections
        if others >= 2 * most:
            self._refused(Code.QUEUE_FULL)
            transport.abort()
        elif others >= most:
            self._turn_away(Code.QUEUE_FULL, f"{others} connections are open")
        elif mine >= self._admission.share_of(most):
            self._turn_away(Code.RATE_LIMITED, f"{mine} connections of this client are open")
        self._expect(self._settings.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._expect(None)
        if self._unread is not None:
            self._unread.cancel()

    def data_received(self, data: bytes) -> None:
        before = self._phase
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._phase is before and before is not _Phase.IDLE:
            self._raw_bytes += len(data)
            if error := self._oversized():
                self._refuse(error)
        elif self._phase is _Phase.IDLE and self._deadline is None and not self._answering:
            self._expect(
                self._settings.header_timeout_s
            )  # empty lines before a request are skipped, but only for so long

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    # From the parser: raising here ends in send_400_response

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase = _Phase.HEAD
        self._began = self.loop.time()
        self._head_bytes = self._raw_bytes = self._chunks = 0
        self._expect(self._settings.header_timeout_s)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._grow_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header field, or a trailer field after the last chunk of a body."""
        super().on_header(name, value)
        self._grow_head(len(name) + len(value) + len(b": \r\n"))

    def on_headers_complete(self) -> None:
        if certificate := _certificate_name(self.transport):
            self.scope["extensions"] = {"tls": {"client_cert_name": certificate}}
        super().on_headers_complete()
        self._phase = _Phase.BODY
        self._raw_bytes = 0
        self._expect(self._began + self._settings.receive_timeout_s - self.loop.time())

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > self._settings.max_body_chunks:
            most = self._settings.max_body_chunks
            self._stop(Code.PAYLOAD_TOO_LARGE, f"the body has more than {most} chunks; send larger ones")

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._phase = _Phase.IDLE
        self._expect(None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._expect_reader()

    # Refusals

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that cannot be parsed, or a request that was refused during parsing."""
        detail = "the bytes are not HTTP/1.1; let an HTTP library write the request"
        self._refuse(ServiceError(*self._refusal or (Code.MALFORMED_REQUEST, detail)))

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: HTTP/1.1 lets a server ignore an upgrade, and a client could flood the log."""

    def _stop(self, code: Code, detail: str) -> None:
        self._refusal = code, detail  # not the exception, whose traceback would keep this connection alive
        raise ServiceError(code, detail)

    def _grow_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._settings.max_header_bytes:
            self._stop(*self._long_head)

    @property
    def _long_head(self) -> tuple[Code, str]:
        most = self._settings.max_header_bytes
        return Code.HEADERS_TOO_LARGE, f"the header has more than {most} bytes; send fewer or shorter fields"

    def _oversized(self) -> ServiceError | None:
        """Error for too many bytes in an unfinished header field, or around the chunks of a body."""
        if self._phase is _Phase.HEAD and self._raw_bytes > self._settings.max_header_bytes:
            return ServiceError(*self._long_head)
        if self._phase is _Phase.BODY and self._answering and self._raw_bytes > 2 * self._settings.max_body_bytes:
            detail = "chunk headers are longer than the chunks; send larger chunks"
            return ServiceError(Code.PAYLOAD_TOO_LARGE, detail)
        return None

    def _refuse(self, error: ServiceError) -> None:
        """Answer without a handler, and close. Only close if the answer could be taken for that to another request."""
        cycle = self.cycle
        if self._answering and (cycle.response_started or not cycle.more_body):
            self.transport.abort()
            return
        if self._phase is _Phase.BODY and not self._answering:
            self.transport.close()  # already refused
            return
        self._refused(error.code)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        response = problem_response(error, new_request_id())
        headers = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body))
        self._expect_reader()
        self.transport.close()

    def _turn_away(self, code: Code, what: str) -> None:
        """Refuse every request of this connection."""
        self._refused(code)
        detail = f"{what}; close some, and use each for many requests"
        self.app = _Refusal(ServiceError(code, detail, retry_after_ms=1000))

    # Deadlines

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _expect(self, within_s: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if within_s is None else self.loop.call_later(within_s, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        if self.flow.read_paused or (self._phase is not _Phase.BODY and self._answering):
            self._expect(self._settings.header_timeout_s)  # the next request is unread and waits for its turn
        elif self._phase is _Phase.IDLE:
            self.transport.close()
        elif self._phase is _Phase.BODY and not self._answering:
            self.transport.abort()  # already refused, and still sending
        else:
            self._refuse(_slow(self._phase, self._settings))

    def _expect_reader(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self._settings.send_timeout_s, self._give_up_on_reader)

    def _give_up_on_reader(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()


class _Refusal:
    """ASGI application of a connection beyond the limit."""

    def __init__(self, error: ServiceError) -> None:
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = problem_response(self._error, new_request_id())
        response.headers["Connection"] = "close"
        await response(scope, receive, send)


def _slow(phase: _Phase, settings: Settings) -> ServiceError:
    seconds = settings.header_timeout_s if phase is _Phase.HEAD else settings.receive_timeout_s
    detail = f"the {phase.value} did not arrive within {seconds:g} s; send it faster or make it smaller"
    return ServiceError(Code.RECEIVE_TIMEOUT, detail)


def _address(connection: Any) -> str:
    return connection.client[0] if connection.client else ""


def _certificate_name(transport: asyncio.Transport) -> str:
    """Common name of the client's verified certificate; empty without one."""
    certificate = transport.get_extra_info("peercert") or {}
    fields = [pair for part in certificate.get("subject", ()) for pair in part]
    return next((str(value) for name, value in fields if name == "commonName"), "")
