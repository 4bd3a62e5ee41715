"""What a data set looks like, before hours are spent on it: a contact sheet and an animation of some episodes."""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.interchange.source import Frame, Source

TILE_PX = 128
COLUMNS = 8
"""Frames an episode on the contact sheet."""
LONGEST_FRAMES = 150
"""Frames of the animation; longer episodes are shown at a multiple of their speed."""
_GAP, _LINE = 4, 16
_PAPER, _INK = (22, 27, 34), (230, 237, 243)
_FONT = ImageFont.load_default(12)


@dataclass(frozen=True)
class Glimpse:
    """Some frames of one episode, evenly spaced."""

    episode: int
    length: int
    task: str
    every: int
    frames: tuple[Image.Image, ...]
    numbers: tuple[int, ...]
    """Which frame of the episode each is."""


def glimpses(source: Source, episodes: int) -> list[Glimpse]:
    """Of evenly spaced episodes. Raises ValueError."""
    lengths = source.lengths
    chosen = np.linspace(0, len(lengths) - 1, min(episodes, len(lengths))).round()
    return [_glimpse(source, int(index)) for index in chosen]


def contact_sheet(shown: list[Glimpse], dt_s: float) -> bytes:
    """A PNG: one row an episode, from its first frame to its last."""
    sheet = Image.new("RGB", (_offset(COLUMNS), _offset(len(shown), _LINE)), _PAPER)
    for row, each in enumerate(shown):
        top = _offset(row, _LINE)
        _write(sheet, (_GAP, top), sheet.width - 2 * _GAP, each, dt_s)
        for column, place in enumerate(np.linspace(0, len(each.frames) - 1, COLUMNS).round().astype(int)):
            sheet.paste(each.frames[place], (_offset(column), top + _LINE))
            corner = (_offset(column) + 3, top + _LINE + 2)
            number = str(each.numbers[place])
            ImageDraw.Draw(sheet).text(corner, number, _INK, _FONT, stroke_width=2, stroke_fill=_PAPER)
    file = io.BytesIO()
    sheet.save(file, format="png", optimize=True)
    return file.getvalue()


def animation(shown: list[Glimpse], dt_s: float) -> bytes:
    """A WebP: the episodes side by side, in real time where they are short enough; ended ones stand still."""
    columns = math.ceil(math.sqrt(len(shown)))
    size = (_offset(columns), _offset(math.ceil(len(shown) / columns), _LINE))
    every = max(each.every for each in shown)
    pictures = []
    for step in range(0, max(each.length for each in shown), every):
        picture = Image.new("RGB", size, _PAPER)
        for place, each in enumerate(shown):
            row, column = divmod(place, columns)
            top = _offset(row, _LINE)
            _write(picture, (_offset(column), top), TILE_PX, each, dt_s)
            picture.paste(each.frames[min(step // each.every, len(each.frames) - 1)], (_offset(column), top + _LINE))
        pictures.append(picture)
    file = io.BytesIO()
    duration_ms = max(20, round(1000 * dt_s))
    pictures[0].save(
        file, format="webp", save_all=True, append_images=pictures[1:], duration=duration_ms, loop=0, quality=80
    )
    return file.getvalue()


def _glimpse(source: Source, episode: int) -> Glimpse:
    length = source.lengths[episode]
    every = math.ceil(length / LONGEST_FRAMES)
    kept = [
        (number, _tile(frame))
        for number, frame in enumerate(source.frames(episode))
        if number % every == 0 or number == length - 1
    ]
    numbers, tiles = zip(*kept, strict=True)
    return Glimpse(episode, length, " ".join(source.tasks[episode].split()), every, tiles, numbers)


def _tile(frame: Frame) -> Image.Image:
    """Small pictures are enlarged without blur: one sees what the encoder will."""
    image = Image.fromarray(frame)
    larger = max(image.size) > TILE_PX
    return image.resize((TILE_PX, TILE_PX), Image.Resampling.BOX if larger else Image.Resampling.NEAREST)


def _offset(tiles: int, line: int = 0) -> int:
    return _GAP + tiles * (TILE_PX + _GAP + line)


def _write(picture: Image.Image, corner: tuple[int, int], width_px: int, each: Glimpse, dt_s: float) -> None:
    draw = ImageDraw.Draw(picture)
    words = f"{each.episode}: {(each.length - 1) * dt_s:.1f} s, {each.length} frames {each.task}"
    while draw.textlength(words, _FONT) > width_px:
        words = words[:-1]
    draw.text(corner, words, _INK, _FONT)
