"""Optimisers ask and tell: ask for candidates, tell their costs, and their slopes too where it wants gradients.

It touches no model and no cost function, keeps no memory of its own, and serves one robot: the loop that stacks robots
into one batch is `planner.search`. Randomness comes in as that robot's own generator, so a plan does not depend on who
shares the batch. Each optimiser has a state of its own type, which holds only what that optimiser goes on from.
"""

from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Generator, Tensor


@runtime_checkable
class Search(Protocol):
    """The part of any optimiser's state that the loop reads: where one robot's search stands."""

    @property
    def std(self) -> Float[Tensor, "k v"]:
        """How widely the candidates are spread."""
        ...

    @property
    def best(self) -> Float[Tensor, "k v"]:
        """Best candidate so far; before any was scored, where the search begins."""
        ...

    @property
    def best_cost(self) -> float:
        """Infinite before any candidate had a finite cost."""
        ...

    @property
    def converged(self) -> bool:
        """More iterations would change nothing."""
        ...


S = TypeVar("S", bound=Search)


@runtime_checkable
class Asking(Protocol[S]):
    """One robot's search, step by step."""

    @property
    def iterations(self) -> int:
        """Most iterations it takes."""
        ...

    def start(self, horizon: int, warm_start: Float[Tensor, "k v"] | None) -> S:
        """Begin around the warm start, or in the middle of the bounds.

        Raises ValueError when the warm start has another shape or is not finite.
        """
        ...

    def ask(self, search: S, generator: Generator) -> Float[Tensor, "s k v"]:
        """Candidates, every one within bounds: as many for every robot in the same iteration, never more later."""
        ...


@runtime_checkable
class SamplingOptimiser(Asking[S], Protocol[S]):
    """Learns from costs."""

    def tell(self, search: S, candidates: Float[Tensor, "s k v"], costs: Float[Tensor, " s"]) -> S:
        """`best_cost` never rises. NaN costs never win."""
        ...


@runtime_checkable
class GradientOptimiser(Asking[S], Protocol[S]):
    """Learns from costs and their gradients, for which the model is differentiated: much dearer than imagining."""

    def follow(
        self,
        search: S,
        candidates: Float[Tensor, "s k v"],
        costs: Float[Tensor, " s"],
        gradients: Float[Tensor, "s k v"],
    ) -> S:
        """As `tell`, with each candidate's own gradient. A gradient that is not finite moves nothing."""
        ...


Optimiser = SamplingOptimiser[Any] | GradientOptimiser[Any]
