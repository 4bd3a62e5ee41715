"""How long planning takes: the plain float32 rollout beside the fast one, same weights, machine and run.

A case is a recipe with a planner preset, or with the published search. Its variants take turns, one optimiser iteration
each, so that whatever else the machine does disturbs all alike. Weights are random: speed does not depend on them.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.flop_counter import FlopCounterMode
from worldmodel.recipes.joint_embedding import JointEmbedding

from planner.costs import Over, goal_cost
from planner.names import SearchSpaceName
from planner.presets import PRESETS, Preset, build
from planner.protocols import Distance, RolloutModel
from planner.search import plan_iterations
from server.benchmark.machine import machine, peak_gflops, synchronise
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig
from worldmodel.inference.fast_steps_to_go import FastStepsToGo
from worldmodel.inference.world_model import LatentWorldModel
from worldmodel.parts.precision import DTYPES, Precision
from worldmodel.parts.rollout import naive_rollout
from worldmodel.recipes.lewm import LeWM, LeWMConfig, paper, small

ACTIONS, CONTROL_STEPS = 2, 5
REFERENCE = "reference"
VARIANTS: dict[str, Precision] = {REFERENCE: "float32", "float32": "float32", "bfloat16": "bfloat16"}
"""The plain rollout, and the fast one in both precisions."""


REFERENCE_SHARE = 5
"""The plain rollout, several times as slow, is measured this many times less often."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is planned with."""

    recipe: Callable[[], LeWMConfig]
    context_frames: int
    over: Over
    with_steps_to_go: bool
    search_space: SearchSpaceName


CASES = {
    "paper": Case(recipe=paper, context_frames=1, over="last", with_steps_to_go=False, search_space="free"),
    "small": Case(recipe=small, context_frames=3, over="mean", with_steps_to_go=True, search_space="constant"),
}
"""As published, and as the service plans by default."""
PUBLISHED = "300x30"
SEARCHES = {
    PUBLISHED: Preset(candidates=300, elites=30, iterations=30),
    **{name: preset for name, preset in PRESETS.items() if preset.proposal == "none"},
}
"""No model here proposes anything."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """How much to measure."""

    recipes: Sequence[str] = tuple(CASES)
    presets: Sequence[str] = tuple(SEARCHES)
    robots: Sequence[int] = (1, 4, 16)
    plans: int = 10
    """Whole plans of one robot; several robots are measured for `iterations`."""
    iterations: int = 10
    device: str = "cpu"

    def __post_init__(self) -> None:
        for asked, known in ((self.recipes, CASES), (self.presets, SEARCHES)):
            if unknown := sorted(set(asked) - set(known)):
                raise ValueError(f"{unknown} are not known; choose of {', '.join(known)}")
        if min((self.plans, self.iterations, *self.robots)) < 1:
            raise ValueError("plans, iterations and robots must be at least 1")


@dataclass(frozen=True)
class TimedModel:
    """One way to imagine and to judge."""

    model: RolloutModel
    steps_to_go: Distance | None
    task_distance: Distance | None = None


class Reference:
    """The plain rollout as a planner's world model."""

    def __init__(self, recipe: JointEmbedding) -> None:
        self.recipe = recipe.eval().requires_grad_(False)

    def encode(self, observation: Tensor) -> Tensor:
        """[b height width 3] to [b 1 d]"""
        return self.recipe.encode(observation).unsqueeze(1)

    def begin(self, context: Tensor, past_actions: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing is done ahead."""
        return context.squeeze(2), past_actions

    def stack(self, states: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Many robots as one batch."""
        contexts, past_actions = zip(*states, strict=True)
        return torch.cat(contexts), torch.cat(past_actions)

    def rollout(self, state: tuple[Tensor, Tensor], actions: Tensor) -> Tensor:
        """[b s h a] to [b s h 1 d]"""
        return naive_rollout(self.recipe.predictor, *state, actions).unsqueeze(3)


@torch.inference_mode()
def benchmark(config: BenchmarkConfig, on_case: Callable[[str], None]) -> dict[str, Any]:
    """Rows, one for each recipe, preset, number of robots and variant; speed-ups of one robot; what company gains."""
    peaks: dict[Precision, float] = {precision: round(peak_gflops(precision, config.device), 1) for precision in DTYPES}
    rows: list[dict[str, Any]] = []
    for recipe in config.recipes:
        engines = _engines(CASES[recipe], config.device)
        for preset, robots in itertools.product(config.presets, config.robots):
            on_case(f"{recipe}, {preset}, {robots} robots")
            rows += _measure(recipe, preset, engines, robots, config, peaks)
    cases = {
        f"{recipe} {preset}": [row for row in rows if (row["recipe"], row["preset"]) == (recipe, preset)]
        for recipe, preset in itertools.product(config.recipes, config.presets)
    }
    speedups = {name: _speedups(of_case) for name, of_case in cases.items()}
    return {
        "machine_used": machine(config.device),
        "matmul_peak_gflops": peaks,
        "speedup_over_reference": next(iter(speedups.values())),
        "speedups": speedups,
        "plans_of_most_robots_over_fewest": {name: _company(of_case) for name, of_case in cases.items()},
        "rows": rows,
    }


def _engines(case: Case, device: str) -> dict[str, TimedModel]:
    torch.manual_seed(0)
    recipe = LeWM(case.recipe(), ACTIONS * CONTROL_STEPS)
    for block in recipe.predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.02)
    recipe = recipe.to(device)
    head = StepsToGo(StepsToGoConfig(), case.recipe().latent_width).to(device) if case.with_steps_to_go else None
    fast_head = None if head is None else FastStepsToGo(head)
    return {
        name: TimedModel(Reference(recipe), head)
        if name == REFERENCE
        else TimedModel(LatentWorldModel(recipe, precision), fast_head)
        for name, precision in VARIANTS.items()
    }


