"""`telos benchmark service`: how many plans a second a server answers in time, and the overhead of a request."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from server.commands.errors import CommandError


def add_parser(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser(
        "service",
        help="measure how many plans a second a server answers in time",
        description="Start a server and ask it for plans, with Poisson arrivals at one rate after another until it "
        "falls behind, then at three times the highest rate that it kept up with. Latency counts from when a request "
        "is due. With --planner-cost zero nothing is planned, which measures the transport alone.",
    )
    parser.add_argument(
        "--planner-cost",
        default="zero",
        help="zero, milliseconds of a simulated search, or model (default %(default)s)",
    )
    parser.add_argument("--model", help="name of a checkpoint; needed with --planner-cost model")
    parser.add_argument(
        "--preset",
        default="fast",
        help="for --planner-cost model, one that telos serve lists for it (default %(default)s)",
    )
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder (default %(default)s)")
    parser.add_argument(
        "--transports", nargs="+", choices=("http", "grpc"), default=["http", "grpc"], help="default: both"
    )
    parser.add_argument("--rates", nargs="+", type=float, default=[50, 100, 200, 400], help="requests per second")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of each rate (default %(default)s)")
    parser.add_argument(
        "--warm-up-s", type=float, default=3.0, help="seconds before each rate that do not count (default %(default)s)"
    )
    parser.add_argument("--deadline-ms", type=float, default=150.0, help="deadline of each plan (default %(default)s)")
    parser.add_argument(
        "--image-side-px", type=int, default=224, help="side of the frame and of the goal image (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    from server.benchmark.instant_engine import NAME
    from server.benchmark.service import ServiceBenchmark, benchmark
    from server.provenance import provenance
    from telos.errors import TelosError

    try:
        config = ServiceBenchmark(
            plan_ms=plan_ms(arguments.planner_cost),
            model=arguments.model or NAME,
            preset=arguments.preset,
            checkpoints=arguments.checkpoints,
            transports=tuple(arguments.transports),
            rates=tuple(arguments.rates),
            seconds=arguments.seconds,
            warm_up_s=arguments.warm_up_s,
            deadline_ms=arguments.deadline_ms,
            image_side_px=arguments.image_side_px,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    try:
        result = {**provenance(), **benchmark(config, lambda text: _say(text + "\n"))}
    except TelosError as error:
        raise CommandError(str(error)) from error
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(table(result))


def plan_ms(cost: str) -> float | None:
    """Milliseconds that one plan takes; None for a real model. Raises ValueError."""
    try:
        return {"zero": 0.0, "model": None}[cost] if cost in ("zero", "model") else float(cost)
    except ValueError as error:
        raise ValueError(f"planner cost is {cost!r}; wanted zero, milliseconds, or model") from error


def table(result: dict[str, Any]) -> str:
    """The measurements as text for a terminal."""
    lines = [f"{'':<6}{'offered/s':>10}{'in time/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'refused p99':>13}"]
    for transport, measured in result["transports"].items():
        overload = [measured["overload"]] if "overload" in measured else []
        for step in measured["steps"] + overload:
            accepted, refused = step["accepted_ms"], step["refused_ms"]
            lines.append(
                f"{transport:<6}{step['rate_per_s']:>10g}{step['goodput_per_s']:>10g}{accepted.get('p50', '-'):>9}"
                f"{accepted.get('p99', '-'):>9}{refused.get('p99', '-'):>13}"
            )
        lines.append(f"{transport} keeps up with {measured['knee_per_s'] or 'none of these'}")
    for row in result["tests"]:
        lines.append(
            f"{'ok' if row['passed'] else 'MISSED':<7}{row['name']}: {row['measured']}, wanted {row['target']}"
        )
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    sys.stderr.write(text)
