"""The client's tests talk to the same real server as the server's own."""

from tests.server.conftest import checkpoints, live

__all__ = ["checkpoints", "live"]
