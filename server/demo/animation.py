"""Animated image of a task: a few of its episodes, one after the other, in real time."""

from server.demo.recording import Recording
from server.demo.tasks import DemoTask
from server.film.film import Film, webp

EPISODES = 3
MOST_BYTES = 1_000_000


def animation(task: DemoTask) -> bytes:
    """A WebP of the opening episode and those after it, succeeded or not; fewer when they exceed MOST_BYTES."""
    numbered = list(enumerate(task.recordings, start=1))
    shown = (numbered[task.opening :] + numbered[: task.opening])[:EPISODES]
    films = [_film(task, recording, number) for number, recording in shown]
    while len(data := webp(films)) > MOST_BYTES and len(films) > 1:
        films.pop()
    return data


def _film(task: DemoTask, recording: Recording, number: int) -> Film:
    action = task.model.required_action
    return Film(
        title=f"{task.model.task}   episode {number} of {len(task.recordings)}",
        dt_s=action.dt_ms / 1e3,
        control_steps=action.control_steps,
        frames=recording.frames,
        goal=recording.goal_image,
        distances=recording.planned.distances,
        distance_unit=task.distance_unit,
        costs=[plan.predicted_cost for plan in recording.plans],
        surprises=[plan.surprise for plan in recording.plans],
        surprise_threshold=task.model.surprise_threshold,
        success=recording.planned.success,
    )
