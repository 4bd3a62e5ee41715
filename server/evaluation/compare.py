"""Two result files of the same episodes against each other, episode by episode."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.evaluation.statistics import Paired, difference_interval, mcnemar

Result = Mapping[str, Any]

SAME = ("task", "protocol", "budget_steps", "split", "seeds")
RATES = ("success", "success_at_end", "tight_success", "whole_success")


def compare(a: Result, b: Result) -> dict[str, Any]:
    """Differences are B less A. Only episodes that both have count.

    Raises ValueError when the results are not of the same task, protocol, split and seeds, or share no episode.
    """
    for name in SAME:
        if a[name] != b[name]:
            raise ValueError(f"{name} is {a[name]!r} in A and {b[name]!r} in B: only the same episodes can be compared")
    pairs = shared(a["rows"], b["rows"])
    if not pairs:
        raise ValueError("A and B have no episode in common; evaluate both with the same --split and --seed")
    known = [name for name in RATES if all(name in row for pair in pairs for row in pair)]
    worlds = {name: shared(world["rows"], b["worlds"][name]["rows"]) for name, world in _worlds(a, b)}
    return {
        "a": _identity(a),
        "b": _identity(b),
        **{name: a[name] for name in SAME},
        "episodes": len(pairs),
        "rates": {name: _difference(pairs, name) for name in known},
        "worlds": {
            name: {"episodes": len(both), **_difference(both, "success")} for name, both in worlds.items() if both
        },
        "only_a_succeeded": [x["episode"] for x, y in pairs if x["success"] and not y["success"]],
        "only_b_succeeded": [x["episode"] for x, y in pairs if y["success"] and not x["success"]],
    }


def shared(a: Sequence[Result], b: Sequence[Result]) -> list[tuple[Result, Result]]:
    """Rows of the same start and goal."""
    theirs = {_key(row): row for row in b}
    return [(row, theirs[_key(row)]) for row in a if _key(row) in theirs]


def _worlds(a: Result, b: Result) -> list[tuple[str, Result]]:
    """Every world of A, beside the nominal one, that B was evaluated in too."""
    return [(name, world) for name, world in a.get("worlds", {}).items() if name in b.get("worlds", {})]


def _difference(pairs: Sequence[tuple[Result, Result]], name: str) -> dict[str, Any]:
    return rate_difference(Paired.of([x[name] for x, _ in pairs], [y[name] for _, y in pairs]))


def _key(row: Result) -> tuple[int, int, tuple[float, ...], tuple[float, ...]]:
    return row["episode"], row["first_step"], tuple(row["start"]), tuple(row["goal"])


def _identity(result: Result) -> dict[str, Any]:
    return {name: result.get(name) for name in ("model", "weights_sha256", "preset", "disturbed", "commit")}


def rate_difference(paired: Paired) -> dict[str, Any]:
    """Both rates of one episode or more, B's less A's, and how often only one of them succeeded."""
    a, b = paired.rates
    return {
        "a": round(a, 4),
        "b": round(b, 4),
        "difference": round(b - a, 4),
        "difference_ci95": [round(edge, 4) for edge in difference_interval(paired)],
        "only_a": paired.only_a,
        "only_b": paired.only_b,
        "mcnemar_p": round(mcnemar(paired), 4),
    }
