import itertools

import numpy as np
import pytest

from envs import ENVS, env_class
from envs.mujoco_env import MujocoGoalEnv
from envs.rollout import rollout_states
from server.evaluation.protocols import EPISODE_STEPS, PROTOCOLS, SPLITS, PairStream, Split, StartAndGoal
from server.evaluation.worlds import ALL


@pytest.fixture(params=sorted(ENVS))
def env_id(request: pytest.FixtureRequest) -> str:
    return request.param


def _pairs(
    env_id: str, protocol: str, seed: int, count: int = 6, split: Split = "development"
) -> tuple[MujocoGoalEnv, list[StartAndGoal]]:
    env = env_class(env_id)(render_mode=None)
    stream = PairStream(env_id=env_id, protocol=PROTOCOLS[protocol], seed=seed, split=split)
    return env, list(itertools.islice(stream.pairs(env), count))


OFFSETS = sorted(name for name, protocol in PROTOCOLS.items() if protocol.offset_steps is not None)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("protocol", OFFSETS)
def test_the_goal_is_what_a_held_out_episode_reached_so_many_steps_later(env_id: str, protocol: str, split: Split):
    _, pairs = _pairs(env_id, protocol, seed=3, split=split)
    offset_steps = PROTOCOLS[protocol].offset_steps
    assert offset_steps is not None
    for pair in pairs:
        states = rollout_states(env_id, 3, pair.episode, EPISODE_STEPS, namespace=split).states
        np.testing.assert_array_equal(pair.start, states[pair.first_step])
        np.testing.assert_array_equal(pair.goal, states[pair.first_step + offset_steps])


def test_collection_and_both_splits_share_no_episode(env_id: str):
    """The same seed and index give other episodes: training data can never hold an evaluation episode."""
    namespaces = ("collect", *SPLITS)
    starts = [rollout_states(env_id, 1, 0, 1, namespace=namespace).states[0] for namespace in namespaces]
    assert not any(np.allclose(one, other) for one, other in itertools.combinations(starts, 2))


@pytest.mark.parametrize("protocol", ["offset25", "random-goal"])
def test_no_pair_of_one_split_is_in_the_other(env_id: str, protocol: str):
    """Not even of another seed: choices that were made on one split have not seen the other."""
    drawn = {
        split: [pair for seed in (0, 1) for pair in _pairs(env_id, protocol, seed, 5, split)[1]] for split in SPLITS
    }
    for ours, theirs in itertools.product(drawn["development"], drawn["test"]):
        assert not np.allclose(ours.start, theirs.start) and not np.allclose(ours.goal, theirs.goal)


def test_worlds_differ_between_splits(env_id: str):
    env = env_class(env_id)(render_mode=None)
    streams = [PairStream(env_id=env_id, protocol=PROTOCOLS["variation"], seed=0, split=split) for split in SPLITS]
    one, other = (stream.world(env.variation_class, ALL, episode=0) for stream in streams)
    assert one != other


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split='train'; give one of development, test"):
        PairStream(env_id="telos/TwoRoom-v0", protocol=PROTOCOLS["offset25"], seed=0, split="train")  # type: ignore[arg-type]


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
    for namespace in ("collect", "development"):
        known = [rollout_states(env_id, 0, index, 1, namespace=namespace).states[0] for index in range(20)]
        assert not any(np.allclose(start, state) for start in starts for state in known)
