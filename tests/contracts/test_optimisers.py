"""Laws that every optimiser obeys, and laws on accuracy for those that converge (PRECISE)."""

import dataclasses
import functools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Generator, Tensor

from planner.constraints import Constrained, Constraints
from planner.costs import ControlEffort, GoalCost, SquaredDistance
from planner.gradient_descent import GradientDescent
from planner.icem import ICEM
from planner.mppi import MPPI
from planner.names import SearchAlgorithmName, SearchSpaceName
from planner.optimiser import GradientOptimiser, Optimiser, SamplingOptimiser, Search
from planner.policy import Verifier, policy_plan
from planner.predictive_sampling import PredictiveSampling
from planner.presets import OPTIMISERS, Preset
from planner.search import NoFinitePlan
from planner.search_space import SearchSpace
from tests.planner.linear import LinearWorldModel, MakeOptimiser, Problem, cem, iterate, same_plan, space

PRECISE: dict[SearchAlgorithmName, MakeOptimiser] = {
    "cem": lambda within: cem(within),
    "icem": lambda within: ICEM(space=within, candidates=256, elites=24, iterations=20, std_floor=0.01),
    "mppi": lambda within: MPPI(space=within, candidates=512, iterations=20, std_floor=0.01),
    "predictive_sampling": lambda within: PredictiveSampling(space=within, candidates=512, iterations=50, std=0.05),
    "gradient_descent": lambda within: GradientDescent(space=within, candidates=64, iterations=40),
}
"""Optimisers that are held to the laws on accuracy, with settings that give them the time to be accurate."""


def made(name: SearchAlgorithmName, within: SearchSpace) -> Optimiser:
    """An optimiser with the settings of PRECISE; one that is not in it with those of a thorough preset."""
    if name in PRECISE:
        return PRECISE[name](within)
    return Preset(algorithm=name, candidates=128, elites=12, iterations=15).optimiser(within)


SPACES = {
    "wide": space(),
    "tight": space((-0.1, -0.1), (0.1, 0.1)),
    "asymmetric": space((-0.2, 0.3), (0.9, 0.4)),
    "one side": space((0.5, -1.0), (1.0, -0.5)),
    "a fixed action": space((0.25, -1.0), (0.25, 1.0)),
    "five control steps": space((-0.2, -0.1), (0.1, 0.2), control_steps=5),
    "linear spline": space((-0.2, -0.1), (0.1, 0.2), control_steps=5, name="linear_spline"),
    "cubic spline": space((-0.2, -0.1), (0.1, 0.2), control_steps=5, name="cubic_spline"),
}
TO_THE_RIGHT = Problem(goal=(0.6, -0.3))


@pytest.fixture(params=OPTIMISERS)
def make(request: pytest.FixtureRequest) -> MakeOptimiser:
    return functools.partial(made, request.param)


@pytest.fixture(params=PRECISE)
def precise(request: pytest.FixtureRequest) -> MakeOptimiser:
    return PRECISE[request.param]


# --- accuracy -------------------------------------------------------------------------------------------------------


def test_it_finds_a_goal_within_reach(precise: MakeOptimiser) -> None:
    """One action goes there, the others stay: the only plan without cost."""
    plan = iterate([TO_THE_RIGHT], precise(space()), space())[-1][0]
    assert plan.cost < 2e-3
    torch.testing.assert_close(plan.actions[0], torch.tensor([0.6, -0.3]), rtol=0, atol=0.05)
    assert plan.actions[1:].abs().max() < 0.08


@pytest.mark.parametrize(("goal", "corner"), [((9.0, 9.0), (0.9, 0.4)), ((-9.0, -9.0), (-0.2, 0.3))])
def test_it_goes_to_the_edge_for_a_goal_beyond_reach(
    precise: MakeOptimiser, goal: tuple[float, float], corner: tuple[float, float]
) -> None:
    """With active bounds the optimum is the corner nearest to the goal, all the time."""
    within = SPACES["asymmetric"]
    plan = iterate([Problem(goal=goal)], precise(within), within)[-1][0]
    torch.testing.assert_close(plan.actions, torch.tensor(corner).expand(3, 2), rtol=0, atol=0.02)
    best = sum(sum((g - (k + 1) * c) ** 2 for g, c in zip(goal, corner, strict=True)) for k in range(3)) / 3
    assert best <= plan.cost + 1e-4 and plan.cost < 1.01 * best


