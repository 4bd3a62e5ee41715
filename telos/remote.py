"""Connects to a server over HTTP or gRPC."""

from urllib.parse import urlsplit

from telos.http_planner import HttpPlanner
from telos.images import Format
from telos.planner import Planner
from telos.tls import Tls


def connect(
    address: str,
    *,
    token: str | None = None,
    timeout_s: float = 10.0,
    image_format: Format = "png",
    tls: Tls | None = None,
) -> Planner:
    """A planner at `http://host:port` or `grpc://host:port`; `https://` and `grpcs://` are encrypted.

    Nothing is sent yet. gRPC needs the extra `grpc`. Raises ValueError for any other address, and ImportError when
    gRPC is not installed.
    """
    url = urlsplit(address)
    if url.scheme in ("http", "https"):
        return HttpPlanner(address, token=token, timeout_s=timeout_s, image_format=image_format, tls=tls)
    if url.scheme not in ("grpc", "grpcs") or not url.hostname or url.port is None:
        raise ValueError(f"address is {address!r}; wanted http://, https://, grpc:// or grpcs:// with host:port")
    if url.scheme == "grpc" and tls is not None:
        raise ValueError(f"address is {address!r} and tls is given; wanted grpcs://host:port")
    from telos.grpc_planner import GrpcPlanner

    encrypted = tls or Tls() if url.scheme == "grpcs" else None
    return GrpcPlanner(url.netloc, token=token, timeout_s=timeout_s, image_format=image_format, tls=encrypted)
