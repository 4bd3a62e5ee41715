"""The protocol and shared parts of collection policies, and the policies that know no task.

A policy lives for one episode. All its randomness comes from the generator that it is given, and every action that it
returns is within the limits of its environment: a policy saturates its own commands.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from envs.mujoco_env import Action, MujocoGoalEnv, State

LONGEST_HOLD_STEPS = 10


class CollectionPolicy(Protocol):
    """Acts from simulator truth; `name` is stored with the episode."""

    name: str

    def act(self, state: State) -> Action:
        """The action, float32 [A] in physical units, for `state`, float64 [S]."""
        ...


class CorrelatedNoise:
    """Ornstein-Uhlenbeck noise, unitless [A]: stationary with the given std, forgotten over `memory_steps`."""

    def __init__(self, size: int, std: float, memory_steps: float, rng: np.random.Generator) -> None:
        self._keep = float(np.exp(-1.0 / memory_steps))
        self._fresh = std * float(np.sqrt(1.0 - self._keep**2))
        self._rng = rng
        self._value = rng.normal(0.0, std, size)

    def sample(self) -> NDArray[np.float64]:
        """The next value."""
        self._value = self._keep * self._value + self._fresh * self._rng.normal(size=self._value.shape)
        return self._value


class HeldRandomPolicy:
    """Piecewise-constant actions held for 1 to 10 steps: anywhere in the box, on its faces and corners, or none at all.

    The planner's candidates are piecewise constant too, so this is where the model learns them, walls included.
    """

    name = "random_held"

    def __init__(self, env: MujocoGoalEnv, rng: np.random.Generator) -> None:
        self._high = np.asarray(env.action_high)
        self._rng = rng
        self._steps_left = 0
        self._unitless = np.zeros(len(self._high))

    def act(self, state: State) -> Action:
        if self._steps_left == 0:
            self._steps_left = int(self._rng.integers(1, LONGEST_HOLD_STEPS + 1))
            self._unitless = self._draw()
        self._steps_left -= 1
        return saturated(self._unitless, self._high)

    def _draw(self) -> NDArray[np.float64]:
        kind, uniform = self._rng.random(), self._rng.uniform(-1.0, 1.0, len(self._high))
        if kind < 0.1:
            return np.zeros_like(uniform)
        if kind < 0.3:
            return np.clip(2.0 * uniform, -1.0, 1.0)  # half of the components saturate
        return uniform


class Lapses:
    """Moments in which a policy that knows its task gives way to held random actions.

    An expert alone does few of the things that a planner tries, and least of all in contact, where they go wrong.
    """

    def __init__(self, env: MujocoGoalEnv, rng: np.random.Generator, probability: float) -> None:
        """`probability` is that of a lapse to begin at a control step; each lasts 1 to 10 steps."""
        self._rng, self._random, self._steps_left = rng, HeldRandomPolicy(env, rng), 0
        self._probability = probability

    def act(self, state: State) -> Action | None:
        """The action of a lapse, or None when there is none."""
        if self._rng.random() < self._probability:
            self._steps_left = int(self._rng.integers(1, LONGEST_HOLD_STEPS + 1))
        if self._steps_left == 0:
            return None
        self._steps_left -= 1
        return self._random.act(state)


class Lapsing:
    """A policy with lapses. The policy does not notice them, but looks at the state that they led to."""

    def __init__(self, policy: CollectionPolicy, lapses: Lapses) -> None:
        self.name = policy.name
        self._policy, self._lapses = policy, lapses

    def act(self, state: State) -> Action:
        lapse = self._lapses.act(state)
        return self._policy.act(state) if lapse is None else lapse


class WanderingRandomPolicy:
    """Ornstein-Uhlenbeck actions: smooth, with a memory and strength of the episode's own."""

    name = "random_wandering"

    def __init__(self, env: MujocoGoalEnv, rng: np.random.Generator) -> None:
        self._high = np.asarray(env.action_high)
        self._noise = CorrelatedNoise(len(self._high), rng.uniform(0.3, 1.0), rng.uniform(2.0, 10.0), rng)

    def act(self, state: State) -> Action:
        return saturated(self._noise.sample(), self._high)


def random_policy(env: MujocoGoalEnv, rng: np.random.Generator) -> CollectionPolicy:
    """Held actions in three of four episodes, wandering ones in the fourth."""
    return HeldRandomPolicy(env, rng) if rng.random() < 0.75 else WanderingRandomPolicy(env, rng)


def saturated(unitless: NDArray[np.float64], high: NDArray[np.float64]) -> Action:
    """The physical action, float32 [A], for a unitless command [A] that may lie beyond [-1, 1]."""
    return (np.clip(unitless, -1.0, 1.0) * high).astype(np.float32)
