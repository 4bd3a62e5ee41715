"""`telos evaluate`: success of a model at its task, with intervals and controls."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.commands.errors import CommandError

if TYPE_CHECKING:
    from telos.planner import Planner

MOST_ROBOTS = 32
"""As many as a server serves one client by default, with room to spare."""
PLAN_TIMEOUT_S = 120.0
"""How long a plan of a server may take: robots of an evaluation wait for each other."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure success in simulation",
        description="Closed-loop success on held-out starts and goals, beside a random policy and no action at all, "
        "with 95 % intervals. offsetN: the goal is N control steps after the start in a held-out episode; the budget "
        "is 2 N. random-goal: start and goal are any states that the task resets to; the budget is 100 control steps. "
        "variation: offset25 in the nominal world and, for each factor of variation and for all together, in worlds "
        "where it is drawn anew for each episode; figures are of the nominal world unless they say otherwise. "
        "Killed in between, an evaluation with --out goes on when run again.",
    )
    parser.add_argument("--model", required=True, help="name of a checkpoint, for example tworoom-lewm")
    parser.add_argument(
        "--protocol",
        default="offset25",
        help="offset25, offset50, offset75, random-goal or variation (default %(default)s)",
    )
    parser.add_argument(
        "--episodes", type=int, default=200, help="held-out episodes, in each world (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of episodes and plans (default %(default)s)")
    parser.add_argument("--preset", default="default", help="planner preset (default %(default)s)")
    parser.add_argument(
        "--disturb",
        action="append",
        default=[],
        type=_disturbed,
        metavar="SENSOR=WAY",
        help="disturb what a sensor sees now, its goal stays as it is: black or frozen for a camera, frozen (at its "
        "first value) or offset (by a tenth of its range) for a vector; may be given several times",
    )
    parser.add_argument(
        "--robots",
        type=int,
        default=16,
        help="simulated at a time, their plans imagined together; what comes out does not depend on it, but latency "
        "does (default %(default)s)",
    )
    parser.add_argument("--checkpoints", type=Path, help="folder of checkpoints (default: checkpoints)")
    parser.add_argument(
        "--server",
        help="running server to evaluate instead, for example http://127.0.0.1:8600 or grpc://127.0.0.1:8601",
    )
    parser.add_argument("--out", type=Path, help="JSON file to write; a page with charts and failures comes beside it")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of a summary")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run_command=run)


def _disturbed(text: str) -> tuple[str, str]:
    name, _, way = text.partition("=")
    if not name or not way:
        raise argparse.ArgumentTypeError(f"{text!r} disturbs nothing; wanted SENSOR=WAY, such as wrist=black")
    return name, way


def run(arguments: argparse.Namespace) -> None:
    from server.commands.graphics import check_graphics
    from server.commands.progress import StageProgress
    from server.evaluation.evaluate import EvaluationConfig, evaluate, rows_of, settings
    from server.evaluation.journal import Journal
    from server.evaluation.page import page
    from server.evaluation.protocols import PROTOCOLS
    from server.evaluation.robots import SimulationError
    from server.provenance import provenance
    from telos.errors import TelosError

    if arguments.protocol not in PROTOCOLS:
        raise CommandError(f"protocol {arguments.protocol!r} is not known; choose one of {', '.join(PROTOCOLS)}")
    if not 1 <= arguments.robots <= MOST_ROBOTS:
        raise CommandError(f"robots={arguments.robots}; give 1 to {MOST_ROBOTS}")
    if len({name for name, _ in arguments.disturb}) < len(arguments.disturb):
        raise CommandError("--disturb names a sensor twice; give one way for each sensor")
    try:
        config = EvaluationConfig(
            protocol=PROTOCOLS[arguments.protocol],
            episodes=arguments.episodes,
            seed=arguments.seed,
            preset=arguments.preset,
            disturbed=dict(arguments.disturb),
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    if arguments.out is not None and arguments.out.suffix == ".html":
        raise CommandError(f"--out {arguments.out} is the JSON file; its page comes beside it as .html: give .json")
    record = provenance()  # now: minutes later the source tree may be another
    out = arguments.out
    try:
        with open_planners(arguments.server, arguments.checkpoints, min(arguments.robots, config.episodes)) as planners:
            model = planners[0].model(arguments.model)
            decided = settings(model, config)
            record["renderer"] = check_graphics()  # not before: a robot's model is refused without drawing
            identity = {**decided, "commit": record["commit"], "renderer": record["renderer"]}
            with Journal(None if out is None else journal_path(out), identity) as journal:
                with StageProgress(arguments.quiet) as progress:
                    result = {**record, **evaluate(planners, model, config, journal, progress)}
                _write(out, result, lambda: page(result, rows_of(journal, config), model))
                journal.remove()
    except (TelosError, SimulationError, ValueError) as error:
        raise CommandError(str(error)) from error
    sys.stdout.write(_json(result) if arguments.json else _summary(result))


@contextmanager
def open_planners(server: str | None, checkpoints: Path | None, robots: int) -> "Iterator[list[Planner]]":
    """One planner a robot: connections to a running server, or one planner in this process that all robots share."""
    import os

    from server.settings import Settings
    from telos.remote import connect

    with ExitStack() as stack:
        if server is not None:
            token = os.environ.get("TELOS_TOKEN") or None
            yield [stack.enter_context(connect(server, token=token, timeout_s=PLAN_TIMEOUT_S)) for _ in range(robots)]
            return
        from server.local_planner import LocalPlanner

        local = LocalPlanner(Settings.from_environment(os.environ, checkpoints=checkpoints))
        yield [stack.enter_context(local)] * robots


def journal_path(out: Path) -> Path:
    """The file that keeps the episodes of an unfinished evaluation."""
    return out.with_name(f"{out.name}.unfinished.jsonl")


def _write(out: Path | None, result: dict[str, Any], page: Callable[[], str]) -> None:
    """Write the JSON file, and the page beside it."""
    if out is not None:
        out.write_text(_json(result), encoding="utf-8")
        out.with_suffix(".html").write_text(page(), encoding="utf-8")


def _json(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=1) + "\n"


def _summary(result: dict[str, Any]) -> str:
    low, high = result["ci95"]
    disturbed = "".join(f", {name} {way}" for name, way in result["disturbed"].items())
    text = (
        f"{result['model']} {result['protocol']}{disturbed}: {result['success_rate']:.1%} of {result['episodes']} "
        f"episodes (95 % interval {low:.1%} to {high:.1%}); at the end {result['at_end_success_rate']:.1%}; within "
        f"half the distance {result['tight_success_rate']:.1%}; all of the goal image "
        f"{result['whole_success_rate']:.1%}; random policy {result['random_success_rate']:.1%}, no action "
        f"{result['noop_success_rate']:.1%}; plan latency p50 {result['plan_latency_ms']['p50']:.0f} ms, p95 "
        f"{result['plan_latency_ms']['p95']:.0f} ms with {result['robots']} robots at a time\n"
    )
    return text + "".join(f"  {name:<24} {_world(world)}\n" for name, world in result["worlds"].items())


def _world(world: dict[str, Any]) -> str:
    if not world["episodes"]:
        return "every start is a success"
    share, (low, high) = world["share_of_nominal"], world["share_ci95"]
    of_nominal = "" if share is None else f", {share:.2f} of nominal ({low:.2f} to {high:.2f})"
    edges = "{:.1%} to {:.1%}".format(*world["ci95"])
    return f"{world['success_rate']:6.1%} ({edges}) of {world['episodes']}{of_nominal}"
