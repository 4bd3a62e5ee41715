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
"""Longest time that a plan of a server may take: robots of an evaluation wait for each other."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure success in simulation",
        description="Closed-loop success on held-out starts and goals, beside a random policy and no action at all, "
        "with 95 % intervals. offsetN: the goal is N control steps after the start in a held-out episode; the budget "
        "is 2 N. random-goal: start and goal are any states that the task resets to; the budget is 100 control steps. "
        "variation: offset25 in the nominal world and, for each factor of variation and for all together, in worlds "
        "where it is drawn anew for each episode; figures are of the nominal world unless they say otherwise. "
        "Run a killed evaluation with --out again, and it continues.",
    )
    parser.add_argument("--model", required=True, help="name of a checkpoint, for example tworoom-lewm")
    parser.add_argument(
        "--protocol",
        default="offset25",
        help="offset25, offset50, offset75, random-goal or variation (default %(default)s)",
    )
    parser.add_argument(
        "--split",
        default="development",
        help="development for choosing models and settings, test for figures to publish: the two share no episode "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--episodes", type=int, default=200, help="held-out episodes of each seed, in each world (default %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        nargs="+",
        default=[0],
        metavar="SEED",
        help="seed of episodes and plans; the episodes of several seeds are pooled (default 0)",
    )
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
            seeds=tuple(arguments.seed),
            split=arguments.split,
            preset=arguments.preset,
            disturbed=dict(arguments.disturb),
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    if arguments.out is not None and arguments.out.suffix == ".html":
        raise CommandError(f"--out {arguments.out} is the JSON file; its page comes beside it as .html: give .json")
    if arguments.out is not None and arguments.out.is_dir():
        raise CommandError(f"--out {arguments.out} is a folder; give a JSON file")
    record = provenance()  # now: minutes later the source tree may be another
    out, robots = arguments.out, min(arguments.robots, config.total_episodes)
    try:
        with open_planners(arguments.server, arguments.checkpoints, robots) as planners:
            model = planners[0].model(arguments.model)
            decided = settings(model, config)
            record["renderer"] = check_graphics()  # not before: a robot's model is refused without drawing
            identity = {**decided, "commit": record["commit"], "renderer": record["renderer"]}
            with Journal(None if out is None else journal_path(out), identity) as journal:
                with StageProgress(arguments.quiet) as progress:
                    result = {**record, **evaluate(planners, model, config, journal, progress)}
                _write(out, result, lambda: page(result, rows_of(journal, config), model))
                journal.remove()
    except (TelosError, SimulationError, ValueError, OSError) as error:
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


RATES = {
    "": "success at any step",
    "at_end_": "success at the last step",
    "tight_": "within half the distance",
    "whole_": "all of the goal image",
}
"""The rates, by the beginning of their names in the result, as the summary calls them."""


def _summary(result: dict[str, Any]) -> str:
    disturbed = "".join(f", {name} {way}" for name, way in result["disturbed"].items())
    latency, seeds = result["plan_latency_ms"], " ".join(map(str, result["seeds"]))
    lines = [
        f"{result['model']}, {result['protocol']}{disturbed}: {result['episodes']} {result['split']} episodes of seed "
        f"{seeds}, with 95 % intervals",
        *(f"  {name:<26}{_rate(result, prefix)}{_controls(result, prefix)}" for prefix, name in RATES.items()),
        f"  {'time of a plan':<26}{latency['p50']:.0f} ms (median), {latency['p95']:.0f} ms (95th percentile), with "
        f"{result['robots']} robots at a time",
    ]
    if result["worlds"]:
        lines.append("success at any step, by the factor that is drawn anew for each episode")
    lines += [f"  {name:<26}{_world(world)}" for name, world in result["worlds"].items()]
    return "".join(f"{line}\n" for line in lines)


def _rate(result: dict[str, Any], prefix: str) -> str:
    low, high = result[f"{prefix}ci95"]
    return f"{result[f'{prefix}success_rate']:6.1%} ({low:.1%} to {high:.1%})"


def _controls(result: dict[str, Any], prefix: str) -> str:
    """The same rate of both controls, where they have it."""
    if f"random_{prefix}success_rate" not in result:
        return ""
    chance, nothing = (result[f"{control}_{prefix}success_rate"] for control in ("random", "noop"))
    return f"; random policy {chance:.1%}, no action {nothing:.1%}"


def _world(world: dict[str, Any]) -> str:
    if not world["episodes"]:
        return "every start is a success"
    share, (low, high) = world["share_of_nominal"], world["share_ci95"]
    of_nominal = "" if share is None else f", {share:.2f} of nominal ({low:.2f} to {high:.2f})"
    return f"{_rate(world, '')} of {world['episodes']}{of_nominal}"
