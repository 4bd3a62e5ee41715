"""Times plans with the plain float32 rollout and with the fast one, in one run and with the same weights.

A case is a recipe with a planner preset, or with the published search. Its variants take turns, one optimiser iteration
each, so that other load on the machine affects all alike. Weights are random: speed does not depend on them.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator

from planner.presets import PRESETS, Preset
from server.benchmark.machine import machine, peak_gflops, synchronise
from server.benchmark.models import (
    ACTION_WIDTH,
    CASES,
    REFERENCE,
    VARIANTS,
    Case,
    random_models,
    rollout_flops,
)
from server.engine.planning import Seen, Solving, advance_together, solve
from server.engine.question import Question, Target, plain_question
from worldmodel import DTYPES, Checkpoint, Latents, Precision

REFERENCE_SHARE = 5
"""Factor by which the plain rollout, several times as slow, is measured less often."""


PUBLISHED = "300x30"
SEARCHES = {
    PUBLISHED: Preset(candidates=300, elites=30, iterations=30),
    **{name: preset for name, preset in PRESETS.items() if not (preset.proposal or preset.is_policy)},
}
"""Searches by name, without presets that need a policy."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Extent of the measurement."""

    recipes: Sequence[str] = tuple(CASES)
    presets: Sequence[str] = tuple(SEARCHES)
    robots: Sequence[int] = (1, 4, 16)
    plans: int = 10
    """Number of whole plans of one robot. Several robots are measured for `iterations`."""
    iterations: int = 10
    device: str = "cpu"

    def __post_init__(self) -> None:
        for asked, known in ((self.recipes, CASES), (self.presets, SEARCHES)):
            if unknown := sorted(set(asked) - set(known)):
                raise ValueError(f"{', '.join(unknown)}: not known; choose from {', '.join(known)}")
        if min((self.plans, self.iterations, *self.robots)) < 1:
            raise ValueError("plans, iterations and robots must be at least 1")


def benchmark(config: BenchmarkConfig, on_case: Callable[[str], None]) -> dict[str, Any]:
    """One row for each recipe, preset, number of robots and variant, with the speed-ups of the fast rollout."""
    peaks: dict[Precision, float] = {precision: round(peak_gflops(precision, config.device), 1) for precision in DTYPES}
    rows: list[dict[str, Any]] = []
    for recipe in config.recipes:
        models = random_models(recipe, config.device)
        for preset, robots in itertools.product(config.presets, config.robots):
            on_case(f"{recipe}, {preset}, {robots} robots")
            rows += _measure(recipe, preset, models, robots, config, peaks)
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


def _measure(
    recipe: str,
    preset: str,
    models: dict[str, Checkpoint],
    robots: int,
    config: BenchmarkConfig,
    peaks: dict[Precision, float],
) -> list[dict[str, Any]]:
    case, whole = CASES[recipe], robots == 1
    # Without a floor of the std, a search never converges and takes all its iterations.
    search = replace(SEARCHES[preset], std_floor=1e-6, search_space=case.search_space)
    runs = {name: _iterations(case, search, model, robots) for name, model in models.items()}
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
        flops = rollout_flops(recipe, search, name) * robots * search.candidates
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


def _iterations(case: Case, search: Preset, model: Checkpoint, robots: int) -> Iterator[None]:
    """Endless iterations that `robots` share, plan after plan."""
    generator = Generator().manual_seed(0)
    seen = [_seen(case, model, generator) for _ in range(robots)]
    questions = [_question(case, search, model, robot) for robot in range(robots)]
    while True:
        yield from _together([solve(*each) for each in zip(questions, (lambda s=s: s for s in seen), strict=True)])


def _together(plans: Sequence[Solving]) -> Iterator[None]:
    """Shared iterations of the plans, which all take the same number."""
    while True:
        steps = [next(plan, None) for plan in plans]
        if None in steps:
            return
        advance_together([step[0] for step in steps if step is not None])
        yield


def _seen(case: Case, model: Checkpoint, generator: Generator) -> Seen:
    latent = model.manifest.latent
    context, goals = (
        torch.randn(frames, latent.tokens, latent.width, generator=generator).to(model.device)
        for frames in (case.context_frames, 1)
    )
    return Seen(context=Latents(context[None]), goals=goals)


def _question(case: Case, search: Preset, model: Checkpoint, robot: int) -> Question:
    past_actions = torch.zeros(1, case.context_frames - 1, ACTION_WIDTH, device=model.device)
    question = plain_question(model, search, seed=robot, past_actions=past_actions)
    return replace(question, targets=(Target(terms=case.terms),))


def _timed(run: Iterator[Any], device: str) -> float:
    synchronise(device)
    start = time.perf_counter()
    next(run)
    synchronise(device)
    return time.perf_counter() - start


def _plan_ms(seconds: list[float], iterations: int, whole: bool) -> dict[str, Any]:
    """Quantiles of whole plans, or of one iteration times their number in a plan."""
    if whole:
        plans = [sum(seconds[first : first + iterations]) for first in range(0, len(seconds), iterations)]
    else:
        plans = [iterations * one for one in seconds]
    cuts = statistics.quantiles(plans, n=20, method="inclusive") if len(plans) > 1 else plans * 19
    measured = {"plans": len(plans)} if whole else {"iterations": len(seconds)}
    return {"p50": round(1e3 * statistics.median(plans), 2), "p95": round(1e3 * cuts[18], 2), "measured": measured}


def _speedups(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Median speed-up of the fast rollout over the plain one, at the smallest number of robots."""
    least = [row for row in rows if row["robots"] == min(row["robots"] for row in rows)]
    reference = next(row["plan_ms"]["p50"] for row in least if row["model"] == REFERENCE)
    return {row["dtype"]: round(reference / row["plan_ms"]["p50"], 2) for row in least if row["model"] != REFERENCE}


def _company(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ratio of plans a second at the largest number of robots to that at the smallest; near 1 at the machine's peak."""
    numbers = [row["robots"] for row in rows]
    rates = {(row["robots"], row["dtype"]): row["plans_per_s"] for row in rows if row["model"] != REFERENCE}
    return {dtype: round(rates[max(numbers), dtype] / rates[min(numbers), dtype], 2) for dtype in DTYPES}
