"""A server without a model, for what is around the planner: `python -m server.benchmark.instant_server 0.02`.

Its one argument: how many seconds of an imagined device a plan takes. One line of JSON on stdout says the ports;
SIGTERM ends it.
"""

import asyncio
import signal
import sys

from server.benchmark.instant_engine import InstantEngine
from server.commands.serve import say_ports
from server.serve import Running
from server.settings import Settings


async def serve(plan_s: float) -> None:
    """Until SIGTERM."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    running = Running(InstantEngine(plan_s), Settings(http_port=0, grpc_port=0))
    await running.start()
    say_ports(running)
    await stopping.wait()
    await running.stop()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