def _measure(
    recipe: str,
    preset: str,
    engines: dict[str, TimedModel],
    robots: int,
    config: BenchmarkConfig,
    peaks: dict[Precision, float],
) -> list[dict[str, Any]]:
    case, whole = CASES[recipe], robots == 1
    # No floor under the spread, so that a search takes all its iterations.
    search = replace(SEARCHES[preset], std_floor=1e-6, search_space=case.search_space)
    runs = {name: _iterations(case, search, engine, robots, config.device) for name, engine in engines.items()}
    for run in runs.values():
        next(run)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(config.plans if whole else config.iterations):
        for _ in range(search.iterations if whole else 1):
            for name, run in runs.items():
                if name != REFERENCE or repetition % REFERENCE_SHARE == 0:
                    seconds[name].append(_timed(run, config.device))
    rows = []
    for name, times in seconds.items():
        flops = _flops(case, search, name) * robots * search.candidates
        gflops = flops / statistics.median(times) / 1e9
        rows.append(
            {
                "recipe": recipe,
                "preset": preset,
                "robots": robots,
                "model": name if name == REFERENCE else "fast",
                "dtype": VARIANTS[name],
                "planner": {
                    "candidates": search.candidates,
                    "iterations": search.iterations,
                    "horizon": search.horizon,
                    "context_frames": case.context_frames,
                },
                "plan_ms": _plan_ms(times, search.iterations, whole),
                "candidates_per_s": round(robots * search.candidates / statistics.median(times)),
                "plans_per_s": round(robots / (statistics.median(times) * search.iterations), 4),
                "gflops": round(gflops, 1),
                "share_of_peak": round(gflops / peaks[VARIANTS[name]], 3),
            }
        )
    return rows


def _iterations(case: Case, search: Preset, engine: TimedModel, robots: int, device: str) -> Iterator[Any]:
    """Optimiser iterations without end, one plan after another."""
    limit = torch.ones(ACTIONS, device=device)
    optimiser, space = build(search, low=-limit, high=limit, control_steps=CONTROL_STEPS)
    generator = Generator().manual_seed(0)
    width = case.recipe().latent_width
    shape = (robots, case.context_frames, 1, width)
    context = torch.randn(shape, generator=generator).to(device)
    goal = torch.randn(robots, 1, width, generator=generator).to(device)
    past = torch.zeros(robots, case.context_frames - 1, ACTIONS * CONTROL_STEPS, device=device)
    while True:
        yield from plan_iterations(
            engine.model,
            engine.model.begin(context, past),
            goal_cost(goal, scale=2.0 * width, steps_to_go=engine.steps_to_go, over=case.over),
            optimiser=optimiser,
            space=space,
            horizon=search.horizon,
            warm_starts=[None] * robots,
            generators=[Generator().manual_seed(robot) for robot in range(robots)],
        )


def _timed(run: Iterator[Any], device: str) -> float:
    synchronise(device)
    start = time.perf_counter()
    next(run)
    synchronise(device)
    return time.perf_counter() - start


def _plan_ms(seconds: list[float], iterations: int, whole: bool) -> dict[str, Any]:
    """Of whole plans, or as many times one iteration as a plan has."""
    if whole:
        plans = [sum(seconds[first : first + iterations]) for first in range(0, len(seconds), iterations)]
    else:
        plans = [iterations * one for one in seconds]
    cuts = statistics.quantiles(plans, n=20, method="inclusive") if len(plans) > 1 else plans * 19
    measured = {"plans": len(plans)} if whole else {"iterations": len(seconds)}
    return {"p50": round(1e3 * statistics.median(plans), 2), "p95": round(1e3 * cuts[18], 2), "measured": measured}


def _flops(case: Case, search: Preset, name: str) -> float:
    """Of the rollout's matrix products for one candidate, counted where nothing is computed."""
    with torch.inference_mode(False), torch.no_grad():
        model = _engines(case, "meta")[name].model
        width, candidates = case.recipe().latent_width, search.candidates
        context = torch.zeros(1, case.context_frames, 1, width, device="meta")
        past = torch.zeros(1, case.context_frames - 1, ACTIONS * CONTROL_STEPS, device="meta")
        actions = torch.zeros(1, candidates, search.horizon, ACTIONS * CONTROL_STEPS, device="meta")
        state = model.begin(context, past)
        with FlopCounterMode(display=False) as counter:
            model.rollout(state, actions)
    return counter.get_total_flops() / candidates


def _speedups(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of the fast rollout over the plain one, at the least number of robots measured, by median."""
    least = [row for row in rows if row["robots"] == min(row["robots"] for row in rows)]
    reference = next(row["plan_ms"]["p50"] for row in least if row["model"] == REFERENCE)
    return {row["dtype"]: round(reference / row["plan_ms"]["p50"], 2) for row in least if row["model"] != REFERENCE}


def _company(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Plans a second of the most robots over those of the fewest. Little is left to gain near the machine's peak."""
    numbers = [row["robots"] for row in rows]
    rates = {(row["robots"], row["dtype"]): row["plans_per_s"] for row in rows if row["model"] != REFERENCE}
    return {dtype: round(rates[max(numbers), dtype] / rates[min(numbers), dtype], 2) for dtype in DTYPES}
