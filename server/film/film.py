"""Animated image of an episode: camera and goal, predicted cost and surprise, one frame for each control step."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from envs.mujoco_env import Image as Frame
from server.film.drawing import CHART_SIZE, HEIGHT, PANEL, WIDTH, Chart, Panel, caption

_LAST_FRAME_MS = 1500
_GAP = 16
_TOP = 44
_CHARTS_LEFT = 3 * _GAP + 2 * PANEL


@dataclass(frozen=True, kw_only=True)
class Film:
    """One episode. Entry k of `frames` and `distances` is after k control steps; plans are `control_steps` apart."""

    title: str
    dt_s: float
    control_steps: int
    frames: Sequence[Frame]
    goal: Frame
    distances: Sequence[float]
    distance_unit: str
    costs: Sequence[float | None]
    surprises: Sequence[float | None]
    surprise_threshold: float | None
    success: bool


def webp(films: Sequence[Film]) -> bytes:
    """An animated WebP that shows the films one after the other, in real time."""
    pictures: list[Image.Image] = []
    durations: list[int] = []
    for film in films:
        drawn = _drawn(film)
        pictures += drawn
        durations += [round(1e3 * film.dt_s)] * (len(drawn) - 1) + [_LAST_FRAME_MS]
    file = io.BytesIO()
    # Lossless is sharper and four times smaller than lossy here: the images are flat colours that hardly change.
    options = {"lossless": True, "quality": 80, "method": 4, "minimize_size": True}
    pictures[0].save(
        file, format="webp", save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options
    )
    return file.getvalue()


def _drawn(film: Film) -> list[Image.Image]:
    end_s = (len(film.frames) - 1) * film.dt_s
    times_s = [index * film.control_steps * film.dt_s for index in range(len(film.costs))]
    cost = Chart("predicted cost", _known(times_s, film.costs), end_s, (179, 146, 240))
    surprise = Chart("surprise", _known(times_s, film.surprises), end_s, (240, 163, 94), film.surprise_threshold)
    goal = Panel("goal", film.goal)
    drawn = []
    for step, frame in enumerate(film.frames):
        picture = Image.new("RGB", (WIDTH, HEIGHT), (14, 17, 22))
        caption(
            picture, film.title, f"{step * film.dt_s:.1f} s", film.success if step == len(film.frames) - 1 else None
        )
        distance = f"{film.distances[step]:.2f} {film.distance_unit} to the goal"
        Panel(f"camera   {distance}", frame).draw(picture, (_GAP, _TOP))
        goal.draw(picture, (2 * _GAP + PANEL, _TOP))
        cost.draw(picture, (_CHARTS_LEFT, _TOP), step * film.dt_s)
        surprise.draw(picture, (_CHARTS_LEFT, _TOP + CHART_SIZE[1] + _GAP), step * film.dt_s)
        drawn.append(picture)
    return drawn


def _known(times_s: Sequence[float], values: Sequence[float | None]) -> list[tuple[float, float]]:
    """Points of a chart, without missing values."""
    return [(at, value) for at, value in zip(times_s, values, strict=True) if value is not None]
