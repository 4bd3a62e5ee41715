"""The engine process, `python -m server.engine FD`. The front starts it and passes one end of a socket."""

import asyncio
import ctypes
import os
import resource
import signal
import socket
import sys

from server.engine.channel import Channel
from server.engine.host import Hosted, beat, host
from server.engine.protocol import EnginePoisonedError
from server.engine.wire import engine_pb2 as pb
from server.observability.logs import set_up_logs
from server.process import run_loop
from server.settings import Settings, SettingsError
from worldmodel import CheckpointError

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the front is gone."""
    _die_with_the_front()
    settings = Settings.from_environment(os.environ)
    set_up_logs(settings.log_format, settings.log_level)
    _limit_memory(settings.engine_memory_limit_mib)
    run_loop(_run(settings, socket.socket(fileno=int(sys.argv[-1]))))
    os._exit(0)  # without waiting for threads whose results nobody needs


async def _run(settings: Settings, end: socket.socket) -> None:
    channel = await Channel.open(end)
    try:
        await host(await _load(settings, channel), channel)
        return
    except (SettingsError, CheckpointError) as error:
        failure = pb.Failure(reason=str(error), permanent=True)
    except EnginePoisonedError as error:
        failure = pb.Failure(reason=str(error))
    channel.send(pb.Event(failure=failure).SerializeToString())
    await channel.flush()


async def _load(settings: Settings, channel: Channel) -> Hosted:
    """Load the models and send heartbeats meanwhile, since large models take long."""
    from server.engine.local import LocalEngine
    from server.engine.registry import Registry

    beating = asyncio.create_task(beat(channel, pb.Heartbeat))
    try:
        return LocalEngine(await asyncio.to_thread(Registry.load, settings), settings)
    finally:
        beating.cancel()


def _die_with_the_front() -> None:
    """End this process when the front ends, even while it is stopped.

    Signals are ignored here: the front handles them and ends this process when it is done.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _limit_memory(limit_mib: int) -> None:
    """Limit private memory that can be written. Torch reserves much more address space, which costs nothing."""
    if limit_mib:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mib * 2**20, limit_mib * 2**20))


if __name__ == "__main__":
    main()
