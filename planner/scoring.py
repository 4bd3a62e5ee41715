"""Imagines candidates and scores them, in chunks; only the latents of each robot's best candidate are kept.

With 256 tokens a frame, the latents of a whole iteration would not fit in memory. With one token a frame, a whole
iteration is a single chunk.
"""

from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from planner.protocols import CostFunction, RolloutModel, RolloutState
from planner.sampling import cheapest, finite_or_worst

LATENT_BYTES = 24 * 2**20
"""Most memory for the latents of one chunk; a world model's activations and a cost's distances take several times as
much. 16 robots with 300 candidates of 5 steps of one token of width 192 take 18 MB, so such a batch is one chunk. More
is not faster on a CPU: the C library gives blocks above 32 MiB back to the system each time, and clears them anew."""
GRADIENT_LATENT_BYTES = LATENT_BYTES // 8
"""Most memory where gradients are wanted: the activations of all steps are kept for the backward pass."""
BYTES = 4
"""Bytes of one number of a latent: a 32-bit float, whatever precision the model computes with."""


def candidates_at_once(*, robots: int, horizon: int, tokens: int, width: int, gradients: bool) -> int:
    """Number of candidates of each of `robots` to imagine in one rollout; at least 1."""
    budget = GRADIENT_LATENT_BYTES if gradients else LATENT_BYTES
    return max(1, budget // (BYTES * robots * horizon * tokens * width))


@dataclass(frozen=True)
class Scores:
    """Costs of one iteration's candidates, and the latents of the best."""

    costs: Float[Tensor, "b s"]
    best_latents: Float[Tensor, "b h n d"]
    """Latents imagined for each robot's cheapest candidate."""
    slopes: Float[Tensor, "b s h a"] | None
    """Gradient of each candidate's cost with respect to its actions; None when not asked for."""


def score(
    model: RolloutModel,
    state: RolloutState,
    cost: CostFunction,
    actions: Float[Tensor, "b s h a"],
    *,
    at_once: int,
    gradients: bool,
) -> Scores:
    """Imagine and score `at_once` candidates of each robot at a time.

    The result is the same for any `at_once`, up to rounding. Raises ValueError when `state` or `cost` does not hold the
    robots of `actions`.
    """
    judge = _differentiated if gradients else _imagined
    return reduce(_joined, (judge(model, state, cost, chunk) for chunk in actions.split(at_once, dim=1)))


def _imagined(
    model: RolloutModel, state: RolloutState, cost: CostFunction, actions: Float[Tensor, "b s h a"]
) -> Scores:
    latents = model.rollout(state, actions)
    return _scores(latents, cost(latents, actions), None, actions)


def _differentiated(
    model: RolloutModel, state: RolloutState, cost: CostFunction, actions: Float[Tensor, "b s h a"]
) -> Scores:
    """A candidate's gradient is its own, since no cost depends on another candidate's actions."""
    with torch.inference_mode(False), torch.enable_grad():
        wanted = actions.clone().requires_grad_()
        latents = model.rollout(state, wanted)
        costs = cost(latents, wanted)
        (slopes,) = torch.autograd.grad(costs.sum(), wanted)
    return _scores(latents.detach(), costs.detach(), slopes, actions)


def _scores(latents: Tensor, costs: Tensor, slopes: Tensor | None, actions: Tensor) -> Scores:
    if costs.shape != actions.shape[:2]:
        given = f"{tuple(costs.shape)} costs for {tuple(actions.shape[:2])} (robots, candidates)"
        raise ValueError(f"{given}: give the state and the cost of exactly the robots that are searched for, in order")
    best = latents[torch.arange(len(costs), device=costs.device), cheapest(costs)]
    return Scores(costs, best, slopes)


def _joined(one: Scores, other: Scores) -> Scores:
    """Scores of both chunks; of equally cheap candidates the earlier one is the best."""
    better = finite_or_worst(other.costs).amin(1) < finite_or_worst(one.costs).amin(1)
    return Scores(
        costs=torch.cat([one.costs, other.costs], dim=1),
        best_latents=torch.where(better[:, None, None, None], other.best_latents, one.best_latents),
        slopes=None if one.slopes is None or other.slopes is None else torch.cat([one.slopes, other.slopes], dim=1),
    )
