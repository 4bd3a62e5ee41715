"""An animated image of a task: its first episodes, one after the other, in real time."""

from server.demo.recording import Recording
from server.demo.tasks import DemoTask
from server.film.film import Film, webp

EPISODES = 3
MOST_BYTES = 1_000_000


def animation(task: DemoTask) -> bytes:
    """A WebP of the first episodes, whether they succeeded or not; fewer when they exceed MOST_BYTES."""
    films = [_film(task, recording, number) for number, recording in enumerate(task.recordings[:EPISODES], start=1)]
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
