"""Named planner settings, such as "fast", "default" and "thorough"."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planner.cem import CEM
from planner.constraints import Constrained, Constraints
from planner.gradient_descent import GradientDescent
from planner.icem import ICEM
from planner.mppi import MPPI
from planner.names import AlgorithmName, SearchAlgorithmName, SearchSpaceName
from planner.optimiser import Optimiser
from planner.predictive_sampling import PredictiveSampling
from planner.search_space import SearchSpace, make_search_space


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings of a search, or the choice of the model's policy instead of one.

    With `algorithm="policy"` there is no search, and `candidates`, `elites`, `iterations`, `std` and `std_floor` are 0.
    """

    candidates: int
    """Most candidates imagined in one iteration."""
    elites: int
    """Number of elites; ignored by an algorithm without elites (see `has_elites`)."""
    iterations: int
    algorithm: AlgorithmName = "cem"
    std: float = 0.7
    std_floor: float = 0.01
    search_space: SearchSpaceName = "constant"
    knots: int = 4
    """Number of knots of a spline, over the whole horizon."""
    horizon: int = 5
    """Model steps of a plan."""
    proposal: bool = False
    """Whether the plan of the model's policy is a candidate in the first iteration."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"horizon={self.horizon} must be at least 1 model step")
        one = torch.ones(1)
        space = self.space(low=-one, high=one, control_steps=1)
        if self.is_policy:
            self._check_nothing_searched()
        else:
            self.optimiser(space)

    @property
    def is_policy(self) -> bool:
        """Whether the model's policy answers without a search."""
        return self.algorithm == "policy"

    @property
    def has_elites(self) -> bool:
        """Whether the algorithm reads the number of elites."""
        return self._search is not None and self._search.has_elites

    @property
    def wants_gradients(self) -> bool:
        """Whether the algorithm differentiates the model, which takes many times as long as imagining."""
        return self._search is not None and self._search.wants_gradients

    @property
    def _search(self) -> "SearchAlgorithm | None":
        return None if self.algorithm == "policy" else OPTIMISERS[self.algorithm]

    def optimiser(self, space: SearchSpace) -> Optimiser:
        """Optimiser with these settings. Raises ValueError when they do not go together, or for a policy's preset."""
        if self._search is None:
            raise ValueError("algorithm='policy' has no optimiser; plan with planner.policy.policy_plan")
        return self._search.make(self, space)

    def space(self, *, low: Float[Tensor, " x"], high: Float[Tensor, " x"], control_steps: int) -> SearchSpace:
        """Search space over this horizon, for one control step's unitless limits `low` and `high`."""
        return make_search_space(
            self.search_space,
            low=low,
            high=high,
            control_steps=control_steps,
            horizon=self.horizon,
            knots=self.knots,
        )

    def _check_nothing_searched(self) -> None:
        searched = {
            "candidates": self.candidates,
            "elites": self.elites,
            "iterations": self.iterations,
            "std": self.std,
            "std_floor": self.std_floor,
            "proposal": self.proposal,
        }
        if given := ", ".join(f"{name}={value}" for name, value in searched.items() if value):
            reason = "take preset 'reactive' as it is, or name an algorithm that searches"
            raise ValueError(f"algorithm='policy' runs no search, but {given} set one up; {reason}")


@dataclass(frozen=True, kw_only=True)
class SearchAlgorithm:
    """Entry of an optimiser: how it is made from a preset, and the settings that it reads."""

    make: Callable[[Preset, SearchSpace], Optimiser]
    """Factory; a setting of the optimiser that a preset does not name keeps the optimiser's own default."""
    has_elites: bool = False
    wants_gradients: bool = False


def _with_elites(kind: type[CEM] | type[ICEM]) -> Callable[[Preset, SearchSpace], Optimiser]:
    def make(preset: Preset, space: SearchSpace) -> CEM | ICEM:
        return kind(
            space=space,
            candidates=preset.candidates,
            elites=preset.elites,
            iterations=preset.iterations,
            std=preset.std,
            std_floor=preset.std_floor,
        )

    return make


def _with_std(
    kind: type[PredictiveSampling] | type[GradientDescent],
) -> Callable[[Preset, SearchSpace], Optimiser]:
    def make(preset: Preset, space: SearchSpace) -> PredictiveSampling | GradientDescent:
        return kind(space=space, candidates=preset.candidates, iterations=preset.iterations, std=preset.std)

    return make


def _mppi(preset: Preset, space: SearchSpace) -> MPPI:
    return MPPI(
        space=space,
        candidates=preset.candidates,
        iterations=preset.iterations,
        std=preset.std,
        std_floor=preset.std_floor,
    )


OPTIMISERS: dict[SearchAlgorithmName, SearchAlgorithm] = {
    "cem": SearchAlgorithm(make=_with_elites(CEM), has_elites=True),
    "icem": SearchAlgorithm(make=_with_elites(ICEM), has_elites=True),
    "mppi": SearchAlgorithm(make=_mppi),
    "predictive_sampling": SearchAlgorithm(make=_with_std(PredictiveSampling)),
    "gradient_descent": SearchAlgorithm(make=_with_std(GradientDescent), wants_gradients=True),
}

# Few candidates and many iterations: a search that converges ends nearer to the goal than a wider one that does not.
PRESETS: dict[str, Preset] = {
    "fast": Preset(candidates=32, elites=5, iterations=6),
    "default": Preset(candidates=48, elites=6, iterations=10),
    "thorough": Preset(candidates=128, elites=12, iterations=15),
    "guided": Preset(candidates=48, elites=6, iterations=10, proposal=True),
    "reactive": Preset(algorithm="policy", candidates=0, elites=0, iterations=0, std=0.0, std_floor=0.0),
}


def build_space(
    preset: Preset,
    *,
    low: Float[Tensor, " x"],
    high: Float[Tensor, " x"],
    control_steps: int,
    constraints: Constraints | None = None,
) -> SearchSpace:
    """Search space of a preset for one control step's unitless limits `low` and `high`, under the constraints.

    Raises ValueError when no actions obey both the limits and the constraints.
    """
    space = preset.space(low=low, high=high, control_steps=control_steps)
    if constraints is None:
        return space
    constraints.check_within(low, high)
    return Constrained(space, constraints)
