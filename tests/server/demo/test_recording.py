"""What is recorded of an episode, and how it is packed for the page."""

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from envs import TwoRoomEnv
from envs.mujoco_env import State, at_rest
from server.demo.demo import file_stem
from server.demo.pixels import sprite_sheet
from server.evaluation.episode import run_episode
from server.evaluation.protocols import StartAndGoal


@pytest.fixture
def env() -> Iterator[TwoRoomEnv]:
    made = TwoRoomEnv(image_size=32)
    yield made
    made.close()


class StraightAhead:
    def act(self, image: np.ndarray) -> np.ndarray:
        return np.tile([1.0, 0.0], (5, 1))


@pytest.mark.parametrize("stop", [True, False])
def test_an_episode_shows_every_control_step_and_may_end_with_the_successful_one(env: TwoRoomEnv, stop: bool) -> None:
    pair = StartAndGoal(episode=0, first_step=0, start=at_rest(-0.8, -0.5), goal=at_rest(-0.5, -0.5), excluded_before=0)
    states: list[State] = []
    result = run_episode(env, pair, 10, lambda goal: StraightAhead(), states.append, stop_at_success=stop)
    assert result.success and result.steps_to_success is not None and result.steps_to_success % 5 != 0
    assert len(states) == (result.steps_to_success if stop else 10) + 1
    np.testing.assert_array_equal(states[0], pair.start)
    assert env.is_success(states[result.steps_to_success], pair.goal)


@pytest.mark.parametrize("count", [1, 2, 7, 52])
def test_a_sprite_sheet_keeps_every_pixel_of_every_frame(count: int) -> None:
    frames = list(np.random.default_rng(count).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8))
    sheet = sprite_sheet(frames)
    pixels = np.asarray(Image.open(io.BytesIO(sheet.png)))
    for index, frame in enumerate(frames):
        row, column = divmod(index, sheet.columns)
        np.testing.assert_array_equal(pixels[6 * row : 6 * row + 6, 8 * column : 8 * column + 8], frame)


@pytest.mark.parametrize(
    ("model", "stem"), [("tworoom-lewm", "tworoom-lewm"), ("../up", "-up"), ("a/b c", "a-b-c"), ("..", "model")]
)
def test_a_model_name_cannot_leave_the_folder(model: str, stem: str) -> None:
    assert file_stem(model) == stem
