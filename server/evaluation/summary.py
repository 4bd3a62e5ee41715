"""Makes figures from rows: every rate with its interval, and both controls beside it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from server.evaluation.outcomes import OUTCOMES
from server.evaluation.statistics import Paired, ci95, mcnemar, percentiles_ms, ratio_interval

Row = dict[str, Any]

RATES = {
    "": "success",
    "at_end_": "success_at_end",
    "tight_": "tight_success",
    "whole_": "whole_success",
    "random_": "random_success",
    "random_at_end_": "random_success_at_end",
    "noop_": "noop_success",
    "noop_at_end_": "noop_success_at_end",
}
"""The rates: the beginning of each name, and the field of the rows that it counts."""


def figures(rows: Sequence[Row]) -> dict[str, Any]:
    """All figures of one world."""
    latencies = [ms / 1e3 for row in rows for ms in row["plan_latencies_ms"]]
    kinds = sorted({row["kind"] for row in rows})
    return {
        **rates(rows),
        "plan_latency_ms": percentiles_ms(latencies),
        "outcomes": counts(rows),
        "kinds": {kind: _kind([row for row in rows if row["kind"] == kind]) for kind in kinds},
    }


def against(pairs: Sequence[tuple[Row, Row]]) -> dict[str, Any]:
    """Success of each second row as a share of that of each first one: the same episodes, here and in another world."""
    paired = Paired.of([ours["success"] for ours, _ in pairs], [theirs["success"] for _, theirs in pairs])
    nominal, varied = paired.rates
    low, high = ratio_interval(paired)
    return {
        "nominal_success_rate": round(nominal, 4),
        "share_of_nominal": round(varied / nominal, 4) if nominal else None,
        "share_ci95": [round(low, 4), None if high is None else round(high, 4)],
        "mcnemar_p": round(mcnemar(paired), 4),
    }


def rates(rows: Sequence[Row]) -> dict[str, Any]:
    """`success_rate` and `ci95` for each of RATES."""
    result: dict[str, Any] = {}
    for prefix, key in RATES.items():
        successes = sum(row[key] for row in rows)
        result[f"{prefix}success_rate"] = round(successes / len(rows), 4)
        result[f"{prefix}ci95"] = ci95(successes, len(rows))
    return result


def counts(rows: Sequence[Row]) -> Mapping[str, int]:
    """Episodes by outcome, in the order of OUTCOMES."""
    found = Counter(row["outcome"] for row in rows)
    return {name: found[name] for name in OUTCOMES if found[name]}


def _kind(rows: Sequence[Row]) -> dict[str, Any]:
    return {"episodes": len(rows), **rates(rows), "outcomes": counts(rows)}
