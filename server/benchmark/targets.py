"""A figure and its target: one row of a reliability report."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    id: int
    """Number of the reliability test, as in the table of `benchmarks/reliability.py`."""
    name: str
    target: str
    measured: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.name}: measured {self.measured}; wanted {self.target}"


def judge(
    id: int,
    name: str,
    measured: float,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    unit: str = "",
) -> Row:
    """Row of one figure. NaN misses every target. Raises ValueError without a target."""
    if at_most is None and at_least is None:
        raise ValueError(f"{name} has no target; give at_most, at_least or both")
    targets = [f"{word} {_text(bound, unit)}" for word, bound in (("≥", at_least), ("≤", at_most)) if bound is not None]
    passed = (at_most is None or measured <= at_most) and (at_least is None or measured >= at_least)
    wanted = f"= {_text(at_least, unit)}" if at_least is not None and at_least == at_most else " and ".join(targets)
    return Row(id=id, name=name, target=wanted, measured=_text(measured, unit), passed=bool(passed))


def _text(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()
