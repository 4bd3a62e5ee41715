"""Searching for many robots at once: each for itself, all of them imagining in one batch."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from planner.optimiser import GradientOptimiser, Optimiser
from planner.plan import Plan
from planner.protocols import Cost, RolloutState, WorldModel
from planner.sampling import finite_or_worst
from planner.search_space import SearchSpace
from planner.threads import threads_for


class NoFinitePlan(ArithmeticError):  # noqa: N818 - the name says what there is not
    """Every candidate of a robot had a cost that is not finite: there is no action to give."""


class RobotSearch:
    """One robot's search: what it wants imagined next, and the best plan so far.

    Its randomness and its evidence are its own, so its plan does not depend on who shares the batch. It touches no
    model; `advance` does, for as many searches as there are.
    """

    def __init__(
        self,
        *,
        optimiser: Optimiser,
        space: SearchSpace,
        horizon: int,
        warm_start: Float[Tensor, "k v"] | None,
        generator: Generator,
        proposal: Float[Tensor, "k v"] | None = None,
        only_proposal: bool = False,
    ) -> None:
        """`proposal` is among the first candidates; with `only_proposal` it is the only one there ever is."""
        self._optimiser = optimiser
        self._proposal = proposal
        self._only_proposal = only_proposal
        self._space = space
        self._generator = generator
        self._search = optimiser.start(horizon, warm_start)
        self._asked: Float[Tensor, "s k v"] | None = None
        self._latents: Float[Tensor, "h n d"] | None = None
        self._best_costs: list[float] = []

    @property
    def iterations(self) -> int:
        """Those done."""
        return len(self._best_costs)

    @property
    def is_over(self) -> bool:
        """More iterations would change nothing, are not wanted, or have nothing to go on from."""
        hopeless = self.iterations > 0 and self._latents is None
        return self._search.converged or hopeless or self.iterations >= self._optimiser.iterations

    def ask(self) -> Float[Tensor, "s h a"]:
        """Actions of the candidates to imagine next; the same ones until their costs are told."""
        if self._asked is None:
            self._asked = self._with_proposal(self._optimiser.ask(self._search, self._generator))
        return self._space.decode(self._asked)

    def _with_proposal(self, candidates: Float[Tensor, "s k v"]) -> Float[Tensor, "asked k v"]:
        """In the last place: the first are the mean and the best so far."""
        if self._proposal is None:
            return candidates
        if self._only_proposal:
            return self._proposal[None]
        return candidates if self.iterations else torch.cat([candidates[:-1], self._proposal[None]])

    @property
    def wants_gradients(self) -> bool:
        """Whether `tell` is to be given slopes."""
        return isinstance(self._optimiser, GradientOptimiser)

    def tell(
        self,
        latents: Float[Tensor, "s h n d"],
        costs: Float[Tensor, " s"],
        slopes: Float[Tensor, "s h a"] | None = None,
    ) -> None:
        """What was imagined for the candidates asked for, what it costs, and its gradient for the actions if wanted."""
        assert self._asked is not None  # nothing is told that was not asked for
        if isinstance(self._optimiser, GradientOptimiser):
            assert slopes is not None  # they were wanted
            gradients = _pulled_back(self._space, self._asked, slopes)
            told = self._optimiser.follow(self._search, self._asked, costs, gradients)
        else:
            told = self._optimiser.tell(self._search, self._asked, costs)
        if told.best_cost < self._search.best_cost:
            best = finite_or_worst(costs).argsort(stable=True)[0]
            self._latents = latents[best].clone()  # a view would keep the whole batch
        self._search, self._asked = told, None
        self._best_costs.append(told.best_cost)

    @property
    def plan(self) -> Plan:
        """The best so far. Raises NoFinitePlan."""
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


def advance(model: WorldModel, state: RolloutState, cost: Cost, searches: Sequence[RobotSearch]) -> None:
    """One iteration of every search that is not over, in one rollout; one of them must not be.

    `state` and `cost` are of the same robots in the same order, and all ask for equally many candidates and steps.
    """
    asked = {robot: search.ask() for robot, search in enumerate(searches) if not search.is_over}
    shape = next(iter(asked.values())).shape
    # A robot whose search is over rests, so that its plan does not depend on how long its neighbours need.
    rows = [asked[r] if r in asked else search.plan.actions.expand(shape) for r, search in enumerate(searches)]
    actions = torch.stack(rows)  # [b s h a]
    gradients = any(search.wants_gradients for search in searches)
    with threads_for(actions.shape[0] * actions.shape[1]):
        latents, costs, slopes = (_differentiated if gradients else _imagined)(model, state, cost, actions)
    for robot in asked:
        searches[robot].tell(latents[robot], costs[robot], None if slopes is None else slopes[robot])


def _imagined(
    model: WorldModel, state: RolloutState, cost: Cost, actions: Float[Tensor, "b s h a"]
) -> tuple[Tensor, Tensor, None]:
    """Latents [b s h n d] and costs [b s]."""
    latents = model.rollout(state, actions)
    return latents, cost(latents, actions), None


def _differentiated(
    model: WorldModel, state: RolloutState, cost: Cost, actions: Float[Tensor, "b s h a"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Also each candidate's gradient [b s h a]: nobody's cost depends on another one's actions."""
    with torch.inference_mode(False), torch.enable_grad():
        wanted = actions.clone().requires_grad_()
        latents = model.rollout(state, wanted)
        costs = cost(latents, wanted)
        (slopes,) = torch.autograd.grad(costs.sum(), wanted)
    return latents.detach(), costs.detach(), slopes


def _pulled_back(
    space: SearchSpace, variables: Float[Tensor, "s k v"], slopes: Float[Tensor, "s h a"]
) -> Float[Tensor, "s k v"]:
    """The gradient for the variables, from that for the actions which they stand for."""
    with torch.inference_mode(False), torch.enable_grad():
        pull_back = torch.func.vjp(space.decode, variables.clone())[1]
        (gradients,) = pull_back(slopes.clone())
    return gradients


def plan_iterations(
    model: WorldModel,
    state: RolloutState,
    cost: Cost,
    *,
    optimiser: Optimiser,
    space: SearchSpace,
    horizon: int,
    warm_starts: Sequence[Float[Tensor, "k v"] | None],
    generators: Sequence[Generator],
) -> Iterator[tuple[Plan, ...]]:
    """After each iteration, the best plan so far of each robot. Stop at a deadline by not asking for the next.

    `warm_starts` and `generators` have one entry a robot, in the order of `state`'s batch. Raises NoFinitePlan.
    """
    searches = [
        RobotSearch(optimiser=optimiser, space=space, horizon=horizon, warm_start=warm_start, generator=generator)
        for warm_start, generator in zip(warm_starts, generators, strict=True)
    ]
    while not all(search.is_over for search in searches):
        advance(model, state, cost, searches)
        yield tuple(search.plan for search in searches)
