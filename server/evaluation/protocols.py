"""Named protocols: where an episode starts, what its goal is, how long it may take.

The goal is the state that a held-out episode reached `offset_steps` control steps after the start, so it can be reached
in that many. Held-out episodes are simulated for the evaluation from random numbers that collection never draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from envs.mujoco_env import MujocoGoalEnv, State
from envs.rollout import rollout

EPISODE_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Steps are control steps."""

    name: str
    offset_steps: int
    budget_steps: int


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="offset25", offset_steps=25, budget_steps=50),
        Protocol(name="offset50", offset_steps=50, budget_steps=100),
        Protocol(name="offset75", offset_steps=75, budget_steps=150),
    )
}


@dataclass(frozen=True, kw_only=True)
class StartAndGoal:
    """One evaluation episode. `excluded_before` counts pairs passed over because the start already was a success."""

    episode: int
    """Index of the held-out episode."""
    first_step: int
    start: State
    goal: State
    excluded_before: int


def draw_pairs(env: MujocoGoalEnv, env_id: str, protocol: Protocol, seed: int) -> Iterator[StartAndGoal]:
    """Endless and reproducible: one pair for each held-out episode of `seed`, those already solved left out."""
    excluded, index = 0, 0
    while True:
        states = rollout(env, env_id, seed=seed, episode_index=index, steps=EPISODE_STEPS, namespace="heldout").states
        first = int(np.random.default_rng((seed, index)).integers(len(states) - protocol.offset_steps))
        start, goal = states[first], states[first + protocol.offset_steps]
        if env.is_success(start, goal):
            excluded += 1
        else:
            yield StartAndGoal(episode=index, first_step=first, start=start, goal=goal, excluded_before=excluded)
        index += 1


def plan_seed(seed: int, index: int) -> int:
    """Of every plan in one episode: an evaluation and a demo with the same seed see the same episodes and plans."""
    return seed * 1_000_003 + index
