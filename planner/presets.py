"""Named planner settings: what a request means by "fast", "default" or "thorough"."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planner.cem import CEM
from planner.search_space import SearchSpace, SearchSpaceName, make_search_space


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How long to search, how widely, and how far ahead."""

    candidates: int
    elites: int
    iterations: int
    std: float = 0.7
    std_floor: float = 0.01
    search_space: SearchSpaceName = "constant"
    horizon: int = 5
    """Model steps."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"horizon={self.horizon} must be at least 1 model step")
        one = torch.ones(1)
        self.optimiser(SearchSpace(-one, one, 1))

    def optimiser(self, space: SearchSpace) -> CEM:
        """Raises ValueError when the settings do not go together."""
        return CEM(
            space=space,
            candidates=self.candidates,
            elites=self.elites,
            iterations=self.iterations,
            std=self.std,
            std_floor=self.std_floor,
        )


# Few candidates and many iterations: a search that converges ends nearer to the goal than a wider one that does not.
PRESETS = {
    "fast": Preset(candidates=32, elites=5, iterations=6),
    "default": Preset(candidates=48, elites=6, iterations=10),
    "thorough": Preset(candidates=128, elites=12, iterations=15),
}


def build(
    preset: Preset, *, low: Float[Tensor, " x"], high: Float[Tensor, " x"], control_steps: int
) -> tuple[CEM, SearchSpace]:
    """Optimiser and search space for one control step's unitless limits `low` and `high`."""
    space = make_search_space(preset.search_space, low=low, high=high, control_steps=control_steps)
    return preset.optimiser(space), space
