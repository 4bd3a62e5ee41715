"""Somebody else at the wheel: policies that drive a share of the collected episodes in place of the task's mixture."""

import zlib
from dataclasses import dataclass

import numpy as np

from envs.policies import PolicyFactory

_DRIVER = 4
"""Beside the keys of `envs.rollout` and `envs.randomisation`: who drives shares no random numbers with what happens."""


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
        key = (zlib.crc32(env_id.encode()), _DRIVER, episode_id)
        return bool(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)).random() < self.share)
