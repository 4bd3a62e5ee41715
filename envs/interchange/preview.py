"""Previews of a data set: a contact sheet and an animation of some episodes.

Cameras stand side by side in the order of the data set; the vector sensors are curves under them.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from envs.interchange.charts import HEIGHT_PX, curves, with_cursor
from envs.interchange.source import Frame, Source

TILE_PX = 128
COLUMNS = 8
"""Frames of each episode on the contact sheet."""
LONGEST_FRAMES = 150
"""Most frames of the animation; longer episodes are shown at a multiple of their speed."""
_GAP, _LINE = 4, 16
_PAPER, _INK = (22, 27, 34), (230, 237, 243)
_FONT = ImageFont.load_default(12)


@dataclass(frozen=True)
class Glimpse:
    """Evenly spaced frames of one episode, and all readings of its vector sensors."""

    episode: int
    length: int
    task: str
    every: int
    frames: tuple[Image.Image, ...]
    """The pictures of all cameras, side by side."""
    numbers: tuple[int, ...]
    """Number in the episode of each frame."""
    vectors: Mapping[str, NDArray[np.float32]]
    """[length, k] of each vector sensor."""


def glimpses(source: Source, episodes: int) -> list[Glimpse]:
    """Glimpses of evenly spaced episodes, at most `episodes` of them. Raises ValueError."""
    lengths = source.lengths
    chosen = {int(index) for index in np.linspace(0, len(lengths) - 1, min(episodes, len(lengths))).round()}
    vectors = {number: rows.vectors for number, rows in enumerate(source.rows()) if number in chosen}
    return [_glimpse(source, number, vectors[number]) for number in sorted(chosen)]


def contact_sheet(shown: list[Glimpse], dt_s: float) -> bytes:
    """A PNG: one row an episode, from its first frame to its last."""
    width = _width(shown[0])
    height = _height(shown[0])
    sheet = Image.new("RGB", (_GAP + COLUMNS * (width + _GAP), _GAP + len(shown) * height), _PAPER)
    for row, each in enumerate(shown):
        top = _GAP + row * height
        _write(sheet, (_GAP, top), sheet.width - 2 * _GAP, each, dt_s)
        for column, place in enumerate(np.linspace(0, len(each.frames) - 1, COLUMNS).round().astype(int)):
            left = _GAP + column * (width + _GAP)
            sheet.paste(each.frames[place], (left, top + _LINE))
            number = str(each.numbers[place])
            corner = (left + 3, top + _LINE + 2)
            ImageDraw.Draw(sheet).text(corner, number, _INK, _FONT, stroke_width=2, stroke_fill=_PAPER)
        for chart, below in _charts(each, sheet.width - 2 * _GAP):
            sheet.paste(chart, (_GAP, top + below))
    file = io.BytesIO()
    sheet.save(file, format="png", optimize=True)
    return file.getvalue()


def animation(shown: list[Glimpse], dt_s: float) -> bytes:
    """A WebP: the episodes side by side, in real time where they are short enough; ended ones stand still."""
    columns = math.ceil(math.sqrt(len(shown)))
    width, height = _width(shown[0]), _height(shown[0])
    size = (_GAP + columns * (width + _GAP), _GAP + math.ceil(len(shown) / columns) * height)
    every = max(each.every for each in shown)
    charts = [_charts(each, width) for each in shown]
    pictures = []
    for step in range(0, max(each.length for each in shown), every):
        picture = Image.new("RGB", size, _PAPER)
        for place, each in enumerate(shown):
            row, column = divmod(place, columns)
            left, top = _GAP + column * (width + _GAP), _GAP + row * height
            _write(picture, (left, top), width, each, dt_s)
            picture.paste(each.frames[min(step // each.every, len(each.frames) - 1)], (left, top + _LINE))
            share = min(1.0, step / max(1, each.length - 1))
            for chart, below in charts[place]:
                picture.paste(with_cursor(chart, share), (left, top + below))
        pictures.append(picture)
    file = io.BytesIO()
    duration_ms = max(20, round(1000 * dt_s))
    pictures[0].save(
        file, format="webp", save_all=True, append_images=pictures[1:], duration=duration_ms, loop=0, quality=80
    )
    return file.getvalue()


def _glimpse(source: Source, episode: int, vectors: Mapping[str, NDArray[np.float32]]) -> Glimpse:
    length = source.lengths[episode]
    every = math.ceil(length / LONGEST_FRAMES)
    numbers = [number for number in range(length) if number % every == 0 or number == length - 1]
    tiles = [_tiles(source, episode, camera, {*numbers}) for camera in source.description.cameras]
    frames = tuple(_side_by_side(views) for views in zip(*tiles, strict=True))
    return Glimpse(episode, length, " ".join(source.tasks[episode].split()), every, frames, tuple(numbers), vectors)


def _tiles(source: Source, episode: int, camera: str, numbers: set[int]) -> list[Image.Image]:
    return [_tile(frame) for number, frame in enumerate(source.frames(episode, camera)) if number in numbers]


def _tile(frame: Frame) -> Image.Image:
    """Picture of the size of a tile; small ones are enlarged without blur, as the encoder sees them."""
    image = Image.fromarray(frame)
    larger = max(image.size) > TILE_PX
    return image.resize((TILE_PX, TILE_PX), Image.Resampling.BOX if larger else Image.Resampling.NEAREST)


def _side_by_side(views: tuple[Image.Image, ...]) -> Image.Image:
    return Image.fromarray(np.concatenate([np.asarray(view) for view in views], axis=1))


def _charts(each: Glimpse, width_px: int) -> list[tuple[Image.Image, int]]:
    """The curves of each vector sensor, and how far below the top of the episode's row they begin."""
    drawn = [curves(name, readings, width_px) for name, readings in each.vectors.items()]
    return [(chart, _LINE + TILE_PX + _GAP + place * (HEIGHT_PX + _GAP)) for place, chart in enumerate(drawn)]


def _width(each: Glimpse) -> int:
    return each.frames[0].width


def _height(each: Glimpse) -> int:
    return _LINE + TILE_PX + _GAP + len(each.vectors) * (HEIGHT_PX + _GAP)


def _write(picture: Image.Image, corner: tuple[int, int], width_px: int, each: Glimpse, dt_s: float) -> None:
    draw = ImageDraw.Draw(picture)
    words = f"{each.episode}: {(each.length - 1) * dt_s:.1f} s, {each.length} frames {each.task}"
    while draw.textlength(words, _FONT) > width_px:
        words = words[:-1]
    draw.text(corner, words, _INK, _FONT)
