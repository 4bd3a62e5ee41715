"""An animated image of a task: camera and goal, predicted cost and surprise, episode after episode, in real time."""

import io

from PIL import Image

from server.demo.drawing import CHART_SIZE, HEIGHT, PANEL, WIDTH, Chart, Panel, caption
from server.demo.recording import Recording
from server.demo.tasks import Task

EPISODES = 3
MOST_BYTES = 1_000_000
_LAST_FRAME_MS = 1500
_GAP = 16
_TOP = 44
_CHARTS_LEFT = 3 * _GAP + 2 * PANEL


def animation(task: Task) -> bytes:
    """A WebP of the first episodes, not chosen by how well they went; fewer when they would not fit."""
    episodes = min(EPISODES, len(task.recordings))
    while len(data := _webp(task, episodes)) > MOST_BYTES and episodes > 1:
        episodes -= 1
    return data


def _webp(task: Task, episodes: int) -> bytes:
    frames: list[Image.Image] = []
    durations: list[int] = []
    for number, recording in enumerate(task.recordings[:episodes], start=1):
        drawn = _episode(task, recording, f"episode {number} of {len(task.recordings)}")
        frames += drawn
        durations += [round(task.model.action.dt_ms)] * (len(drawn) - 1) + [_LAST_FRAME_MS]
    file = io.BytesIO()
    # Lossless is sharper here and four times smaller than lossy: the pictures are flat colours that hardly change.
    options = {"lossless": True, "quality": 80, "method": 4, "minimize_size": True}
    frames[0].save(file, format="webp", save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return file.getvalue()


def _episode(task: Task, recording: Recording, name: str) -> list[Image.Image]:
    plans, dt_s = recording.plans, task.model.action.dt_ms / 1e3
    end_s = (len(recording.frames) - 1) * dt_s
    cost = Chart("predicted cost", [(p.first_step * dt_s, p.predicted_cost) for p in plans], end_s, (179, 146, 240))
    surprises = [(p.first_step * dt_s, p.surprise) for p in plans if p.surprise is not None]
    surprise = Chart("surprise", surprises, end_s, (240, 163, 94), task.model.surprise_threshold)
    goal = Panel("goal", recording.goal_image)
    drawn = []
    for step, frame in enumerate(recording.frames):
        picture = Image.new("RGB", (WIDTH, HEIGHT), (14, 17, 22))
        result = recording.planned.success if step == len(recording.frames) - 1 else None
        caption(picture, f"{task.model.task}   {name}", f"{step * dt_s:.1f} s", result)
        distance = f"{recording.distances[step]:.2f} {task.distance_unit} to the goal"
        Panel(f"camera   {distance}", frame).draw(picture, (_GAP, _TOP))
        goal.draw(picture, (2 * _GAP + PANEL, _TOP))
        cost.draw(picture, (_CHARTS_LEFT, _TOP), step * dt_s)
        surprise.draw(picture, (_CHARTS_LEFT, _TOP + CHART_SIZE[1] + _GAP), step * dt_s)
        drawn.append(picture)
    return drawn
