"""The front of a server with an engine process that has no model: `python -m server.benchmark.instant_server 0.02`.

The argument is the time in seconds for which a plan occupies a simulated device. One line of JSON on stdout has the
ports; SIGTERM ends it.
"""

import asyncio
import signal
import sys

from server.engine.process import EngineProcess
from server.process import freeze_garbage, run_loop
from server.serve import Running, say_ports
from server.settings import Settings


async def serve(plan_s: float) -> None:
    """Serve until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    settings = Settings(http_port=0, grpc_port=0)
    command = (sys.executable, "-P", "-m", "server.benchmark.instant_engine", str(plan_s))
    running = Running(EngineProcess(settings, command), settings)
    await running.start()
    freeze_garbage()
    say_ports(running)
    await stopping.wait()
    await running.stop()


if __name__ == "__main__":
    run_loop(serve(float(sys.argv[1])))
