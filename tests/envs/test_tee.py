"""The T's geometry, held against points strewn over it."""

import numpy as np
import pytest

from envs.tee import Tee, rotated

TEE = Tee(0.6)


@pytest.fixture(scope="module")
def inside() -> np.ndarray:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (400_000, 2))
    return points[TEE.distance_m(points) < 0]


def test_the_origin_is_the_centre_of_mass_and_the_turn_has_its_radius(inside: np.ndarray) -> None:
    assert np.abs(inside.mean(0)).max() < 2e-3
    assert np.sqrt(np.square(inside).sum(1).mean()) == pytest.approx(TEE.gyration_radius_m, rel=5e-3)
    assert np.linalg.norm(inside, axis=1).max() == pytest.approx(TEE.reach_m, rel=1e-2)


def test_the_outline_is_where_inside_ends() -> None:
    points, inward = TEE.outline(np.arange(5e-4, 1.0, 1e-3))
    assert np.abs(TEE.distance_m(points)).max() < 1e-12
    assert (TEE.distance_m(points + 0.01 * inward) < 0).all()
    assert (TEE.distance_m(points - 0.01 * inward) > 0).all()
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert steps.max() == pytest.approx(4 * TEE.length_m / 1000), "a T is four bar lengths around"


def test_distance_outside_is_to_the_nearest_surface() -> None:
    top = TEE.corners[:, 1].max()
    assert TEE.distance_m(np.array([[0.0, top + 0.2], [0.3 + 0.3, top + 0.4]])) == pytest.approx([0.2, 0.5])


def test_a_push_through_the_centre_does_not_turn_and_others_turn_their_way() -> None:
    points = np.array([[0.0, 0.2], [0.25, 0.2], [-0.25, 0.2]])
    turns = TEE.motion(points, np.tile([0.0, -1.0], (3, 1)))[:, 2]
    assert turns[0] == 0 and turns[1] < 0 < turns[2]


def test_rotation_is_counter_clockwise() -> None:
    assert rotated(np.array([[1.0, 0.0], [0.0, 1.0]]), np.pi / 2) == pytest.approx(np.array([[0.0, 1.0], [-1.0, 0.0]]))
