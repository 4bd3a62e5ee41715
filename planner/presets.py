"""Named planner settings: what a request means by "fast", "default" or "thorough"."""

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
    """How to search, how long, how widely, and how far ahead; or that the model's policy answers without a search.

    With `algorithm="policy"` there is no search, and `candidates`, `elites`, `iterations`, `std` and `std_floor` are 0.
    """

    candidates: int
    """Imagined in one iteration, at most."""
    elites: int
    """Ignored by an algorithm without elites (see `has_elites`)."""
    iterations: int
    algorithm: AlgorithmName = "cem"
    std: float = 0.7
    std_floor: float = 0.01
    search_space: SearchSpaceName = "constant"
    knots: int = 4
    """Of a spline, over the whole horizon."""
    horizon: int = 5
    """Model steps."""
    proposal: bool = False
    """Whether the plan of the model's policy is one of the first candidates of the search."""

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
        """The model's policy answers, and nothing is searched."""
        return self.algorithm == "policy"

    @property
    def has_elites(self) -> bool:
        """Whether the number of elites matters."""
        return self._search is not None and self._search.has_elites

    @property
    def wants_gradients(self) -> bool:
        """Whether the model is differentiated for it, which takes many times as long as imagining."""
        return self._search is not None and self._search.wants_gradients

    @property
    def _search(self) -> "SearchAlgorithm | None":
        return None if self.algorithm == "policy" else OPTIMISERS[self.algorithm]

    def optimiser(self, space: SearchSpace) -> Optimiser:
        """Raises ValueError when the settings do not go together, or when this preset is a policy's."""
        if self._search is None:
            raise ValueError("algorithm='policy' has no optimiser; plan with planner.policy.policy_plan")
        return self._search.make(self, space)

    def space(self, *, low: Float[Tensor, " x"], high: Float[Tensor, " x"], control_steps: int) -> SearchSpace:
        """The search space over this horizon."""
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
    """How an optimiser is made from a preset, and what it needs of one."""

    make: Callable[[Preset, SearchSpace], Optimiser]
    """A setting of the optimiser that a preset does not name keeps the optimiser's own default."""
    has_elites: bool = False
    wants_gradients: bool = False


def _cem(preset: Preset, space: SearchSpace) -> CEM:
    return CEM(
        space=space,
        candidates=preset.candidates,
        elites=preset.elites,
        iterations=preset.iterations,
        std=preset.std,
        std_floor=preset.std_floor,
    )


def _icem(preset: Preset, space: SearchSpace) -> ICEM:
    return ICEM(
        space=space,
        candidates=preset.candidates,
        elites=preset.elites,
        iterations=preset.iterations,
        std=preset.std,
        std_floor=preset.std_floor,
    )


def _mppi(preset: Preset, space: SearchSpace) -> MPPI:
    return MPPI(
        space=space,
        candidates=preset.candidates,
        iterations=preset.iterations,
        std=preset.std,
        std_floor=preset.std_floor,
    )


def _predictive_sampling(preset: Preset, space: SearchSpace) -> PredictiveSampling:
    return PredictiveSampling(space=space, candidates=preset.candidates, iterations=preset.iterations, std=preset.std)


def _gradient_descent(preset: Preset, space: SearchSpace) -> GradientDescent:
    return GradientDescent(space=space, candidates=preset.candidates, iterations=preset.iterations, std=preset.std)


OPTIMISERS: dict[SearchAlgorithmName, SearchAlgorithm] = {
    "cem": SearchAlgorithm(make=_cem, has_elites=True),
    "icem": SearchAlgorithm(make=_icem, has_elites=True),
    "mppi": SearchAlgorithm(make=_mppi),
    "predictive_sampling": SearchAlgorithm(make=_predictive_sampling),
    "gradient_descent": SearchAlgorithm(make=_gradient_descent, wants_gradients=True),
}

# Few candidates and many iterations: a search that converges ends nearer to the goal than a wider one that does not.
PRESETS: dict[str, Preset] = {
    "fast": Preset(candidates=32, elites=5, iterations=6),
    "default": Preset(candidates=48, elites=6, iterations=10),
    "thorough": Preset(candidates=128, elites=12, iterations=15),
    "guided": Preset(candidates=48, elites=6, iterations=10, proposal=True),
    "reactive": Preset(algorithm="policy", candidates=0, elites=0, iterations=0, std=0.0, std_floor=0.0),
}


def build(
    preset: Preset,
    *,
    low: Float[Tensor, " x"],
    high: Float[Tensor, " x"],
    control_steps: int,
    constraints: Constraints | None = None,
) -> tuple[Optimiser, SearchSpace]:
    """Optimiser and search space for one control step's unitless limits `low` and `high`.

    Raises ValueError when no actions obey both the limits and the constraints, or when the preset is a policy's.
    """
    space = build_space(preset, low=low, high=high, control_steps=control_steps, constraints=constraints)
    return preset.optimiser(space), space


def build_space(
    preset: Preset,
    *,
    low: Float[Tensor, " x"],
    high: Float[Tensor, " x"],
    control_steps: int,
    constraints: Constraints | None = None,
) -> SearchSpace:
    """The search space alone, which is all that a policy's plan needs.

    Raises ValueError when no actions obey both the limits and the constraints.
    """
    space = preset.space(low=low, high=high, control_steps=control_steps)
    if constraints is None:
        return space
    constraints.check_within(low, high)
    return Constrained(space, constraints)
