"""How long planning takes: the plain float32 rollout beside the fast one, same weights, machine and run.

A case is a recipe preset with a planner's settings. Its variants take turns, one optimiser iteration each, so that
whatever else the machine does disturbs all alike. Weights are random: speed does not depend on them.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.flop_counter import FlopCounterMode

from planner.costs import goal_cost
from planner.presets import Preset, build
from planner.protocols import WorldModel
from planner.search import plan_iterations
from server.benchmark.machine import machine, peak_gflops, synchronise
from worldmodel.precision import DTYPES, Precision
from worldmodel.recipes.lewm import LeWM, LeWMConfig, paper, small
from worldmodel.rollout import naive_rollout
from worldmodel.world_model import LatentWorldModel

ACTIONS, CONTROL_STEPS = 2, 5
REFERENCE = "reference"
VARIANTS: dict[str, Precision] = {REFERENCE: "float32", "float32": "float32", "bfloat16": "bfloat16"}
"""The plain rollout, and the fast one in both precisions."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is planned with: the published search for the published model, the service's default for the small one."""

    recipe: Callable[[], LeWMConfig]
    planner: Preset
    context_frames: int


CASES = {
    "paper": Case(
        recipe=paper,
        planner=Preset(candidates=300, elites=30, iterations=30, std=1.0, std_floor=1e-6, search_space="free"),
        context_frames=1,
    ),
    "small": Case(
        recipe=small,
        planner=Preset(candidates=128, elites=16, iterations=6, std_floor=1e-6),
        context_frames=3,
    ),
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """How much to measure."""

    presets: Sequence[str] = tuple(CASES)
    robots: Sequence[int] = (1, 4, 16)
    plans: int = 3
    """Whole plans of one robot; several robots are measured for `iterations`."""
    iterations: int = 3
    device: str = "cpu"

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.presets) - set(CASES)):
            raise ValueError(f"presets {unknown} are not known; choose of {', '.join(CASES)}")
        if min((self.plans, self.iterations, *self.robots)) < 1:
            raise ValueError("plans, iterations and robots must be at least 1")


class Reference:
    """The plain rollout as a planner's world model."""

    def __init__(self, recipe: LeWM) -> None:
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
    """Rows, one for each preset, number of robots and variant, and the speed-ups of one robot."""
    peaks: dict[Precision, float] = {precision: round(peak_gflops(precision, config.device), 1) for precision in DTYPES}
    rows: list[dict[str, Any]] = []
    for preset in config.presets:
        models = _models(CASES[preset], config.device)
        for robots in config.robots:
            on_case(f"{preset}, {robots} robots")
            rows += _measure(preset, models, robots, config, peaks)
    speedups = {preset: _speedups([row for row in rows if row["preset"] == preset]) for preset in config.presets}
    return {
        "machine_used": machine(config.device),
        "matmul_peak_gflops": peaks,
        "speedup_over_reference": next(iter(speedups.values())),
        "speedups": speedups,
        "rows": rows,
    }


def _models(case: Case, device: str) -> dict[str, WorldModel]:
    torch.manual_seed(0)
    recipe = LeWM(case.recipe(), ACTIONS * CONTROL_STEPS)
    for block in recipe.predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.02)
    recipe = recipe.to(device)
    fast = {name: LatentWorldModel(recipe, precision) for name, precision in VARIANTS.items() if name != REFERENCE}
    return {REFERENCE: Reference(recipe), **fast}


def _measure(
    preset: str, models: dict[str, WorldModel], robots: int, config: BenchmarkConfig, peaks: dict[Precision, float]
) -> list[dict[str, Any]]:
    case = CASES[preset]
    whole = robots == 1
    rounds = config.plans * case.planner.iterations if whole else config.iterations
    runs = {name: _iterations(case, model, robots, config.device) for name, model in models.items()}
    for run in runs.values():
        next(run)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(_timed(run, config.device))
    rows = []
    for name, times in seconds.items():
        flops = _flops(case, name) * robots * case.planner.candidates
        gflops = flops / statistics.median(times) / 1e9
        rows.append(
            {
                "preset": preset,
                "robots": robots,
                "model": name if name == REFERENCE else "fast",
                "dtype": VARIANTS[name],
                "planner": {
                    "candidates": case.planner.candidates,
                    "iterations": case.planner.iterations,
                    "horizon": case.planner.horizon,
                    "context_frames": case.context_frames,
                },
                "plan_ms": _plan_ms(times, case.planner.iterations, whole),
                "candidates_per_s": round(robots * case.planner.candidates / statistics.median(times)),
                "plans_per_s": round(robots / (statistics.median(times) * case.planner.iterations), 4),
                "gflops": round(gflops, 1),
                "share_of_peak": round(gflops / peaks[VARIANTS[name]], 3),
            }
        )
    return rows


def _iterations(case: Case, model: WorldModel, robots: int, device: str) -> Iterator[Any]:
    """Optimiser iterations without end, one plan after another."""
    limit = torch.ones(ACTIONS, device=device)
    optimiser, space = build(case.planner, low=-limit, high=limit, control_steps=CONTROL_STEPS)
    generator = Generator().manual_seed(0)
    width = case.recipe().latent_width
    shape = (robots, case.context_frames, 1, width)
    context = torch.randn(shape, generator=generator).to(device)
    goal = torch.randn(robots, 1, width, generator=generator).to(device)
    past = torch.zeros(robots, case.context_frames - 1, ACTIONS * CONTROL_STEPS, device=device)
    while True:
        yield from plan_iterations(
            model,
            model.begin(context, past),
            goal_cost(goal, scale=2.0 * width, steps_to_go=None, over="last"),
            optimiser=optimiser,
            space=space,
            horizon=case.planner.horizon,
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


def _flops(case: Case, name: str) -> float:
    """Of the matrix products for one candidate, counted where nothing is computed."""
    with torch.inference_mode(False), torch.no_grad():
        model = _models(case, "meta")[name]
        width, candidates = case.recipe().latent_width, case.planner.candidates
        context = torch.zeros(1, case.context_frames, 1, width, device="meta")
        past = torch.zeros(1, case.context_frames - 1, ACTIONS * CONTROL_STEPS, device="meta")
        actions = torch.zeros(1, candidates, case.planner.horizon, ACTIONS * CONTROL_STEPS, device="meta")
        state = model.begin(context, past)
        with FlopCounterMode(display=False) as counter:
            model.rollout(state, actions)
    return counter.get_total_flops() / candidates


def _speedups(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of the fast rollout over the plain one, at the least number of robots measured, by median."""
    least = [row for row in rows if row["robots"] == min(row["robots"] for row in rows)]
    reference = next(row["plan_ms"]["p50"] for row in least if row["model"] == REFERENCE)
    return {row["dtype"]: round(reference / row["plan_ms"]["p50"], 2) for row in least if row["model"] != REFERENCE}