def test_it_finds_an_optimum_where_one_bound_is_active_and_one_is_not(precise: MakeOptimiser) -> None:
    """Along x the goal needs two steps of at most 0.9; y cannot go lower than 0.3 a step, but its goal is 0.2."""
    within = SPACES["asymmetric"]
    plan = iterate([Problem(goal=(1.3, 0.2))], precise(within), within)[-1][0]
    torch.testing.assert_close(plan.actions[:, 1], torch.full((3,), 0.3), rtol=0, atol=0.03)
    assert float(plan.actions[0, 0]) == pytest.approx(0.9, abs=0.05)
    assert float(plan.actions[:2, 0].sum()) == pytest.approx(1.3, abs=0.08)


def test_a_higher_start_does_not_move_the_answer(precise: MakeOptimiser) -> None:
    """The world is the same everywhere: start and goal moved together give the same actions."""
    answers = [
        iterate([Problem(goal=(0.5 + x, 0.25), start=(x, 0.0))], precise(space()), space())[-1][0].actions
        for x in (0.0, 4.0)
    ]
    torch.testing.assert_close(*answers, rtol=0, atol=0.02)


@dataclass(frozen=True)
class Poisoned:
    """A cost that is broken for actions to the right, where the goal is."""

    poison: float

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        plain = (latents[..., -1, 0, 0] - 3).square()
        return torch.where(actions[..., 0, 0] > 0.2, self.poison, plain)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_it_goes_to_the_edge_of_what_has_a_finite_cost(precise: MakeOptimiser, poison: float) -> None:
    plan = iterate([TO_THE_RIGHT], precise(space()), space(), cost=Poisoned(poison))[-1][0]
    assert float(plan.actions[0, 0]) == pytest.approx(0.2, abs=0.05)


# --- safety ---------------------------------------------------------------------------------------------------------


def test_it_is_an_optimiser(make: MakeOptimiser) -> None:
    optimiser = make(space())
    assert isinstance(optimiser, SamplingOptimiser) is not isinstance(optimiser, GradientOptimiser)


@pytest.mark.parametrize("name", SPACES)
def test_every_candidate_of_every_iteration_is_within_bounds(make: MakeOptimiser, name: str) -> None:
    """Also those that are never chosen: a model is not asked about what a robot cannot do."""
    within, model = SPACES[name], LinearWorldModel()
    warm_start = torch.full((within.rows(3), 2), 5.0)
    plans = iterate(
        [TO_THE_RIGHT, Problem(goal=(9.0, -9.0), warm_start=warm_start, seed=1)], make(within), within, model=model
    )
    seen = torch.cat([*(actions.flatten(0, 2) for actions in model.rollouts), *(p.actions for p in plans[-1])])
    seen = seen.unflatten(-1, (-1, 2))
    assert len(model.rollouts) == len(plans)
    assert ((seen >= within.low) & (seen <= within.high)).all()


RATE = torch.tensor([0.03, 0.05])
CONSTRAINTS = {
    "rate": Constraints(max_delta=RATE, committed=torch.zeros(0, 2)),
    "rate from the last action": Constraints(
        max_delta=RATE, committed=torch.zeros(0, 2), last=torch.tensor([0.1, -0.1])
    ),
    "settled actions": Constraints(
        max_delta=torch.full((2,), math.inf), committed=torch.tensor([[0.1, 0.2], [-0.2, -0.1], [0.0, 0.0]])
    ),
    "both": Constraints(
        max_delta=RATE, committed=torch.tensor([[0.09, -0.06], [0.07, -0.01]]), last=torch.tensor([0.1, -0.1])
    ),
}


@pytest.mark.parametrize("search_space", ["constant", "free", "linear_spline", "cubic_spline"])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_every_candidate_of_every_iteration_obeys_constraints(
    make: MakeOptimiser, name: str, search_space: SearchSpaceName
) -> None:
    """Bounds, rates and settled actions at once: a model is not asked about what a robot cannot or will not do."""
    obeyed, model = CONSTRAINTS[name], LinearWorldModel()
    within = Constrained(space((-0.2, -0.1), (0.1, 0.2), control_steps=5, name=search_space), obeyed)
    plans = iterate([TO_THE_RIGHT, Problem(goal=(-9.0, 9.0), seed=1)], make(within), within, model=model)[-1]
    seen = torch.cat([*(actions.flatten(0, 1) for actions in model.rollouts), *(p.actions[None] for p in plans)])
    steps = seen.reshape(-1, 15, 2)
    assert ((steps >= torch.tensor([-0.2, -0.1])) & (steps <= torch.tensor([0.1, 0.2]))).all()
    settled = len(obeyed.committed)
    assert torch.equal(steps[:, :settled], obeyed.committed.expand(len(steps), -1, -1))
    before = steps[:, :0] if obeyed.last is None else obeyed.last.expand(len(steps), 1, -1)
    assert (torch.cat([before, steps], 1).diff(dim=1).abs() <= obeyed.max_delta + 1e-6).all()
    assert not torch.equal(plans[0].actions, plans[1].actions), "what is free is searched"


