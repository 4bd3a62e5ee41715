"""One thread: the same floats on every machine with the same torch, and no fight over cores."""

import logging
from collections.abc import Iterator

import pytest
import torch

pytest_plugins = ["tests.reliability.report"]

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _logs_go_where_they_went() -> Iterator[None]:
    """A command sets up the log of its process, on a stderr that closes with its test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
