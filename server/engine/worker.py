"""One engine process, from its start to its end. It is watched, and killed when it hangs."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Self

from server.engine.channel import Channel
from server.engine.client import EngineClient
from server.settings import Settings

log = logging.getLogger("telos")

_TICK_S = 0.1


class Worker:
    """Belongs to one event loop, and to the thread that started it: the process dies with either."""

    def __init__(self, process: subprocess.Popen[bytes], client: EngineClient, settings: Settings) -> None:
        self.client = client
        self.pid = process.pid
        self.silent_s = 0.0
        """Seconds since it was last heard from."""
        self._process = process
        self._settings = settings

    @classmethod
    async def start(cls, command: Sequence[str], settings: Settings) -> Self:
        """`command` takes the file descriptor of its end of a socket as last argument."""
        ours, theirs = socket.socketpair()
        with theirs:
            channel = await Channel.open(ours)
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(settings),
            )
        return cls(process, EngineClient(channel), settings)

    async def live(self) -> None:
        """Wait until it ends, hangs, or the caller is cancelled; the process is gone when this returns."""
        listening = asyncio.create_task(self.client.listen())
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait({listening, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._process.kill()  # it has nothing to save
            listening.cancel()
            watching.cancel()
            heard, _ = await asyncio.gather(listening, watching, return_exceptions=True)
            code = await asyncio.to_thread(self._process.wait)
            why = self.client.failure.reason if self.client.failure is not None else f"exit code {code}"
            log.warning(
                "engine process %d ended: %s%s", self.pid, why, f", {heard!r}" if isinstance(heard, Exception) else ""
            )

    async def _watch(self) -> None:
        """Return when it hangs.

        Silence is counted in ticks of this loop, so that an engine is not blamed when the front itself was held up.
        """
        heard = 0
        limits = self._settings
        while True:
            await asyncio.sleep(_TICK_S)
            self.silent_s = 0.0 if self.client.messages > heard else self.silent_s + _TICK_S
            heard = self.client.messages
            most_s = limits.engine_heartbeat_timeout_s if heard else limits.engine_start_timeout_s
            if self.silent_s > most_s:
                log.error("engine process %d has said nothing for %.1f s: it is killed", self.pid, self.silent_s)
                return
            if self.client.pulse.step_s > limits.engine_step_timeout_s:
                log.error(
                    "engine process %d is at one step for %.1f s: it is killed", self.pid, self.client.pulse.step_s
                )
                return


def _environment(settings: Settings) -> dict[str, str]:
    """The settings and the code of this process, whatever folder it was started in."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TELOS_")}
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    return inherited | settings.engine_environment() | {"PYTHONPATH": path}
