"""Domain randomisation: in which worlds episodes happen, and what else their frames might have looked like.

What happens in an episode does not depend on either: the same start and the same policy's random numbers, in another
world; and the same states, drawn a second time.
"""

import dataclasses
from typing import TypeVar

import numpy as np

from envs.episode_seeds import TWINS, WORLD, episode_seed
from envs.variation import Variation

V = TypeVar("V", bound=Variation)
FRAMES_A_TWIN_WORLD = 4
"""Building a world takes as long as drawing several pictures; and frames one model step apart are in different ones."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Randomisation:
    """Whole names of factors (`Variation.factors`), and the share of episodes that are varied; the rest are nominal.

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
        """Raises ValueError for names that are not whole."""
        named = {*self.factors, *self.twins}
        if named != set(cls.factors(named)):
            raise ValueError(f"factors {sorted(named)} are not whole names; give {list(cls.factors(named))}")

    def variation(self, cls: type[V], env_id: str, seed: int, episode_id: int) -> V:
        """The world of one collected episode: a function of these arguments alone."""
        rng = np.random.default_rng(episode_seed(env_id, seed, WORLD, episode_id))
        return cls.sample(rng, self.factors) if rng.random() < self.share else cls()

    def twin_worlds(self, cls: type[V], env_id: str, seed: int, episode_id: int, frames: int) -> list[V]:
        """The world that the twin of each of the first `frames` frames is drawn in: the episode's, but for some of
        `twins`.

        How many differ is drawn too, from none to all: a world where everything is strange teaches little of one where
        one thing is.
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
