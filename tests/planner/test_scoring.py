"""Candidates imagined in chunks: the same plans, in a fraction of the memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from planner import scoring
from planner.cem import CEM
from planner.costs import GoalCost, SquaredDistance
from planner.gradient_descent import GradientDescent
from planner.optimiser import Optimiser
from planner.scoring import candidates_at_once, score
from planner.search import Plan, RobotSearch
from tests.planner.linear import LinearWorldModel, plan_iterations, space
from tests.planner.tokens import token_world

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("width", [64, 192])
def test_a_batch_of_latents_of_one_token_is_one_chunk(width: int) -> None:
    assert candidates_at_once(robots=16, horizon=5, tokens=1, width=width, gradients=False) >= 300
    assert candidates_at_once(robots=16, horizon=5, tokens=1, width=width, gradients=True) >= 48, "as `default` has"


@pytest.mark.parametrize("gradients", [True, False])
def test_a_chunks_latents_stay_within_their_budget(gradients: bool) -> None:
    at_once = candidates_at_once(robots=2, horizon=5, tokens=256, width=128, gradients=gradients)
    budget = scoring.GRADIENT_LATENT_BYTES if gradients else scoring.LATENT_BYTES
    one = torch.zeros(2, 1, 5, 256, 128).nbytes
    assert at_once * one <= budget < (at_once + 1) * one


def test_at_least_one_candidate_is_imagined_whatever_it_takes() -> None:
    assert candidates_at_once(robots=16, horizon=50, tokens=4096, width=4096, gradients=False) == 1


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 9])
def test_the_best_latents_are_those_of_the_first_of_equally_cheap_candidates(at_once: int) -> None:
    """Candidates 1 and 3 cost the same for the first robot; the second robot's only finite cost is the last one."""
    wanted = torch.tensor([[2.0, 1.0, 3.0, 1.0, 2.0], [torch.nan, torch.inf, -torch.inf, torch.nan, 7.0]])
    actions = torch.arange(10.0).view(2, 5, 1, 1)

    def cost(latents: Tensor, actions: Tensor) -> Tensor:
        return wanted.flatten()[actions.flatten(1).long()]

    scores = score(LinearWorldModel(), torch.zeros(2, 1, 1), cost, actions, at_once=at_once, gradients=False)
    assert torch.equal(scores.costs.nan_to_num(), wanted.nan_to_num()) and scores.slopes is None
    assert scores.best_latents.flatten().tolist() == [1.0, 9.0]


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_slopes_are_each_candidates_own_in_its_place(at_once: int) -> None:
    """By hand: the cost is the square of the sum of two steps' actions, so both slopes are twice that sum."""
    actions = torch.arange(20.0).view(2, 5, 2, 1)

    def cost(latents: Tensor, actions: Tensor) -> Tensor:
        return latents[:, :, -1, 0, 0].square()

    scores = score(LinearWorldModel(), torch.zeros(2, 1, 1), cost, actions, at_once=at_once, gradients=True)
    assert scores.slopes is not None and not scores.costs.requires_grad and not scores.best_latents.requires_grad
    torch.testing.assert_close(scores.slopes, 2 * actions.sum(2, keepdim=True).expand_as(actions))


def plans(optimiser: Optimiser, tokens: int, width: int) -> tuple[Plan, ...]:
    """Two robots that plan five steps with many tokens."""
    generator, model = Generator().manual_seed(1), token_world(tokens=tokens, width=width)
    state, goal = torch.randn(2, 2, tokens, width, generator=generator).unbind(0)
    searches = [
        RobotSearch(optimiser=optimiser, space=space(), horizon=5, generator=Generator().manual_seed(seed))
        for seed in range(2)
    ]
    cost = GoalCost(SquaredDistance(2.0 * tokens * width), goal)
    return list(plan_iterations(model, state, cost, searches, (tokens, width)))[-1]


@pytest.mark.parametrize("kind", ["cem", "gradient_descent"])
def test_a_plan_with_many_tokens_is_the_same_in_chunks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    optimisers: dict[str, Optimiser] = {
        "cem": CEM(space=space(), candidates=64, elites=8, iterations=4),
        "gradient_descent": GradientDescent(space=space(), candidates=12, iterations=4),
    }
    monkeypatch.setattr(scoring, "LATENT_BYTES", 2**40)
    monkeypatch.setattr(scoring, "GRADIENT_LATENT_BYTES", 2**40)
    whole = plans(optimisers[kind], 16, 24)
    for budget in (1, 5 * torch.zeros(2, 5, 16, 24).nbytes):
        monkeypatch.setattr(scoring, "LATENT_BYTES", budget)
        monkeypatch.setattr(scoring, "GRADIENT_LATENT_BYTES", budget)
        for one, other in zip(whole, plans(optimisers[kind], 16, 24), strict=True):
            assert one.latents is not None and other.latents is not None
            torch.testing.assert_close(other.actions, one.actions, rtol=0, atol=1e-5)
            torch.testing.assert_close(other.latents, one.latents, rtol=0, atol=1e-5)
            assert other.best_costs == pytest.approx(one.best_costs, abs=1e-5)


def planned_memory(iterations: int, latent_bytes: int) -> float:
    """Most resident memory in GB of a process that plans 300 candidates, 5 steps ahead, 256 tokens 128 wide."""
    program = f"from tests.planner.test_scoring import measure; measure({iterations}, {latent_bytes})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(iterations: int, latent_bytes: int) -> None:
    """Write the peak to standard output."""
    torch.set_num_threads(1)
    scoring.LATENT_BYTES = latent_bytes
    within, model = space(horizon=5), token_world()
    optimiser = CEM(space=within, candidates=300, elites=30, iterations=iterations, std_floor=1e-6)
    robot = RobotSearch(optimiser=optimiser, space=within, horizon=5, generator=Generator().manual_seed(0))
    start = torch.zeros(1, 256, 128)
    with torch.inference_mode():
        goal = model.rollout(start, torch.full((1, 1, 5, 2), 0.4))[:, 0, -1]
        cost = GoalCost(SquaredDistance(2.0 * goal.numel()), goal)
        *_, (plan,) = plan_iterations(model, start, cost, [robot], (256, 128))
    assert plan.iterations == iterations and sum(model.chunks) == 1 + 300 * iterations
    assert iterations == 1 or plan.best_costs[-1] < 0.9 * plan.best_costs[0]
    # Not ru_maxrss, which a process inherits from the one that started it.
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    sys.stdout.write(f"{int(peak) / 1e6}\n")  # from KB


def test_many_tokens_fit_in_memory() -> None:
    """One iteration in one chunk is the control: it takes more than ten iterations in chunks may. A process that has
    only imported torch takes a quarter of a GB."""
    assert planned_memory(10, scoring.LATENT_BYTES) < 0.7 < planned_memory(1, 2**40)
