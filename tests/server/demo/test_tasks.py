"""The order in which a demo shows its tasks, and the episode with which each opens."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs import ENVS
from server.demo.tasks import SHOWN_FIRST, DemoTask, simulated_models
from tests.tiny import write_tiny_checkpoint
from worldmodel.manifest import read_manifest


class Lasted:
    """A recording of so many control steps."""

    def __init__(self, steps: int) -> None:
        self.frames = [None] * (steps + 1)


def opening(*steps: int) -> int:
    recordings: Any = [Lasted(each) for each in steps]
    model: Any = None
    return DemoTask(model=model, distance_unit="m", excluded_already_solved=0, recordings=recordings).opening


@pytest.mark.parametrize(
    ("steps", "shown"), [((3, 14, 20), 1), ((3, 4, 50, 14), 2), ((50, 3, 3), 0), ((7,), 0), ((5, 5, 5), 0)]
)
def test_a_task_opens_with_the_first_episode_that_lasts(steps: tuple[int, ...], shown: int) -> None:
    assert opening(*steps) == shown


def test_push_t_comes_first_and_the_cube_second(tmp_path: Path) -> None:
    tasks = {"a": "telos/TwoRoom-v0", "b": "telos/Cube-v0", "c": "telos/PushT-v0", "d": "telos/Cube-v0", "e": ""}
    for name, task in tasks.items():
        folder = write_tiny_checkpoint(tmp_path, name)
        (folder / "manifest.json").write_text(replace(read_manifest(folder), task=task).to_json())
    assert simulated_models(tmp_path) == (["c", "b", "d", "a"], ["e"])


def test_tasks_that_are_shown_first_exist() -> None:
    assert set(SHOWN_FIRST) <= set(ENVS)
