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
_WORLD, _LOOKS = 2, 3
"""Beside the namespaces of `envs.rollout`, 0 and 1: worlds share no random numbers with what happens in them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Randomisation:
    """Whole names of factors (`Variation.factors`), and the share of episodes that are varied; the rest are nominal.

    `factors` are drawn once an episode: a model can see them, and adapt. `flickering` ones (`Variation.looks`) are
    drawn anew for every frame: what the next frame looks like cannot be predicted from them, so a model that predicts
    latents learns to look through them.
    """

    factors: tuple[str, ...] = ()
    flickering: tuple[str, ...] = ()
    share: float = 1.0

    def __post_init__(self) -> None:
        if not self.factors and not self.flickering:
            raise ValueError("no factor of variation is named; give one or more, such as light or camera")
        if twice := sorted(set(self.factors) & set(self.flickering)):
            raise ValueError(f"{twice} cannot both vary by episode and flicker; name each once")
        if not 0 < self.share <= 1:
            raise ValueError(f"varied share {self.share} must be above 0 and at most 1")

    def check(self, cls: type[Variation]) -> None:
        """Raises ValueError for names that are not whole, and for what flickers but is more than looks."""
        named = {*self.factors, *self.flickering}
        if named != set(cls.factors(named)):
            raise ValueError(f"factors {sorted(named)} are not whole names; give {list(cls.factors(named))}")
        if wrong := sorted(set(self.flickering) - set(cls.looks())):
            raise ValueError(f"{wrong} cannot flicker, since only looks can; {cls.__name__} has {list(cls.looks())}")

    def variation(self, cls: type[V], env_id: str, seed: int, episode_id: int) -> V:
        """The world of one collected episode: a function of these arguments alone."""
        rng = _generator(env_id, seed, _WORLD, episode_id)
        return cls.sample(rng, self.factors) if self._is_varied(rng) else cls()

    def looks(self, cls: type[V], env_id: str, seed: int, episode_id: int, frames: int) -> list[V]:
        """The world that each frame of the episode is drawn in."""
        world = self.variation(cls, env_id, seed, episode_id)
        if not self.flickering or not self._is_varied(_generator(env_id, seed, _WORLD, episode_id)):
            return [world] * frames
        rng = _generator(env_id, seed, _LOOKS, episode_id)
        drawn = [cls.sample(rng, self.flickering) for _ in range(frames)]
        return [dataclasses.replace(world, **{name: getattr(look, name) for name in self.flickering}) for look in drawn]

    def _is_varied(self, rng: np.random.Generator) -> bool:
        """By the first number of an episode's world."""
        return bool(rng.random() < self.share)


def _generator(env_id: str, seed: int, key: int, episode_id: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(env_id.encode()), key, episode_id)))
