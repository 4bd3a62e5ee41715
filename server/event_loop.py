"""The event loop of the front and of the engine's process: uvloop, where there is one."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run` on the faster loop. There is no uvloop for Windows."""
    if sys.platform == "win32":
        asyncio.run(main)
        return
    from uvloop import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)
