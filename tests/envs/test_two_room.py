"""TwoRoom: walls hold, the door lets through, the expert knows the way."""

import numpy as np
import pytest

from envs.policies import TwoRoomExpert
from envs.two_room import TwoRoomEnv


def drive(env: TwoRoomEnv, start: tuple[float, float], action: tuple[float, float], steps: int) -> np.ndarray:
    env.set_state([*start, 0.0, 0.0])
    return np.stack([env.advance(action) for _ in range(steps)])


def test_the_wall_holds_and_the_door_lets_through() -> None:
    env = TwoRoomEnv(render_mode=None)
    assert drive(env, (-0.5, -0.4), (1.0, 0.0), 20)[:, 0].max() < 0.0
    assert drive(env, (-0.5, 0.4), (1.0, 0.0), 10)[-1, 0] > 0.4
    assert np.abs(drive(env, (0.8, 0.8), (1.0, 1.0), 20)[:, :2]).max() < 0.95


def test_the_door_moves_with_its_factor() -> None:
    env = TwoRoomEnv(render_mode=None)
    env.set_variation(env.variation_class.from_options({"door_y_m": -0.4}))
    assert drive(env, (-0.5, -0.4), (1.0, 0.0), 10)[-1, 0] > 0.4
    assert drive(env, (-0.5, 0.4), (1.0, 0.0), 10)[:, 0].max() < 0.0


def test_success_is_the_published_distance() -> None:
    env = TwoRoomEnv(render_mode=None)
    goal = np.array([0.5, 0.5, 0.0, 0.0])
    assert env.is_success(goal + np.array([0.139, 0, 1.0, 1.0]), goal)
    assert not env.is_success(goal + np.array([0.141, 0, 0, 0]), goal)


def test_half_of_the_goals_are_forced_into_the_other_room() -> None:
    env, rng = TwoRoomEnv(render_mode=None), np.random.default_rng(0)
    starts = [env.sample_state(rng) for _ in range(400)]
    crossing = np.mean([env.sample_goal(rng, start)[0] * start[0] < 0 for start in starts])
    assert 0.65 < crossing < 0.85


def test_a_state_inside_a_wall_is_refused_with_its_clearance() -> None:
    with pytest.raises(ValueError, match="from a wall"):
        TwoRoomEnv(render_mode=None).set_state([0.0, -0.5, 0.0, 0.0])


@pytest.mark.parametrize("seed", range(8))
def test_the_expert_crosses(seed: int) -> None:
    env, rng = TwoRoomEnv(render_mode=None), np.random.default_rng(seed)
    env.set_state(env.sample_state(rng))
    expert = TwoRoomExpert(env, rng)
    xs = [env.advance(expert.act(env.get_state()))[0] for _ in range(300)]
    assert min(xs) < 0 < max(xs)
