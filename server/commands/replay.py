"""`telos replay`: repeats recorded plans and checks that a server still gives the same actions."""

import argparse
import dataclasses
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from server.commands.errors import CommandError

if TYPE_CHECKING:
    from server.recording.replay import Comparison


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "replay",
        help="repeat recorded plans and compare",
        description="Send every plan request of a recording (telos serve --record FOLDER) to a server again, with the "
        "recorded seed, weights and number of iterations, and compare the actions. The exit code is 0 when all plans "
        "that can be compared are the same. A token is read from TELOS_TOKEN.",
    )
    parser.add_argument("file", type=Path, nargs="+", help="MCAP files, oldest first")
    parser.add_argument("--server", default="127.0.0.1:8601", help="gRPC address (default %(default)s)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        help="largest difference that counts as the same, in units of the actions (default %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    from server.recording.mcap_file import PlanFileError, read_plans
    from server.recording.replay import ReplayConnection, replay

    plans = (plan for file in arguments.file for plan in read_plans(file))
    token = os.environ.get("TELOS_TOKEN") or None
    try:
        with ReplayConnection(arguments.server, token=token, timeout_s=60.0) as server:
            comparisons = list(replay(plans, server.ask, arguments.tolerance))
    except (OSError, PlanFileError) as error:
        raise CommandError(str(error)) from error
    if not comparisons:
        raise CommandError("the recording has no plans; give files that telos serve --record wrote")
    if arguments.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(each) for each in comparisons], indent=1) + "\n")
    else:
        _print_table(comparisons)
    counts = Counter(each.verdict for each in comparisons)
    if counts["differs"] or counts["refused"] or not counts["same"]:
        counted = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        raise CommandError(f"this server does not plan as recorded: {len(comparisons)} plans, {counted}")


def _print_table(comparisons: "list[Comparison]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("request", "model", "verdict", "largest difference", "recorded", "replayed", "detail")
    for each in comparisons:
        table.add_row(
            each.request_id,
            each.model,
            each.verdict,
            "" if each.difference is None else f"{each.difference:.2g}",
            f"{each.recorded_ms:.1f} ms",
            "" if each.replayed_ms is None else f"{each.replayed_ms:.1f} ms",
            each.detail,
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
