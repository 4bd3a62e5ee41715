import itertools

import numpy as np
import pytest

from envs import ENVS, env_class
from envs.rollout import rollout_states
from server.evaluation.protocols import EPISODE_STEPS, PROTOCOLS, draw_pairs


@pytest.fixture(params=sorted(ENVS))
def env_id(request: pytest.FixtureRequest) -> str:
    return request.param


def _pairs(env_id: str, protocol: str, seed: int, count: int = 6):
    env = env_class(env_id)(render_mode=None)
    return env, list(itertools.islice(draw_pairs(env, env_id, PROTOCOLS[protocol], seed), count))


OFFSETS = sorted(name for name, protocol in PROTOCOLS.items() if protocol.offset_steps is not None)


@pytest.mark.parametrize("protocol", OFFSETS)
def test_the_goal_is_what_a_held_out_episode_reached_so_many_steps_later(env_id: str, protocol: str):
    _, pairs = _pairs(env_id, protocol, seed=3)
    offset_steps = PROTOCOLS[protocol].offset_steps
    assert offset_steps is not None
    for pair in pairs:
        states = rollout_states(env_id, 3, pair.episode, EPISODE_STEPS, namespace="heldout").states
        np.testing.assert_array_equal(pair.start, states[pair.first_step])
        np.testing.assert_array_equal(pair.goal, states[pair.first_step + offset_steps])


def test_held_out_episodes_are_not_those_that_collection_draws(env_id: str):
    """The same seed and index give another episode: training data can never hold an evaluation episode."""
    held_out = rollout_states(env_id, 1, 0, 20, namespace="heldout").states
    collected = rollout_states(env_id, 1, 0, 20, namespace="collect").states
    assert not np.allclose(held_out[0], collected[0])


def test_solved_starts_are_left_out_and_counted(env_id: str):
    env, pairs = _pairs(env_id, "offset25", seed=0, count=30)
    assert not any(env.is_success(pair.start, pair.goal) for pair in pairs)
    assert pairs[-1].excluded_before == pairs[-1].episode + 1 - len(pairs)


def test_pairs_are_reproducible_and_differ_between_seeds(env_id: str):
    first, again, other = (_pairs(env_id, "offset25", seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal([p.start for p in first], [p.start for p in again])
    assert not np.allclose([p.start for p in first], [p.start for p in other])


def test_random_goals_are_possible_unsolved_and_nowhere_in_training(env_id: str):
    env, pairs = _pairs(env_id, "random-goal", seed=0, count=20)
    assert not any(env.is_success(pair.start, pair.goal) for pair in pairs)
    assert all(env.state_error(state) is None for pair in pairs for state in (pair.start, pair.goal))
    starts = [pair.start for pair in pairs]
    for namespace in ("collect", "heldout"):
        known = [rollout_states(env_id, 0, index, 1, namespace=namespace).states[0] for index in range(20)]
        assert not any(np.allclose(start, state) for start in starts for state in known)
