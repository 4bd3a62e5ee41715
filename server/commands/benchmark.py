"""`telos benchmark planning`: how fast this machine plans."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from server.commands import benchmark_service
from server.commands.errors import CommandError


def add_parser(commands: argparse._SubParsersAction) -> None:
    benchmark = commands.add_parser(
        "benchmark", help="measure how fast this machine plans, and how many plans it serves"
    )
    kinds = benchmark.add_subparsers(dest="what", required=True, metavar="what")
    benchmark_service.add_parser(kinds)
    parser = kinds.add_parser(
        "planning",
        help="time plans for one robot and for several",
        description="Time plans for one robot and for several, with the plain float32 rollout and with the fast one in "
        "float32 and bfloat16, and measure the machine's peak with matrix products. Robots gain from sharing a "
        "rollout as long as one robot alone does not reach that peak. The published search takes minutes on a CPU; "
        "--plans and --iterations shorten the measurement, not the search.",
    )
    parser.add_argument(
        "--recipes",
        nargs="+",
        default=["paper", "small"],
        help="sizes of the model, out of paper and small (default: both)",
    )
    parser.add_argument(
        "--presets",
        nargs="+",
        default=["300x30", "thorough", "default", "fast"],
        help="out of 300x30 (the published search), thorough, default and fast (default: all)",
    )
    parser.add_argument("--robots", nargs="+", type=int, default=[1, 4, 16], help="robots in a batch (default: 1 4 16)")
    parser.add_argument("--plans", type=int, default=10, help="whole plans of one robot to time (default %(default)s)")
    parser.add_argument(
        "--iterations",
        type=int,
        default=10,
        help="iterations of several robots to time (default %(default)s); the plain rollout gets a fifth of both",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of a table")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    import torch

    from server.benchmark.planning import BenchmarkConfig, benchmark
    from server.provenance import provenance

    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise CommandError(f"device {arguments.device!r} was asked for; this machine has no CUDA device: use cpu")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    try:
        config = BenchmarkConfig(
            recipes=arguments.recipes,
            presets=arguments.presets,
            robots=arguments.robots,
            plans=arguments.plans,
            iterations=arguments.iterations,
            device=arguments.device,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    result = {**provenance(), **benchmark(config, lambda case: _say(f"measuring {case}\n"))}
    text = json.dumps(result, indent=1) + "\n"
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text)
    sys.stdout.write(text if arguments.json else table(result))


def table(result: dict[str, Any]) -> str:
    """The measurements as text for a terminal."""
    used = result["machine_used"]
    flags = ", ".join(flag for flag, there in used["cpu_flags"].items() if there)
    peaks = ", ".join(f"{peak:.0f} GFLOP/s in {dtype}" for dtype, peak in result["matmul_peak_gflops"].items())
    lines = [
        f"{result['machine']['processor']} ({flags}), {used['device']}, {used['threads']} threads",
        f"best matrix product: {peaks}",
        f"{'recipe':<7}{'preset':<9}{'robots':>6}  {'model':<10}{'dtype':<10}{'p50 ms':>10}{'p95 ms':>10}"
        f"{'plans/s':>9}{'cand/s':>8}{'GFLOP/s':>9}{'of peak':>9}",
    ]
    for row in result["rows"]:
        lines.append(
            f"{row['recipe']:<7}{row['preset']:<9}{row['robots']:>6}  {row['model']:<10}{row['dtype']:<10}"
            f"{row['plan_ms']['p50']:>10.1f}{row['plan_ms']['p95']:>10.1f}{row['plans_per_s']:>9.2f}"
            f"{row['candidates_per_s']:>8}{row['gflops']:>9.1f}{row['share_of_peak']:>9.1%}"
        )
    for case, speedups in result["speedups"].items():
        faster = ", ".join(f"{ratio:.2f} x in {dtype}" for dtype, ratio in speedups.items())
        gains = ", ".join(
            f"{r:.2f} x in {dtype}" for dtype, r in result["plans_of_most_robots_over_fewest"][case].items()
        )
        lines.append(f"{case}: fast over reference {faster}; plans/s of the most robots over the fewest {gains}")
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    sys.stderr.write(text)
