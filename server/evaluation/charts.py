"""The charts on the page of an evaluation, drawn from its rows as SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from server.evaluation.statistics import wilson_interval

BINS = 6
"""The most groups; all have about as many episodes."""


def success_by_distance(rows: Sequence[Mapping[str, Any]], unit: str) -> bytes:
    """Rates, with 95 % intervals, of episodes that began at about the same distance."""
    figure, axes = _figure()
    ordered = sorted(rows, key=lambda row: row["first_distance"])
    for group in np.array_split(np.arange(len(ordered)), min(BINS, len(ordered))):
        theirs = [ordered[index] for index in group]
        distances = [row["first_distance"] for row in theirs]
        _point(axes, float(np.median(distances)), sum(row["success"] for row in theirs), len(theirs), distances)
    axes.set(
        xlabel=f"distance at the start ({unit}), {len(rows)} episodes in groups", ylabel="success", ylim=(-0.03, 1.03)
    )
    return _svg(figure)


def latencies(rows: Sequence[Mapping[str, Any]], robots: int) -> bytes:
    """A histogram of plan latencies, in ms."""
    figure, axes = _figure()
    ms = [each for row in rows for each in row["plan_latencies_ms"]]
    axes.hist(ms, bins=30, color="#0b63c4")
    for quantile, style in ((50, "-"), (95, "--")):
        value = float(np.percentile(ms, quantile))
        axes.axvline(value, color="#bd2c1f", linestyle=style, label=f"p{quantile}: {value:.0f} ms")
    axes.set(xlabel=f"ms a plan, {robots} robots at a time", ylabel="plans")
    axes.legend(frameon=False)
    return _svg(figure)


def _point(axes: Axes, at: float, successes: int, trials: int, span: Sequence[float]) -> None:
    rate, (low, high) = successes / trials, wilson_interval(successes, trials)
    across = [[at - min(span)], [max(span) - at]]
    axes.errorbar([at], [rate], [[rate - low], [high - rate]], across, fmt="o", color="#0b63c4", capsize=3)


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure, axes


def _svg(figure: Figure) -> bytes:
    """The same bytes for the same figure."""
    file = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "telos"}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return file.getvalue()
