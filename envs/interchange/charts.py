"""A vector sensor's readings of an episode as curves over time."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

HEIGHT_PX = 48
_PAPER, _AXIS, _INK = (33, 38, 45), (139, 148, 158), (230, 237, 243)
_COLOURS = ((88, 166, 255), (63, 185, 80), (255, 123, 114), (210, 153, 34), (188, 140, 255), (57, 197, 207))
_FONT = ImageFont.load_default(10)


def curves(name: str, readings: NDArray[np.floating], width_px: int) -> Image.Image:
    """One curve for each column of `readings` [n, k], from the first frame at the left to the last at the right.

    Each is drawn from its lowest to its highest reading, so that small motions show; the greatest and the least of all
    stand at the left edge.
    """
    chart = Image.new("RGB", (width_px, HEIGHT_PX), _PAPER)
    draw = ImageDraw.Draw(chart)
    x = np.linspace(0, width_px - 1, len(readings))
    for column, values in enumerate(readings.T):
        points = list(zip(x.tolist(), _heights(values).tolist(), strict=True))
        draw.line(points if len(points) > 1 else points * 2, fill=_COLOURS[column % len(_COLOURS)])
    draw.text((3, 1), f"{name}: {readings.max():.3g}", _INK, _FONT)
    draw.text((3, HEIGHT_PX - 13), f"{readings.min():.3g}", _INK, _FONT)
    return chart


def with_cursor(chart: Image.Image, share: float) -> Image.Image:
    """The chart with a line at this share of the episode's time."""
    marked = chart.copy()
    x = round(share * (chart.width - 1))
    ImageDraw.Draw(marked).line([(x, 0), (x, chart.height)], fill=_AXIS)
    return marked


def _heights(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Places of the readings on the chart; the middle for readings that never change."""
    low, high = values.min(), values.max()
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return 2 + (1 - share) * (HEIGHT_PX - 5)
