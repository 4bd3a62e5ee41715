"""uvicorn with the server's own connections, TLS, and headers for every answer."""

import asyncio
import contextlib
import os
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
    """Serves `app` on a listener that is already open. Raises SettingsError for TLS files that cannot be used.

    `refused` is called with the error code of every request that is refused before it reaches `app`.
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
            proxy_headers=False,  # a client could forge X-Forwarded-For
            headers=list(headers.items()),
            timeout_keep_alive=settings.idle_timeout_s,  # type: ignore[arg-type]  # handed to call_later
            timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_s)),
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Like uvicorn's, but for one socket, and with deadlines for the start and the end of TLS."""
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
        yield  # server.serve handles signals, for both listeners

    def _connection(self) -> HttpConnection:
        return HttpConnection(self.config, self.server_state, self._settings, self._admission, self._refused)


def listen(host: str, port: int, setting: str = "http_port") -> socket.socket:
    """A listening socket. Raises SettingsError when the port cannot be opened, as when another process has it."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise port_unavailable(host, port, setting, os.strerror(error.errno) if error.errno else str(error)) from error
    # Connections inherit it. Without it a reply's body waits until the client has acknowledged the head: 40 ms a plan.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def port_unavailable(host: str, port: int, setting: str, reason: str) -> SettingsError:
    """Error that names the port, the reason, and how to choose another port."""
    flag, variable = "--" + setting.replace("_", "-"), f"TELOS_{setting.upper()}"
    return SettingsError(
        f"{setting}={port} cannot be opened on {host}: {reason}; choose another with {flag} or {variable}"
    )
