"""Searches for many robots at once: each robot has its own search, and all candidates are imagined in one batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.optimiser import GradientOptimiser, Optimiser
from planner.protocols import CostFunction, RolloutModel, RolloutState
from planner.scoring import candidates_at_once, score
from planner.search_space import SearchSpace
from planner.threads import threads_for


class NoFinitePlan(ArithmeticError):  # noqa: N818 - the name says what is missing
    """A robot has no plan with finite actions and a finite cost: there is no action to give."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One robot's actions and the evidence for them, from a search or from a policy.

    `actions` are unitless in [-1, 1]. `cost` is their cost, and `latents` are what the world model imagined for them;
    both are None for a policy's answer that no world model verified.
    """

    actions: Float[Tensor, "h a"]
    variables: Float[Tensor, "k v"]
    """The same actions in the search space; a later plan is warm-started from them."""
    latents: Float[Tensor, "h n d"] | None = None
    """The imagined future, one latent a model step."""
    cost: float | None = None
    """Cost of the actions; it never rises from one iteration of a search to the next."""
    first_cost: float | None = None
    """Cost of the best candidate of the first iteration; None without a search."""
    best_costs: tuple[float, ...] = ()
    """Best cost so far after each iteration of a search."""
    elite_std: float | None = None
    """Mean standard deviation of the search variables at the end of a search; None without a search."""
    iterations: int = 0
    """Number of iterations of the search; 0 without one."""
    converged: bool = False
    """Whether the optimiser stopped early because more iterations would change nothing."""


class RobotSearch:
    """One robot's search: the candidates to imagine next, and the best plan so far.

    It has its own random generator, so its plan does not depend on the other robots of the batch. It calls no model;
    `advance` does so for all searches at once.
    """

    def __init__(
        self,
        *,
        optimiser: Optimiser,
        space: SearchSpace,
        horizon: int,
        generator: Generator,
        warm_start: Float[Tensor, "k v"] | None = None,
        proposal: Float[Tensor, "k v"] | None = None,
    ) -> None:
        """`proposal` is one of the first candidates. Raises ValueError for a warm start of another shape."""
        self._optimiser = optimiser
        self._proposal = proposal
        self._space = space
        self._generator = generator
        self._search = optimiser.start(horizon, warm_start)
        self._asked: tuple[Float[Tensor, "s k v"], Float[Tensor, "s h a"]] | None = None
        self._latents: Float[Tensor, "h n d"] | None = None
        self._best_costs: list[float] = []

    @property
    def iterations(self) -> int:
        """Number of iterations done."""
        return len(self._best_costs)

    @property
    def is_over(self) -> bool:
        """Whether the search has converged, has used all its iterations, or found no finite cost in the first one."""
        hopeless = self.iterations > 0 and self._latents is None
        return self._search.converged or hopeless or self.iterations >= self._optimiser.iterations

    @property
    def wants_gradients(self) -> bool:
        """Whether `tell` needs the gradients of the costs."""
        return isinstance(self._optimiser, GradientOptimiser)

    def ask(self) -> Float[Tensor, "s h a"]:
        """Actions of the candidates to imagine next; the same ones until `tell` is given their costs."""
        if self._asked is None:
            candidates = self._with_proposal(self._optimiser.ask(self._search, self._generator))
            self._asked = candidates, self._space.decode(candidates)
        return self._asked[1]

    def _with_proposal(self, candidates: Float[Tensor, "s k v"]) -> Float[Tensor, "s k v"]:
        """Replace the last candidate of the first iteration: the first two are the mean and the best so far."""
        if self._proposal is None or self.iterations:
            return candidates
        return torch.cat([candidates[:-1], self._proposal[None]])

    def tell(
        self,
        costs: Float[Tensor, " s"],
        best_latents: Float[Tensor, "h n d"],
        slopes: Float[Tensor, "s h a"] | None = None,
    ) -> None:
        """Take the costs of the candidates of `ask`, and the latents imagined for the cheapest of them.

        `slopes` are the gradients of the costs with respect to the actions, for a search that wants gradients.
        """
        assert self._asked is not None  # `ask` comes first
        candidates, _ = self._asked
        if isinstance(self._optimiser, GradientOptimiser):
            assert slopes is not None  # `wants_gradients` says so
            gradients = _pulled_back(self._space, candidates, slopes)
            search = self._optimiser.follow(self._search, candidates, costs, gradients)
        else:
            search = self._optimiser.tell(self._search, candidates, costs)
        if search.best_cost < self._search.best_cost:
            self._latents = best_latents.clone()  # a view would keep all robots' latents
        self._search, self._asked = search, None
        self._best_costs.append(search.best_cost)

    @property
    def plan(self) -> Plan:
        """The best plan so far. Raises NoFinitePlan."""
        if self._latents is None:
            raise NoFinitePlan("every candidate had a cost that is not finite; check the images and the checkpoint")
        return Plan(
            actions=self._space.decode(self._search.best),
            variables=self._search.best,
            latents=self._latents,
            cost=self._search.best_cost,
            first_cost=self._best_costs[0],
            best_costs=tuple(self._best_costs),
            elite_std=float(self._search.std.mean()),
            iterations=self.iterations,
            converged=self._search.converged,
        )


def advance(
    model: RolloutModel,
    state: RolloutState,
    cost: CostFunction,
    searches: Sequence[RobotSearch],
    latent_shape: Sequence[int],
) -> None:
    """Run one iteration of every search that is not over, in as few rollouts as memory allows.

    At least one search must not be over. `state` and `cost` hold the robots of `searches`, in the same order, and all
    searches ask for equally many candidates and steps. `latent_shape` is [n d], the tokens and width of one frame's
    latents. Raises ValueError when `state` or `cost` holds other robots.
    """
    asked = {robot: search.ask() for robot, search in enumerate(searches) if not search.is_over}
    shape = next(iter(asked.values())).shape
    # A robot whose search is over rests, so that its plan does not depend on how long its neighbours need.
    rows = [asked[r] if r in asked else search.plan.actions.expand(shape) for r, search in enumerate(searches)]
    actions = torch.stack(rows)  # [b s h a]
    robots, candidates, horizon, _ = actions.shape
    tokens, width = latent_shape
    gradients = any(search.wants_gradients for search in searches)
    most = candidates_at_once(robots=robots, horizon=horizon, tokens=tokens, width=width, gradients=gradients)
    at_once = min(candidates, most)
    with threads_for(robots * at_once * tokens):
        scores = score(model, state, cost, actions, at_once=at_once, gradients=gradients)
    for robot in asked:
        slopes = None if scores.slopes is None else scores.slopes[robot]
        searches[robot].tell(scores.costs[robot], scores.best_latents[robot], slopes)


def _pulled_back(
    space: SearchSpace, variables: Float[Tensor, "s k v"], slopes: Float[Tensor, "s h a"]
) -> Float[Tensor, "s k v"]:
    """Gradient with respect to the variables, from the gradient with respect to the actions that they decode to."""
    with torch.inference_mode(False), torch.enable_grad():
        pull_back = torch.func.vjp(space.decode, variables.clone())[1]
        (gradients,) = pull_back(slopes.clone())
    return gradients
