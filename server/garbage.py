"""Python's garbage collector, kept out of the way of deadlines."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


def freeze_garbage() -> None:
    """What is there now stays, so that it is not walked again.

    A full collection of a process that imported torch and its models took 120 to 160 ms, in which nobody was answered.
    The second collection finds nothing, and Python notes that: it collects fully once garbage may be a quarter of what
    the last full collection left, and a quarter of everything that was imported was megabytes.
    """
    gc.collect()
    gc.freeze()
    gc.collect()


@contextmanager
def no_collections() -> Iterator[None]:
    """Nothing is collected until the block ends; then as before."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
