"""`telos demo`: simulated robots steered by the service, shown on a page."""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from server.commands.errors import CommandError


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "demo",
        help="see simulated robots steered by the service",
        description="Start the server, let simulated robots plan over HTTP to held-out goals, run a random policy on "
        "the same goals, and write summary.json, index.html (open it in a browser) and an animation of each model.",
    )
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="folder to write (default %(default)s)")
    parser.add_argument("--episodes", type=int, default=10, help="episodes of each model (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of episodes and plans (default %(default)s)")
    parser.add_argument("--protocol", default="offset25", help="offset25, offset50 or offset75 (default %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    from server.commands.graphics import check_graphics

    check_graphics()
    from server.demo.demo import DemoConfig, run_demo
    from server.demo.errors import DemoError
    from server.demo.report import table
    from server.evaluation.protocols import PROTOCOLS

    if arguments.protocol not in PROTOCOLS:
        raise CommandError(f"protocol {arguments.protocol!r} is not known; choose one of {', '.join(PROTOCOLS)}")
    try:
        config = DemoConfig(
            checkpoints=arguments.checkpoints,
            out=arguments.out,
            episodes=arguments.episodes,
            seed=arguments.seed,
            protocol=PROTOCOLS[arguments.protocol],
            quiet=arguments.quiet,
        )
        with _ending_at_sigterm():
            summary = run_demo(config)
    except (ValueError, DemoError) as error:
        raise CommandError(str(error)) from error
    sys.stdout.write(table(summary["tasks"]))
    if summary["models_without_simulated_task"]:
        sys.stdout.write(f"without a simulated task: {', '.join(summary['models_without_simulated_task'])}\n")
    sys.stdout.write(f"open {arguments.out / 'index.html'} in a browser; the numbers are in summary.json beside it\n")


@contextmanager
def _ending_at_sigterm() -> Iterator[None]:
    """Make SIGTERM run every `finally` of this process, as Ctrl-C does, so that the server ends too."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
