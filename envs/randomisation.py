"""Domain randomisation: the worlds that episodes happen in, and the worlds that their frames are drawn in again.

The start of an episode and the random numbers of its policy do not depend on either.
"""

import dataclasses
from typing import TypeVar

import numpy as np

from envs.episode_seeds import TWINS, WORLD, episode_seed
from envs.variation import Variation

V = TypeVar("V", bound=Variation)
FRAMES_A_TWIN_WORLD = 4
"""Number of consecutive frames whose twins share a world: building one takes as long as drawing several pictures.

Frames one model step apart are in different worlds.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Randomisation:
    """Factors to vary, by whole names (`Variation.factors`), and the share of episodes in which they vary.

    `factors` are drawn once an episode, in which the robot then acts: a model can see them, and adapt. `twins` are
    drawn for a second picture of every frame: the same state in another world, for a model to learn that both are one.
    """

    factors: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()
    share: float = 1.0

    def __post_init__(self) -> None:
        if not self.factors and not self.twins:
            raise ValueError("no factor of variation is named; give one or more, such as light or camera")
        if twice := sorted(set(self.factors) & set(self.twins)):
            raise ValueError(f"{twice} cannot both vary by episode and between twins; name each once")
        if not 0 < self.share <= 1:
            raise ValueError(f"varied share {self.share} must be above 0 and at most 1")

    def check(self, cls: type[Variation]) -> None:
        """Check that every name is a whole one. Raises ValueError."""
        named = {*self.factors, *self.twins}
        if named != set(cls.factors(named)):
            raise ValueError(f"factors {sorted(named)} are not whole names; give {list(cls.factors(named))}")

    def variation(self, cls: type[V], env_id: str, seed: int, episode_id: int) -> V:
        """World of one collected episode; depends on the arguments alone."""
        rng = np.random.default_rng(episode_seed(env_id, seed, WORLD, episode_id))
        return cls.sample(rng, self.factors) if rng.random() < self.share else cls()

    def twin_worlds(self, cls: type[V], env_id: str, seed: int, episode_id: int, frames: int) -> list[V]:
        """World of the twin of each of the first `frames` frames: the episode's, with some of `twins` drawn anew.

        Their number is drawn too, from none to all: a world in which everything differs teaches little about one in
        which one thing does.
        """
        world = self.variation(cls, env_id, seed, episode_id)
        rng = np.random.default_rng(episode_seed(env_id, seed, TWINS, episode_id))
        worlds = [self._twin(world, rng) for _ in range(0, frames, FRAMES_A_TWIN_WORLD)]
        return [worlds[frame // FRAMES_A_TWIN_WORLD] for frame in range(frames)]

    def _twin(self, world: V, rng: np.random.Generator) -> V:
        differs = rng.random(len(self.twins)) < rng.random()
        drawn = type(world).sample(rng, self.twins)
        names = [name for name, one in zip(self.twins, differs, strict=True) if one]
        return dataclasses.replace(world, **{name: getattr(drawn, name) for name in names})
