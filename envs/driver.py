"""Somebody else at the wheel: policies that drive a share of the collected episodes in place of the task's mixture."""

from dataclasses import dataclass

import numpy as np

from envs.episode_seeds import DRIVER, episode_seed
from envs.policies import PolicyFactory


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Its episodes have no lapses: what it does is to be seen as it does it."""

    name: str
    """For people, and for telling stores apart."""
    policies: PolicyFactory
    """Sent to the processes that collect."""
    share: float
    """Of the episodes."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"{self.name} would drive a share of {self.share}; give more than 0, at most 1")

    def drives(self, env_id: str, seed: int, episode_id: int) -> bool:
        """Whether this episode: a function of these arguments alone."""
        rng = np.random.default_rng(episode_seed(env_id, seed, DRIVER, episode_id))
        return bool(rng.random() < self.share)
