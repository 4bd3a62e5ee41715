"""What every optimiser is: ask for candidates, tell their costs, and where those fall if it wants to know.

It touches no model and no cost function, keeps no memory of its own, and serves one robot: the loop that stacks robots
into one batch is `planner.search`. Randomness comes in as that robot's own generator, so a plan does not depend on who
shares the batch.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class Search:
    """Where one robot's search stands: what `tell` returns and `ask` goes on from."""

    mean: Float[Tensor, "k v"]
    std: Float[Tensor, "k v"]
    best: Float[Tensor, "k v"]
    """Best candidate so far; the mean before any was scored."""
    best_cost: float
    converged: bool = False
    iteration: int = 0
    """How often costs were told, for an optimiser whose candidates become fewer."""
    kept: Float[Tensor, "e k v"] | None = None
    """What the next candidates begin with: elites, best first, or where each descent stands."""
    moments: Float[Tensor, "2 s k v"] | None = None
    """Running means of each candidate's gradient and of its square, for an optimiser that follows gradients."""


class Asking(Protocol):
    """One robot's search, step by step."""

    @property
    def iterations(self) -> int:
        """Most iterations it takes."""
        ...

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> Search:
        """Raises ValueError when the warm start has another shape or is not finite."""
        ...

    def ask(self, search: Search, generator: Generator) -> Float[Tensor, "s k v"]:
        """Candidates, every one within bounds: as many for every robot in the same iteration, never more later."""
        ...


@runtime_checkable
class SamplingOptimiser(Asking, Protocol):
    """Learns from costs."""

    def tell(self, search: Search, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]) -> Search:
        """`best_cost` never rises. NaN costs never win."""
        ...


@runtime_checkable
class GradientOptimiser(Asking, Protocol):
    """Learns from costs and their gradients, for which the model is asked to differentiate: much dearer."""

    def follow(
        self,
        search: Search,
        candidates: Float[Tensor, "s k v"],
        costs: Float[Tensor, " s"],
        gradients: Float[Tensor, "s k v"],
    ) -> Search:
        """As `tell`, with each candidate's own gradient. One that is not finite leads nowhere."""
        ...


Optimiser = SamplingOptimiser | GradientOptimiser
