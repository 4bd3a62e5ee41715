"""Plot of a training, from the curves in the manifest."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from worldmodel import HELD_OUT_CURVES

Curves = Mapping[str, Sequence[float]]


def plot_curves(name: str, curves: Curves, latent_width: int) -> bytes:
    """PNG of losses, held-out errors with their controls where there are predictions, and signs of collapse, over
    training steps."""
    predicts = bool(curves["predict_mse"])
    figure = Figure(figsize=(12 if predicts else 8, 3.6), layout="constrained")
    losses, *errors, collapse = figure.subplots(1, 3 if predicts else 2)
    for key in (key for key in curves if key not in ("step", "evaluation_step", *HELD_OUT_CURVES)):
        losses.semilogy(curves["step"], curves[key], label=key)
    losses.set_title(f"{name}: losses")
    for axes in errors:
        _plot_errors(axes, curves)
    if curves["effective_rank"]:
        _plot_rank_and_std(collapse, curves, latent_width)
    else:
        _plot_shares(collapse, curves)
    collapse.set_ylim(bottom=0)
    for axes in (losses, *errors, collapse):
        axes.set_xlabel("step")
        axes.legend()
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()


def _plot_errors(axes: Axes, curves: Curves) -> None:
    for key in ("predict_mse", "copy_mse", "shuffled_mse"):
        axes.semilogy(curves["evaluation_step"], curves[key], label=key)
    axes.set_title("held-out one-step error")


def _plot_rank_and_std(axes: Axes, curves: Curves, latent_width: int) -> None:
    axes.plot(curves["evaluation_step"], curves["effective_rank"], label="effective rank")
    axes.plot(curves["evaluation_step"], [latent_width * std for std in curves["latent_std"]], label="width x std")
    axes.axhline(latent_width / 3, color="grey", linestyle=":", label="alarm")
    axes.set_title("collapse alarms")


def _plot_shares(axes: Axes, curves: Curves) -> None:
    """The spread of an encoder alone, whose latents have no scale of their own."""
    for key in ("std_share", "rank_share", "cosine_gap_share"):
        axes.plot(curves["evaluation_step"], curves[key], label=key)
    axes.set_title("spread, as share of random weights'")
