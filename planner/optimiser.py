"""Protocols of an optimiser: `ask` it for candidates, and `tell` it their costs; some want the gradients as well.

An optimiser calls no model and no cost function, keeps no memory of its own, and serves one robot: the loop that stacks
robots into one batch is `planner.search`. Randomness comes from that robot's own generator, so a plan does not depend
on the other robots of the batch. Each optimiser has its own type of state, which holds only the fields that it reads.
"""

from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Generator, Tensor


@runtime_checkable
class Search(Protocol):
    """State of one robot's search, as far as the planning loop reads it."""

    @property
    def std(self) -> Float[Tensor, "k v"]:
        """Standard deviation of the candidates."""
        ...

    @property
    def best(self) -> Float[Tensor, "k v"]:
        """Best candidate so far; the start of the search before any was scored."""
        ...

    @property
    def best_cost(self) -> float:
        """Cost of the best candidate; infinite before any candidate had a finite cost."""
        ...

    @property
    def converged(self) -> bool:
        """Whether more iterations would change nothing."""
        ...


S = TypeVar("S", bound=Search)


@runtime_checkable
class Asking(Protocol[S]):
    """The part that all optimisers share: the start of a search, and its candidates."""

    @property
    def iterations(self) -> int:
        """Most iterations of a search."""
        ...

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> S:
        """Begin around the warm start, or in the middle of the bounds.

        Raises ValueError when the warm start has another shape or is not finite.
        """
        ...

    def ask(self, search: S, generator: Generator) -> Float[Tensor, "s k v"]:
        """Candidates, each within bounds.

        Their number is the same for every robot in the same iteration, and never rises from one iteration to the next.
        """
        ...


@runtime_checkable
class SamplingOptimiser(Asking[S], Protocol[S]):
    """An optimiser that learns from costs alone."""

    def tell(self, search: S, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]) -> S:
        """State after these costs. `best_cost` never rises, and a cost that is not finite never wins."""
        ...


@runtime_checkable
class GradientOptimiser(Asking[S], Protocol[S]):
    """An optimiser that learns from costs and their gradients; differentiating the model is slower than imagining."""

    def follow(
        self,
        search: S,
        candidates: Float[Tensor, "s k v"],
        costs: Float[Tensor, " s"],
        gradients: Float[Tensor, "s k v"],
    ) -> S:
        """As `tell`, with each candidate's gradient. A gradient that is not finite moves nothing."""
        ...


Optimiser = SamplingOptimiser[Any] | GradientOptimiser[Any]
