"""uvicorn with our connections, TLS, and headers for every answer."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from server.settings import Settings, SettingsError
from server.transport.access import http_tls
from server.transport.admission import Admission
from server.transport.http_connection import HttpConnection, Refused

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_HTTPS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}


class HttpServer(uvicorn.Server):
    """Serves `app` on a listener that is open already. Raises SettingsError for TLS files that cannot be used.

    `refused` is told the code of whatever was refused before it came to `app`.
    """

    def __init__(self, app: ASGIApp, settings: Settings, admission: Admission, refused: Refused) -> None:
        self._settings = settings
        self._admission = admission
        self._refused = refused
        self._tls = http_tls(settings)
        headers = _HEADERS | (_HTTPS_HEADERS if self._tls else {})
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whoever may set X-Forwarded-For is whoever it likes
            headers=list(headers.items()),
            timeout_keep_alive=settings.idle_timeout_s,  # type: ignore[arg-type]  # handed to call_later
            timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_s)),
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, for one socket, and with deadlines for both ends of TLS."""
        assert sockets is not None
        loop, tls = asyncio.get_running_loop(), self._tls
        made = loop.create_server(
            self._connection,
            sock=sockets[0],
            ssl=tls,
            ssl_handshake_timeout=self._settings.header_timeout_s if tls else None,
            ssl_shutdown_timeout=self._settings.send_timeout_s if tls else None,
        )
        self.servers = [await made]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are for both listeners: see server.serve

    def _connection(self) -> HttpConnection:
        return HttpConnection(self.config, self.server_state, self._settings, self._admission, self._refused)


def listen(host: str, port: int, setting: str = "http_port") -> socket.socket:
    """Raises SettingsError for a port that is taken."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        taken = f"{setting}={port} of {host} cannot be listened on: {error.strerror}; take another"
        raise SettingsError(taken) from error
    # Connections inherit it. Without, an answer's body waits for the acknowledgement of its head: 40 ms a plan.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
