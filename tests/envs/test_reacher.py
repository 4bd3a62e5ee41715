"""Reacher: posture, wrapping and limits."""

import numpy as np
import pytest

from envs.reacher import ELBOW_LIMIT_RAD, ReacherEnv


def test_a_full_turn_of_the_shoulder_is_the_same_posture() -> None:
    env = ReacherEnv(image_size=32)
    goal = np.array([0.3, -1.0, 0.0, 0.0])
    turned = goal + np.array([2 * np.pi, 0, 0, 0])
    assert env.is_success(turned, goal)
    difference = env.render_state(turned).astype(int) - env.render_state(goal)
    assert np.abs(difference).max() <= 1  # the sine of a full turn more differs in the last bit
    env.close()


def test_distance_is_the_larger_angle() -> None:
    env = ReacherEnv(render_mode=None)
    goal = np.zeros(4)
    assert env.distance(np.array([0.2, -0.5, 9.0, 9.0]), goal) == pytest.approx(0.5)
    assert env.distance(np.array([np.pi + 0.1, 0.0, 0.0, 0.0]), goal) == pytest.approx(np.pi - 0.1)
    assert env.is_success(np.array([0.049, -0.049, 0.0, 0.0]), goal)
    assert not env.is_success(np.array([0.049, -0.051, 0.0, 0.0]), goal)


def test_the_elbow_stops_at_its_limit() -> None:
    env = ReacherEnv(render_mode=None)
    env.set_state([0.0, 2.0, 0.0, 0.0])
    angles = [env.advance([0.0, 3.0])[1] for _ in range(20)]
    assert max(angles) < ELBOW_LIMIT_RAD + 0.05 and angles[-1] > ELBOW_LIMIT_RAD - 0.05


def test_fingertip_feature_follows_the_links() -> None:
    env = ReacherEnv(render_mode=None)
    names = env.feature_names
    features = env.state_features(np.array([np.pi / 2, -np.pi / 2, 0.0, 0.0]))
    assert features[[names.index("fingertip_x"), names.index("fingertip_y")]] == pytest.approx([0.5, 0.5])
    env.set_variation(env.variation_class.from_options({"forearm_length_m": 0.4}))
    assert env.state_features(np.zeros(4))[names.index("fingertip_x")] == pytest.approx(0.9)
