"""An HTTP connection with a deadline for each exchange. The standard library only bounds each single wait."""

import functools
import http.client
import io
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager


class KeptConnection:
    """A connection to a server that is kept open between requests, and opened when needed."""

    def __init__(self, host: str, port: int | None, tls: ssl.SSLContext | None) -> None:
        if tls is None:
            self._connection = http.client.HTTPConnection(host, port)
        else:
            self._connection = http.client.HTTPSConnection(host, port, context=tls)
        self.address = f"{host}:{self._connection.port}"

    @property
    def is_open(self) -> bool:
        return self._connection.sock is not None

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def response(
        self, verb: str, path: str, body: bytes | None, headers: dict[str, str], deadline: float
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer, which must be read before `deadline` on the monotonic clock.

        Raises TimeoutError, OSError or HTTPException, and then closes the connection: the answer may still arrive, and
        would be taken for the answer to the next request.
        """
        connection = self._connection
        try:
            connection.timeout = _left_s(deadline)
            if connection.sock is not None:
                connection.sock.settimeout(connection.timeout)
            connection.response_class = functools.partial(_Response, deadline)  # type: ignore[assignment]
            connection.request(verb, path, body, headers)
            yield connection.getresponse()
        except BaseException:
            connection.close()
            raise


class _Response(http.client.HTTPResponse):
    """Reads from the socket until the deadline, however small the pieces are that arrive."""

    def __init__(self, deadline: float, sock: socket.socket, debuglevel: int = 0, method: str | None = None) -> None:
        super().__init__(sock, debuglevel, method)
        self.fp.close()
        self.fp = io.BufferedReader(_UntilDeadline(sock, deadline))


class _UntilDeadline(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)  # keeps the socket open after its connection has closed it
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        self._sock.settimeout(_left_s(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left_s(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the deadline has passed")
    return left_s
