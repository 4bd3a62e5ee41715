"""Domain randomisation: which factors of variation are drawn anew for an episode, and for what share of the episodes.

What else happens in an episode does not depend on it: the same start and the same policy's random numbers, in another
world.
"""

import dataclasses
import zlib
from typing import TypeVar

import numpy as np

from envs.variation import Variation

V = TypeVar("V", bound=Variation)
_KEY = 2
"""Beside the namespaces of `envs.rollout`, 0 and 1: worlds share no random numbers with what happens in them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Randomisation:
    """Whole names of factors (`Variation.factors`), and the share of episodes that are varied; the rest are nominal."""

    factors: tuple[str, ...]
    share: float = 1.0

    def __post_init__(self) -> None:
        if not self.factors:
            raise ValueError("no factor of variation is named; give one or more, such as light or camera")
        if not 0 < self.share <= 1:
            raise ValueError(f"varied share {self.share} must be above 0 and at most 1")

    def variation(self, cls: type[V], env_id: str, seed: int, episode_id: int) -> V:
        """The world of one collected episode: a function of these arguments alone."""
        sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(env_id.encode()), _KEY, episode_id))
        rng = np.random.default_rng(sequence)
        varied = bool(rng.random() < self.share)
        return cls.sample(rng, self.factors) if varied else cls()
