"""Drivers: policies that act in a share of the collected episodes in place of the task's mixture."""

from dataclasses import dataclass

import numpy as np

from envs.episode_seeds import DRIVER, episode_seed
from envs.policies import PolicyFactory


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A policy for a share of the episodes. They have no lapses, so that they show its own actions."""

    name: str
    """Name of the driver, stored in dataset.json."""
    policies: PolicyFactory
    """Factory of its policies, which must be picklable: it is sent to the collecting processes."""
    share: float
    """Share of the episodes that it drives."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share} of the episodes for {self.name}; give more than 0 and at most 1")

    def drives(self, env_id: str, seed: int, episode_id: int) -> bool:
        """Whether it drives this episode; depends on the arguments alone."""
        rng = np.random.default_rng(episode_seed(env_id, seed, DRIVER, episode_id))
        return bool(rng.random() < self.share)
