"""Reliability tests serve the same small checkpoint as the server's own tests."""

from tests.server.conftest import checkpoints, live

__all__ = ["checkpoints", "live"]
