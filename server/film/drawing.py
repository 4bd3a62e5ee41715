"""Parts of an animated image: camera panels, small line charts, a caption."""

from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from envs.mujoco_env import Image as Frame

PANEL = 256
CHART_SIZE = (280, 130)
WIDTH, HEIGHT = 16 * 4 + 2 * PANEL + CHART_SIZE[0], 344

Color = tuple[int, int, int]
_INK, _MUTED, _LINE, _CARD = (230, 237, 243), (154, 166, 178), (43, 51, 61), (22, 27, 34)
_GOOD, _BAD, _ALARM = (63, 185, 80), (255, 123, 114), (255, 123, 114)
_FINE = 3
"""Charts are drawn this many times larger, then reduced: Pillow's lines are not smooth."""
_FONT, _SMALL = ImageFont.load_default(15), ImageFont.load_default(13)


def caption(picture: Image.Image, title: str, time: str, success: bool | None) -> None:
    """Write the title, the time and, once it is known, the result. `success` is None before the episode ends."""
    draw = ImageDraw.Draw(picture)
    draw.text((16, 22), title, _INK, _FONT, anchor="lm")
    draw.text((WIDTH - 16, 22), time, _MUTED, _FONT, anchor="rm")
    if success is not None:
        result = "goal reached" if success else "not reached"
        right, half = WIDTH - 80, draw.textlength(result, _FONT) / 2
        draw.rounded_rectangle((right - 2 * half - 20, 9, right, 35), 13, _GOOD if success else _BAD)
        draw.text((right - half - 10, 22), result, (14, 17, 22), _FONT, anchor="mm")


@dataclass(frozen=True)
class Panel:
    """A camera image with its name, enlarged without blur."""

    name: str
    frame: Frame

    def draw(self, picture: Image.Image, corner: tuple[int, int]) -> None:
        image = Image.fromarray(self.frame)
        if max(image.size) > PANEL:
            image.thumbnail((PANEL, PANEL))
        factor = PANEL // max(image.size)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        picture.paste(image, corner)
        ImageDraw.Draw(picture).text((corner[0], corner[1] + PANEL + 16), self.name, _MUTED, _FONT, anchor="lm")


@dataclass(frozen=True)
class Chart:
    """Values over time, revealed up to now, with an optional alarm line."""

    name: str
    points: list[tuple[float, float]]
    """(time in s, value)"""
    end_s: float
    color: Color
    threshold: float | None = None
    _top: float = field(init=False)

    def __post_init__(self) -> None:
        largest = max([value for _, value in self.points] + [self.threshold or 0.0, 1e-9])
        object.__setattr__(self, "_top", 1.12 * largest)

    def draw(self, picture: Image.Image, corner: tuple[int, int], now_s: float) -> None:
        fine = Image.new("RGB", (CHART_SIZE[0] * _FINE, CHART_SIZE[1] * _FINE), _CARD)
        draw = ImageDraw.Draw(fine)
        self._draw_threshold(draw)
        past = [point for point in self.points if point[0] <= now_s + 1e-9]
        self._draw_line(draw, self.points, _LINE)
        self._draw_line(draw, past, self.color)
        for point in past:
            x, y = self._place(point)
            alarm = self.threshold is not None and point[1] > self.threshold
            draw.circle((x, y), 3 * _FINE, _ALARM if alarm else self.color)
        picture.paste(fine.resize(CHART_SIZE, Image.Resampling.BOX), corner)
        self._draw_words(ImageDraw.Draw(picture), corner, past)

    def _draw_words(self, draw: ImageDraw.ImageDraw, corner: tuple[int, int], past: list[tuple[float, float]]) -> None:
        left, top = corner
        draw.text((left + 10, top + 15), self.name, self.color, _FONT, anchor="lm")
        if past:
            draw.text((left + CHART_SIZE[0] - 10, top + 15), _short(past[-1][1]), _INK, _FONT, anchor="rm")
        if self.threshold is not None:
            y = top + self._place((0.0, self.threshold))[1] / _FINE
            draw.text((left + 10, y - 9), f"alarm above {_short(self.threshold)}", _MUTED, _SMALL, anchor="lm")

    def _draw_line(self, draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], color: Color) -> None:
        if len(points) > 1:
            draw.line([self._place(point) for point in points], color, 2 * _FINE, joint="curve")

    def _draw_threshold(self, draw: ImageDraw.ImageDraw) -> None:
        if self.threshold is not None:
            y = self._place((0.0, self.threshold))[1]
            for x in range(10 * _FINE, (CHART_SIZE[0] - 10) * _FINE, 9 * _FINE):
                draw.line([(x, y), (x + 5 * _FINE, y)], _ALARM, _FINE)

    def _place(self, point: tuple[float, float]) -> tuple[float, float]:
        """Time and value to pixels of the enlarged chart."""
        width, height = CHART_SIZE
        x = 12 + (width - 24) * point[0] / max(self.end_s, 1e-9)
        y = height - 10 - (height - 42) * point[1] / self._top
        return x * _FINE, y * _FINE


def _short(value: float) -> str:
    return f"{value:.3g}"