def after_costs(optimiser: Optimiser, search: Search, candidates: Tensor, poison: float = 0.0) -> Search:
    """The search after candidates whose cost is the square of their length, plus `poison`."""
    costs = candidates.square().sum((-2, -1)) + poison
    if isinstance(optimiser, GradientOptimiser):
        return optimiser.follow(search, candidates, costs, 2 * candidates + poison)
    return optimiser.tell(search, candidates, costs)


def test_robots_are_asked_for_as_many_candidates_as_their_neighbours_and_never_for_more_later(
    make: MakeOptimiser,
) -> None:
    """Whatever their costs are: they are stacked in one batch, in which one of them may rest."""
    optimiser, counts = make(space()), []
    for poison in (0.0, math.nan):
        search, generator = optimiser.start(3, None), Generator().manual_seed(0)
        asked = []
        for _ in range(5):
            candidates = optimiser.ask(search, generator)
            asked.append(len(candidates))
            search = after_costs(optimiser, search, candidates, poison)
        counts.append(asked)
    assert counts[0] == counts[1] == sorted(counts[0], reverse=True)


def test_the_best_cost_never_rises(make: MakeOptimiser) -> None:
    for seed in range(5):
        plans = [after[0] for after in iterate([Problem(goal=(0.8, 0.7), seed=seed)], make(space()), space())]
        costs = [plan.cost for plan in plans]
        assert costs == sorted(costs, reverse=True)
        assert plans[-1].best_costs == tuple(costs) and plans[-1].first_cost == costs[0]
        assert plans[-1].iterations == len(costs)


def test_a_plans_cost_and_future_are_those_of_its_actions(make: MakeOptimiser) -> None:
    """After every iteration, since a deadline may end the search there."""
    model, goal = LinearWorldModel(), torch.tensor([[[0.6, -0.3]]])
    for (plan,) in iterate([TO_THE_RIGHT], make(space()), space()):
        latents = model.rollout(torch.zeros(1, 1, 2), plan.actions[None, None])
        assert torch.equal(latents[0, 0], plan.latents)
        cost = GoalCost(SquaredDistance(), goal)(latents, plan.actions[None, None])
        assert float(cost) == pytest.approx(plan.cost, rel=1e-6)


def test_decoding_the_variables_gives_the_actions(make: MakeOptimiser) -> None:
    within = SPACES["five control steps"]
    plan = iterate([TO_THE_RIGHT], make(within), within)[-1][0]
    assert torch.equal(within.decode(plan.variables), plan.actions)
    assert plan.variables.shape == (3, 2) and plan.actions.shape == (3, 10)


BATCH = [
    TO_THE_RIGHT,
    Problem(goal=(9.0, 9.0), seed=1),
    Problem(goal=(-0.4, 0.9), start=(0.2, 0.1), seed=2),
    Problem(goal=(0.1, 0.0), seed=3, warm_start=torch.full((3, 2), 0.1)),
    Problem(goal=(0.6, -0.3), seed=4),
    Problem(goal=(-9.0, 0.5), seed=5),  # needs more iterations than the others
    Problem(goal=(0.0, 0.0), seed=6),
]


@pytest.mark.parametrize("seats", [(0,), (0, 1), (1, 0), (4, 5, 0), (6, 5, 4, 3, 2, 1, 0), (0, 1, 2, 3, 4, 5, 6)])
def test_a_plan_does_not_depend_on_who_shares_the_batch(make: MakeOptimiser, seats: tuple[int, ...]) -> None:
    """To the last bit: same request, same plan. A neighbour that needs longer once made a finished search go on."""
    together = iterate([BATCH[robot] for robot in seats], make(space()), space())[-1]
    for robot, plan in zip(seats, together, strict=True):
        assert same_plan(plan, iterate([BATCH[robot]], make(space()), space())[-1][0]), robot


def test_same_seed_same_plan_other_seed_other_plan(make: MakeOptimiser) -> None:
    one, same, other = (iterate([Problem(goal=(0.5, 0.5), seed=s)], make(space()), space())[-1][0] for s in (7, 7, 8))
    assert same_plan(one, same)
    assert not torch.equal(one.actions, other.actions)


