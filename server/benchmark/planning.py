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
from torch import Generator
from torch.utils.flop_counter import FlopCounterMode

from planner.costs import Over, goal_cost
from planner.names import SearchSpaceName
from planner.presets import PRESETS, Preset, build
from planner.protocols import Distance
from planner.search import RobotSearch, plan_iterations
from server.benchmark.machine import machine, peak_gflops, synchronise
from worldmodel import (
    DTYPES,
    RECIPES,
    Body,
    HeadSpec,
    Latents,
    LatentSpec,
    Precision,
    SensorSpec,
    WorldModel,
    fast_distance,
    fast_world_model,
    make_head,
)

ACTIONS, CONTROL_STEPS = 2, 5
ACTION_WIDTH = ACTIONS * CONTROL_STEPS
REFERENCE = "reference"
VARIANTS: dict[str, Precision] = {REFERENCE: "float32", "float32": "float32", "bfloat16": "bfloat16"}
"""The plain rollout, and the fast one in both precisions."""


REFERENCE_SHARE = 5
"""The plain rollout, several times as slow, is measured this many times less often."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is planned with."""

    preset: str
    """Of the recipe `lewm`."""
    image_px: int
    context_frames: int
    over: Over
    with_steps_to_go: bool
    search_space: SearchSpaceName


CASES = {
    "paper": Case(
        preset="paper", image_px=224, context_frames=1, over="last", with_steps_to_go=False, search_space="free"
    ),
    "small": Case(
        preset="small", image_px=64, context_frames=3, over="mean", with_steps_to_go=True, search_space="constant"
    ),
}
"""As published, and as the service plans by default."""
PUBLISHED = "300x30"
SEARCHES = {
    PUBLISHED: Preset(candidates=300, elites=30, iterations=30),
    **{name: preset for name, preset in PRESETS.items() if not (preset.proposal or preset.is_policy)},
}
"""No model here has a policy."""


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

    model: WorldModel
    learned: tuple[tuple[float, Distance], ...] = ()
    """Learned distances with their weights in the cost."""


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
    entry, camera = RECIPES["lewm"], SensorSpec(name="top", kind="camera", shape=(case.image_px, case.image_px, 3))
    module: Any = entry.module(entry.presets[case.preset](), Body(sensors=(camera,), action_width=ACTION_WIDTH))
    for block in module.predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.02)
    assert entry.world_model is not None
    plain = entry.world_model(module.eval().requires_grad_(False).to(device))
    heads = [_steps_to_go(case).to(device)] if case.with_steps_to_go else []
    exact, fast = ([(1.0, head) for head in heads], [(1.0, fast_distance(head)) for head in heads])
    return {
        name: TimedModel(plain, tuple(exact))
        if name == REFERENCE
        else TimedModel(fast_world_model(plain, precision), tuple(fast))
        for name, precision in VARIANTS.items()
    }


def _steps_to_go(case: Case) -> Any:
    """The head with random weights."""
    spec = HeadSpec(type="steps_to_go", config={"width": 256, "longest": 30.0, "pooling": "concatenate"})
    return make_head(spec, LatentSpec(tokens=1, width=_latent_width(case)), ACTION_WIDTH)


def _latent_width(case: Case) -> int:
    return RECIPES["lewm"].presets[case.preset]().latent_width


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
    width = _latent_width(case)
    shape = (robots, case.context_frames, 1, width)
    context = torch.randn(shape, generator=generator).to(device)
    goal = torch.randn(robots, 1, width, generator=generator).to(device)
    past = torch.zeros(robots, case.context_frames - 1, ACTION_WIDTH, device=device)
    cost = goal_cost(goal, scale=2.0 * width, learned=engine.learned, over=case.over)
    while True:
        searches = [
            RobotSearch(
                optimiser=optimiser,
                space=space,
                horizon=search.horizon,
                generator=Generator().manual_seed(robot),
            )
            for robot in range(robots)
        ]
        state = engine.model.begin(Latents(context), past)
        yield from plan_iterations(engine.model, state, cost, searches, (1, width))


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
        width, candidates = _latent_width(case), search.candidates
        context = torch.zeros(1, case.context_frames, 1, width, device="meta")
        past = torch.zeros(1, case.context_frames - 1, ACTION_WIDTH, device="meta")
        actions = torch.zeros(1, candidates, search.horizon, ACTION_WIDTH, device="meta")
        state = model.begin(Latents(context), past)
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
