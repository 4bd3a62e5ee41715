"""Named planner settings: what a request means by "fast", "default" or "thorough"."""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planner.cem import CEM
from planner.constraints import Constrained, Constraints
from planner.gradient_descent import GradientDescent
from planner.icem import ICEM
from planner.mppi import MPPI
from planner.names import AlgorithmName, ProposalUse, SearchSpaceName
from planner.optimiser import GradientOptimiser, Optimiser
from planner.predictive_sampling import PredictiveSampling
from planner.search_space import SearchSpace, make_search_space

OPTIMISERS: dict[AlgorithmName, type[CEM | ICEM | MPPI | PredictiveSampling | GradientDescent]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "predictive_sampling": PredictiveSampling,
    "gradient_descent": GradientDescent,
}
"""A preset's settings have the names of these classes' fields; what a preset does not name keeps its default there."""


def _settings(algorithm: AlgorithmName) -> set[str]:
    return {field.name for field in dataclasses.fields(OPTIMISERS[algorithm])}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How to search, how long, how widely, and how far ahead."""

    candidates: int
    elites: int
    """Not looked at by an algorithm that has none."""
    iterations: int
    algorithm: AlgorithmName = "cem"
    std: float = 0.7
    std_floor: float = 0.01
    search_space: SearchSpaceName = "constant"
    knots: int = 4
    """Of a spline, over the whole horizon."""
    horizon: int = 5
    """Model steps."""
    proposal: ProposalUse = "none"
    """Whether the model's own proposal is among the first candidates, or is all that is imagined: a controller without
    a search, for which only the horizon and the search space matter."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"horizon={self.horizon} must be at least 1 model step")
        one = torch.ones(1)
        self.optimiser(self.space(low=-one, high=one, control_steps=1))

    @property
    def samples(self) -> bool:
        """Whether candidates are drawn at all."""
        return self.proposal != "only"

    @property
    def imagined(self) -> int:
        """Candidates of one iteration, at most."""
        return self.candidates if self.samples else 1

    @property
    def has_elites(self) -> bool:
        """Whether the number of elites is looked at."""
        return self.samples and "elites" in _settings(self.algorithm)

    @property
    def wants_gradients(self) -> bool:
        """Whether the model is differentiated for it, which takes many times as long as imagining."""
        return hasattr(OPTIMISERS[self.algorithm], GradientOptimiser.follow.__name__)

    def optimiser(self, space: SearchSpace) -> Optimiser:
        """Raises ValueError when the settings do not go together."""
        shared = _settings(self.algorithm) & {field.name for field in dataclasses.fields(self)}
        return OPTIMISERS[self.algorithm](space=space, **{name: getattr(self, name) for name in shared})

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


# Few candidates and many iterations: a search that converges ends nearer to the goal than a wider one that does not.
PRESETS = {
    "fast": Preset(candidates=32, elites=5, iterations=6),
    "default": Preset(candidates=48, elites=6, iterations=10),
    "thorough": Preset(candidates=128, elites=12, iterations=15),
    "guided": Preset(candidates=48, elites=6, iterations=10, proposal="first"),
    "reactive": Preset(candidates=3, elites=2, iterations=1, proposal="only"),
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

    Raises ValueError when no actions obey both the limits and the constraints.
    """
    space = preset.space(low=low, high=high, control_steps=control_steps)
    if constraints is not None:
        constraints.check_within(low, high)
        space = Constrained(space, constraints)
    return preset.optimiser(space), space
