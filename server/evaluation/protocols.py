"""Named protocols: where an episode starts, what its goal is, how long it may take.

offsetN: the goal is the state that a held-out episode reached N control steps after the start, so it can be reached
in that many; the budget is 2 N. random-goal: start and goal are drawn as the environment's own `reset` draws them, and
the budget is the time limit of the registered environment. variation: offset25, in the nominal world and in worlds that
differ from it (`worlds.py`).

Held-out episodes come from random numbers that collection never draws, in two splits that share none. Settings are
chosen on development pairs; published figures are of test pairs, which no choice has seen.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from envs import MAX_EPISODE_STEPS
from envs.episode_seeds import DEVELOPMENT_RANDOM_GOAL, TEST_RANDOM_GOAL, episode_seed
from envs.mujoco_env import MujocoGoalEnv, State
from envs.rollout import EpisodeKey, rollout
from envs.variation import Variation
from server.evaluation.worlds import draw_world

Split = Literal["development", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
EPISODE_STEPS = 100
_RANDOM_GOALS: dict[Split, int] = {"development": DEVELOPMENT_RANDOM_GOAL, "test": TEST_RANDOM_GOAL}
"""Purposes of the random numbers that start and goal of `random-goal` are drawn from."""
_WORLD_KEYS: dict[Split, int] = {"development": 3, "test": 4}
"""Keys of the random numbers that a world is drawn from."""


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


@dataclass(frozen=True, kw_only=True)
class PairStream:
    """The starts and goals of one task, protocol, split and seed: the same on every machine, and without an end."""

    env_id: str
    protocol: Protocol
    seed: int
    split: Split = "development"

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}; give one of {', '.join(SPLITS)}")

    def pairs(self, env: MujocoGoalEnv) -> Iterator[StartAndGoal]:
        """Yield one pair for each held-out episode, without those already solved."""
        excluded, index = 0, 0
        while True:
            pair = self.pair(env, index, excluded_before=excluded)
            if env.is_success(pair.start, pair.goal):
                excluded += 1
            else:
                yield pair
            index += 1

    def pair(
        self, env: MujocoGoalEnv, episode: int, world: Variation | None = None, excluded_before: int = 0
    ) -> StartAndGoal:
        """The pair of one held-out episode, which may already be solved.

        Another world uses the same random numbers. Start and goal stay the same unless the world makes them impossible
        or moves differently.
        """
        if self.protocol.offset_steps is None:
            first, start, goal = 0, *self._random_goal(env, episode, world)
        else:
            first, start, goal = self._later_state(env, episode, world, self.protocol.offset_steps)
        return StartAndGoal(
            episode=episode, first_step=first, start=start, goal=goal, excluded_before=excluded_before, world=world
        )

    def world(self, variation: type[Variation], name: str, episode: int) -> Variation:
        """The world called `name`, one of `worlds.world_names`, that one held-out episode is played in."""
        key = (zlib.crc32(f"{variation.__name__} {name}".encode()), _WORLD_KEYS[self.split], episode)
        return draw_world(variation, name, np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key)))

    def _random_goal(self, env: MujocoGoalEnv, episode: int, world: Variation | None) -> tuple[State, State]:
        env.set_variation(world or env.variation_class())
        rng = np.random.default_rng(episode_seed(self.env_id, self.seed, _RANDOM_GOALS[self.split], episode))
        start = env.sample_state(rng)
        return start, env.sample_goal(rng, start)

    def _later_state(
        self, env: MujocoGoalEnv, episode: int, world: Variation | None, offset_steps: int
    ) -> tuple[int, State, State]:
        """The start's step in its episode, the start, and the state so many control steps later."""
        key = EpisodeKey(namespace=self.split, seed=self.seed, index=episode)
        states = rollout(env, self.env_id, key, steps=EPISODE_STEPS, variation=world or "nominal").states
        rng = np.random.default_rng((self.seed, episode, SPLITS.index(self.split)))
        first = int(rng.integers(len(states) - offset_steps))
        return first, states[first], states[first + offset_steps]


def plan_seed(seed: int, index: int) -> int:
    """Seed of all plans in one episode, so that evaluations and demos with one seed see the same episodes and plans."""
    return seed * 1_000_003 + index
