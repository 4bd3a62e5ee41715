"""What an optimiser returns: the actions, and the evidence for them."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The best action sequence found so far for one robot.

    `actions` are unitless in [-1, 1]. `cost` is what the cost function gave for exactly these actions, and it never
    rises from one iteration to the next.
    """

    actions: Float[Tensor, "h a"]
    variables: Float[Tensor, "k v"]
    """The same actions in the search space: what a later plan is warm-started from."""
    latents: Float[Tensor, "h n d"]
    """The future imagined for these actions, one a model step."""
    cost: float
    first_cost: float
    """Cost of the first incumbent: the best candidate of the first iteration."""
    best_costs: tuple[float, ...]
    """Best cost so far after each iteration."""
    elite_std: float
    """Mean standard deviation of the elites over the search variables: what the optimiser was still unsure of."""
    iterations: int
    converged: bool
    """The optimiser stopped by itself because more iterations would change nothing."""
