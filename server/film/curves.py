"""Plot of a training, from the curves in the manifest."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from worldmodel import HELD_OUT_CURVES


def plot_curves(name: str, curves: Mapping[str, Sequence[float]], latent_width: int) -> bytes:
    """PNG of losses, held-out errors with their controls, and collapse alarms, over training steps."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    losses, errors, collapse = figure.subplots(1, 3)
    for key in (key for key in curves if key not in ("step", "evaluation_step", *HELD_OUT_CURVES)):
        losses.semilogy(curves["step"], curves[key], label=key)
    losses.set_title(f"{name}: losses")
    for key in ("predict_mse", "copy_mse", "shuffled_mse"):
        errors.semilogy(curves["evaluation_step"], curves[key], label=key)
    errors.set_title("held-out one-step error")
    collapse.plot(curves["evaluation_step"], curves["effective_rank"], label="effective rank")
    collapse.plot(curves["evaluation_step"], [latent_width * std for std in curves["latent_std"]], label="width x std")
    collapse.axhline(latent_width / 3, color="grey", linestyle=":", label="alarm")
    collapse.set_title("collapse alarms")
    collapse.set_ylim(bottom=0)
    for axes in (losses, errors, collapse):
        axes.set_xlabel("step")
        axes.legend()
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    return file.getvalue()
