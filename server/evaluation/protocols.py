"""Named protocols: where an episode starts, what its goal is, how long it may take.

offsetN: the goal is the state that a held-out episode reached N control steps after the start, so it can be reached
in that many; the budget is 2 N. random-goal: start and goal are drawn as the environment's own `reset` draws them, and
the budget is the time limit of the registered environment. variation: offset25, in the nominal world and in worlds that
differ from it (`worlds.py`). Held-out episodes and such pairs come from random numbers that collection never draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from envs import MAX_EPISODE_STEPS
from envs.episode_seeds import RANDOM_GOAL, episode_seed
from envs.mujoco_env import MujocoGoalEnv, State
from envs.rollout import EpisodeKey, rollout
from envs.variation import Variation

EPISODE_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One protocol; steps are control steps."""

    name: str
    offset_steps: int | None
    """None when the goal may be anywhere."""
    budget_steps: int
    varied: bool = False
    """Whether episodes are also played in worlds that differ from the nominal one."""


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="offset25", offset_steps=25, budget_steps=50),
        Protocol(name="offset50", offset_steps=50, budget_steps=100),
        Protocol(name="offset75", offset_steps=75, budget_steps=150),
        Protocol(name="random-goal", offset_steps=None, budget_steps=MAX_EPISODE_STEPS),
        Protocol(name="variation", offset_steps=25, budget_steps=50, varied=True),
    )
}


@dataclass(frozen=True, kw_only=True)
class StartAndGoal:
    """One evaluation episode. `excluded_before` counts pairs passed over because the start already was a success."""

    episode: int
    """Index of the held-out episode, or of the draw."""
    first_step: int
    start: State
    goal: State
    excluded_before: int
    world: Variation | None = None
    """None stands for the nominal world."""


def draw_pairs(env: MujocoGoalEnv, env_id: str, protocol: Protocol, seed: int) -> Iterator[StartAndGoal]:
    """Yield one pair for each held-out episode of `seed`, for ever, without those already solved."""
    excluded, index = 0, 0
    while True:
        pair = pair_of_episode(env, env_id, protocol, seed, index, excluded_before=excluded)
        if env.is_success(pair.start, pair.goal):
            excluded += 1
        else:
            yield pair
        index += 1


def pair_of_episode(
    env: MujocoGoalEnv,
    env_id: str,
    protocol: Protocol,
    seed: int,
    episode: int,
    world: Variation | None = None,
    excluded_before: int = 0,
) -> StartAndGoal:
    """The pair of one held-out episode, which may already be solved.

    Another world uses the same random numbers. Start and goal stay the same unless the world makes them impossible or
    moves differently.
    """
    if protocol.offset_steps is None:
        env.set_variation(world or env.variation_class())
        rng, first = np.random.default_rng(episode_seed(env_id, seed, RANDOM_GOAL, episode)), 0
        start = env.sample_state(rng)
        goal = env.sample_goal(rng, start)
    else:
        trajectory = rollout(
            env,
            env_id,
            EpisodeKey(namespace="heldout", seed=seed, index=episode),
            steps=EPISODE_STEPS,
            variation=world or "nominal",
        )
        first = int(np.random.default_rng((seed, episode)).integers(len(trajectory.states) - protocol.offset_steps))
        start, goal = trajectory.states[first], trajectory.states[first + protocol.offset_steps]
    return StartAndGoal(
        episode=episode, first_step=first, start=start, goal=goal, excluded_before=excluded_before, world=world
    )


def plan_seed(seed: int, index: int) -> int:
    """Seed of all plans in one episode, so that evaluations and demos with one seed see the same episodes and plans."""
    return seed * 1_000_003 + index
