"""Event loop and garbage collection of the server's processes."""

import asyncio
import gc
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run` on uvloop, which is faster. Windows has no uvloop and keeps its own loop."""
    if sys.platform == "win32":
        asyncio.run(main)
        return
    from uvloop import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)


def freeze_garbage() -> None:
    """Keep every object that exists now out of later collections.

    A full collection of a process with torch and models took 120 to 160 ms, during which no request was answered.
    Python collects fully again once new objects number a quarter of those that the last full collection left. The
    second collection leaves none, so that later full collections come early and are short.
    """
    gc.collect()
    gc.freeze()
    gc.collect()


@contextmanager
def no_collections() -> Iterator[None]:
    """Collect nothing until the block ends; then collect as before."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
