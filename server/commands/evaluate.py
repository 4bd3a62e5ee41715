"""`telos evaluate`: success of a model at its task, with intervals and controls."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.commands.errors import CommandError

if TYPE_CHECKING:
    from telos.planner import Planner


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure success in simulation",
        description="Closed-loop success on held-out starts and goals, beside a random policy and no action at all, "
        "with 95 %% intervals. offsetN: the goal is N control steps after the start in a held-out episode; the budget "
        "is 2 N.",
    )
    parser.add_argument("--model", required=True, help="name of a checkpoint, for example tworoom-lewm")
    parser.add_argument("--protocol", default="offset25", help="offset25, offset50 or offset75 (default %(default)s)")
    parser.add_argument("--episodes", type=int, default=200, help="held-out episodes (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of episodes and plans (default %(default)s)")
    parser.add_argument("--preset", default="default", help="planner preset (default %(default)s)")
    parser.add_argument("--checkpoints", type=Path, help="folder of checkpoints (default: checkpoints)")
    parser.add_argument(
        "--server", help="URL of a running server to evaluate instead, for example http://127.0.0.1:8600"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of a summary")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from server.evaluation.evaluate import EvaluationConfig, evaluate
    from server.evaluation.protocols import PROTOCOLS
    from server.graphics import check_graphics
    from server.provenance import provenance
    from telos.errors import TelosError

    if arguments.protocol not in PROTOCOLS:
        raise CommandError(f"protocol {arguments.protocol!r} is not known; choose one of {', '.join(PROTOCOLS)}")
    try:
        config = EvaluationConfig(
            protocol=PROTOCOLS[arguments.protocol],
            episodes=arguments.episodes,
            seed=arguments.seed,
            preset=arguments.preset,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    check_graphics()
    record = provenance()  # of the tree as the evaluation begins, not as it is minutes later
    planner = open_planner(arguments.server, arguments.checkpoints)
    try:
        with tqdm(total=config.episodes, desc=config.protocol.name, unit="episode", disable=arguments.quiet) as bar:

            def on_episode(rate: float) -> None:
                bar.set_postfix(success=f"{rate:.1%}", refresh=False)
                bar.update()

            result = evaluate(planner, planner.model(arguments.model), config, on_episode)
    except (TelosError, ValueError) as error:
        raise CommandError(str(error)) from error
    finally:
        planner.close()
    _report({**record, **result}, arguments.out, arguments.json)


def open_planner(server: str | None, checkpoints: Path | None) -> "Planner":
    """A running server's, or one in this process."""
    import os

    from server.settings import Settings
    from telos.http_planner import HttpPlanner

    if server is not None:
        return HttpPlanner(server, token=os.environ.get("TELOS_TOKEN") or None)
    from server.local_planner import LocalPlanner

    return LocalPlanner(Settings.from_environment(os.environ, checkpoints=checkpoints))


def _report(result: dict[str, Any], out: Path | None, as_json: bool) -> None:
    text = json.dumps(result, indent=1) + "\n"
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    if as_json:
        sys.stdout.write(text)
        return
    low, high = result["ci95"]
    sys.stdout.write(
        f"{result['model']} {result['protocol']}: {result['success_rate']:.1%} of {result['episodes']} episodes "
        f"(95 % interval {low:.1%} to {high:.1%}); at the end {result['at_end_success_rate']:.1%}; within half the "
        f"distance {result['tight_success_rate']:.1%}; random policy {result['random_success_rate']:.1%}, no action "
        f"{result['noop_success_rate']:.1%}; plan latency p50 {result['plan_latency_ms']['p50']:.0f} ms, p95 "
        f"{result['plan_latency_ms']['p95']:.0f} ms\n"
    )
