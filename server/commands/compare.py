"""`telos compare`: differences between two evaluations of the same episodes."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from server.commands.errors import CommandError


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "compare",
        help="hold two evaluations against each other",
        description="Two result files of `telos evaluate` with the same task, protocol, split and seeds: difference of "
        "every rate (B less A) over the episodes that both have, with a 95 % interval for paired rates (Newcombe 1998) "
        "and McNemar's exact p-value; for the protocol variation, world by world too.",
    )
    parser.add_argument("a", type=Path, metavar="A.json", help="result of the one")
    parser.add_argument("b", type=Path, metavar="B.json", help="result of the other")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    from server.evaluation.compare import compare

    a, b = (_read(path) for path in (arguments.a, arguments.b))
    try:
        result = compare(a, b)
    except KeyError as error:
        raise CommandError(f"{arguments.a} or {arguments.b} has no {error}; give results of telos evaluate") from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    sys.stdout.write(json.dumps(result, indent=1) + "\n" if arguments.json else _table(result))


def _read(path: Path) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} is no result of telos evaluate: {error}") from error
    if not isinstance(result, dict):
        raise CommandError(f"{path} is no result of telos evaluate, but a JSON {type(result).__name__}")
    return result


def _table(result: dict[str, Any]) -> str:
    a, b = (_named(result[which]) for which in ("a", "b"))
    lines = [f"A {a}, B {b}: {result['task']}, {result['protocol']}, {result['episodes']} episodes of both\n"]
    lines += [_line(name, rate) for name, rate in result["rates"].items()]
    if result["worlds"]:
        lines.append("success in other worlds\n")
    lines += [_line(name, rate) for name, rate in result["worlds"].items()]
    return "".join(lines)


def _named(of: dict[str, Any]) -> str:
    """The model, its preset and its disturbed sensors, which older result files leave out."""
    return f"{of['model']} ({', '.join([of['preset'], *(f'{s} {way}' for s, way in (of['disturbed'] or {}).items())])})"


def _line(name: str, rate: dict[str, Any]) -> str:
    low, high = rate["difference_ci95"]
    return (
        f"{name:<24} A {rate['a']:6.1%}  B {rate['b']:6.1%}  B - A {100 * rate['difference']:+.1f} points "
        f"({100 * low:+.1f} to {100 * high:+.1f})  only A {rate['only_a']}, only B {rate['only_b']}, "
        f"p = {rate['mcnemar_p']:.2g}\n"
    )