def test_the_global_generator_is_neither_used_nor_changed(make: MakeOptimiser) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = iterate([TO_THE_RIGHT], make(space()), space())[-1][0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert same_plan(iterate([TO_THE_RIGHT], make(space()), space())[-1][0], one)


def test_a_warm_started_search_is_no_worse_than_its_warm_start(make: MakeOptimiser) -> None:
    generator = Generator().manual_seed(0)
    for seed in range(5):
        warm_start = torch.rand(3, 2, generator=generator) * 2 - 1
        plans = iterate([Problem(goal=(0.6, -0.3), seed=seed, warm_start=warm_start)], make(space()), space())
        latents = warm_start.cumsum(0)
        given = float((latents - torch.tensor([0.6, -0.3])).square().sum(-1).mean())
        assert plans[0][0].cost <= given + 1e-6


def test_a_perfect_warm_start_is_kept(make: MakeOptimiser) -> None:
    perfect = torch.tensor([[0.6, -0.3], [0.0, 0.0], [0.0, 0.0]])
    plan = iterate([Problem(goal=(0.6, -0.3), warm_start=perfect)], make(space()), space())[-1][0]
    assert plan.cost < 1e-9 and torch.equal(plan.actions, perfect)


def test_a_warm_start_of_another_shape_is_refused(make: MakeOptimiser) -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\); wanted \(3, 2\)"):
        iterate([Problem(goal=(0.0, 0.0), warm_start=torch.zeros(2, 2))], make(space()), space())


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_warm_start_that_is_no_number_is_refused(make: MakeOptimiser, poison: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        iterate([Problem(goal=(0.0, 0.0), warm_start=torch.full((3, 2), poison))], make(space()), space())


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_costs_that_are_no_numbers_never_win(make: MakeOptimiser, poison: float) -> None:
    """Minus infinity is not a good cost, it is a broken one."""
    plans = iterate([TO_THE_RIGHT], make(space()), space(), cost=Poisoned(poison))
    for (plan,) in plans:
        assert math.isfinite(plan.cost) and plan.actions[0, 0] <= 0.2 and plan.latents.isfinite().all()


@dataclass
class BrokenAt:
    """Costs are NaN for one robot, in one iteration or in all."""

    robot: int
    iteration: int | None = None
    calls: int = 0

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        costs = ControlEffort()(latents, actions)
        if self.iteration in (None, self.calls):
            costs[self.robot] = math.nan
        self.calls += 1
        return costs


def test_no_finite_cost_at_all_is_an_error_not_a_plan(make: MakeOptimiser) -> None:
    with pytest.raises(NoFinitePlan, match="not finite; check"):
        iterate([TO_THE_RIGHT, TO_THE_RIGHT], make(space()), space(), cost=BrokenAt(robot=1))


def test_a_bad_iteration_later_costs_nothing(make: MakeOptimiser) -> None:
    plans = iterate([TO_THE_RIGHT], make(space()), space(), cost=BrokenAt(robot=0, iteration=1))
    assert plans[1][0].cost == plans[0][0].cost and torch.equal(plans[1][0].actions, plans[0][0].actions)
    assert plans[-1][0].cost <= plans[0][0].cost


def test_it_stops_by_itself_only_when_all_have_converged(make: MakeOptimiser) -> None:
    optimiser = make(space())
    for problems in ([BATCH[1]], [BATCH[0]], BATCH):
        plans = iterate(problems, optimiser, space())
        assert len(plans) <= optimiser.iterations
        assert len(plans) == optimiser.iterations or all(plan.converged for plan in plans[-1])
        assert not any(all(plan.converged for plan in after) for after in plans[:-1])


def test_a_search_is_a_value(make: MakeOptimiser) -> None:
    """Asking twice from the same place with the same randomness gives the same candidates: nothing is remembered."""
    optimiser = make(space())
    search = optimiser.start(3, None)
    asked = [optimiser.ask(search, Generator().manual_seed(0)) for _ in range(2)]
    assert torch.equal(*asked)
    one, other = (after_costs(optimiser, search, asked[0]) for _ in range(2))
    assert torch.equal(*(optimiser.ask(after, Generator().manual_seed(1)) for after in (one, other)))
    assert one.best_cost == other.best_cost
    assert search.best_cost == math.inf


def test_every_robot_has_a_generator_of_its_own(make: MakeOptimiser) -> None:
    one, other = iterate([TO_THE_RIGHT, Problem(goal=(0.6, -0.3), seed=9)], make(space()), space())[0]
    assert not torch.equal(one.actions, other.actions)


READ_BY_THE_LOOP = {"std", "best", "best_cost", "converged"}


def test_a_state_has_no_field_that_its_optimiser_never_moves(make: MakeOptimiser) -> None:
    """A field that belongs to another optimiser would stay as it began, like an iteration that nobody counts."""
    optimiser = make(space())
    began = optimiser.start(3, None)
    search = began
    for _ in range(2):
        search = after_costs(optimiser, search, optimiser.ask(search, Generator().manual_seed(0)))
    assert type(search) is type(began)
    assert READ_BY_THE_LOOP <= {name for name in dir(search) if not name.startswith("_")}
    for name in {field.name for field in dataclasses.fields(search)} - READ_BY_THE_LOOP:
        before, after = getattr(began, name), getattr(search, name)
        same = torch.equal(before, after) if isinstance(before, Tensor) else before == after
        assert after is not None and not same, name


def test_a_plan_does_not_depend_on_how_many_candidates_are_imagined_at_once(
    make: MakeOptimiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of 45 candidates, the last one smaller. Plans are equal to the last bit where a world rounds the same."""
    problems = [TO_THE_RIGHT, Problem(goal=(9.0, 9.0), seed=1)]
    whole = iterate(problems, make(space()), space())
    monkeypatch.setattr("planner.search.candidates_at_once", lambda **sizes: 45)
    model = LinearWorldModel()
    chunked = iterate(problems, make(space()), space(), model=model)
    assert len(chunked) == len(whole) < len(model.rollouts), "there was a single chunk"
    assert max(actions.shape[1] for actions in model.rollouts) == 45
    for one, other in zip(whole, chunked, strict=True):
        assert all(same_plan(*each) for each in zip(one, other, strict=True))


@dataclass
class PoisonedChunk:
    """A cost that is NaN for the candidates of every second chunk."""

    poison: float
    calls: int = 0

    def __call__(self, latents: Tensor, actions: Tensor) -> Tensor:
        self.calls += 1
        costs = GoalCost(SquaredDistance(), torch.tensor([[[0.6, -0.3]]]))(latents, actions)
        return torch.where(torch.tensor(self.calls % 2 == 0), self.poison, costs)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_chunk_without_a_finite_cost_never_wins(
    make: MakeOptimiser, monkeypatch: pytest.MonkeyPatch, poison: float
) -> None:
    monkeypatch.setattr("planner.search.candidates_at_once", lambda **sizes: 30)
    for (plan,) in iterate([TO_THE_RIGHT], make(space()), space(), cost=PoisonedChunk(poison)):
        latents = LinearWorldModel().rollout(torch.zeros(1, 1, 2), plan.actions[None, None])
        assert plan.latents is not None and torch.equal(plan.latents, latents[0, 0]), "another candidate's future"
        assert plan.cost == pytest.approx(float(PoisonedChunk(poison)(latents, plan.actions[None, None])), rel=1e-6)


class Counting:
    """A policy of one model step, which counts its questions."""

    def __init__(self) -> None:
        self.questions = 0

    def __call__(self, context: Tensor, goal: Tensor) -> Tensor:
        self.questions += 1
        return ((goal - context[:, -1]) / 2).clamp(-1, 1)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_a_policys_plan_is_imagined_once_to_verify_it_after_it_was_continued(horizon: int) -> None:
    model, policy, goal = LinearWorldModel(), Counting(), torch.tensor([[[0.6, -0.3]]])
    start = torch.zeros(1, 1, 2)
    cost = GoalCost(SquaredDistance(), goal)
    verifier = Verifier(model=model, state=start, cost=cost, horizon=horizon)
    plan = policy_plan(policy, start[:, None], goal, space(), verifier)
    steps = [actions.shape[:3] for actions in model.rollouts]
    assert steps == [*((1, 1, step) for step in range(1, horizon)), (1, 1, horizon)]
    assert policy.questions == horizon
    assert torch.equal(model.rollouts[-1][0, 0], plan.actions)


def test_a_policys_plan_asks_once_and_imagines_nothing_without_a_world_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def rollout(*given: object) -> None:
        raise AssertionError("a rollout without a world model")

    monkeypatch.setattr(LinearWorldModel, "rollout", rollout)
    policy, start = Counting(), torch.zeros(1, 1, 2)
    plan = policy_plan(policy, start[:, None], torch.tensor([[[0.6, -0.3]]]), space())
    assert policy.questions == 1 and plan.cost is None and plan.latents is None and plan.iterations == 0
