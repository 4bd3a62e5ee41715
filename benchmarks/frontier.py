"""Success against planning time: budgets of the same search on the same held-out pairs, success beside time.

    python benchmarks/frontier.py success
    python benchmarks/frontier.py times
    python benchmarks/frontier.py chart

`success` takes an hour or two and resumes where it was stopped; it does not depend on what else the machine does.
`times` does, and takes minutes: each budget plans the first pairs with the fast engine and, with the plain float32
rollout, as published planners do. Both add to one JSON file, which `chart` draws and sums up. A budget is a preset of
`telos evaluate`, or the published number of candidates and iterations; all share cost, search space and horizon.
Success is at any control step of the protocol's budget, and an episode ends with it. Other optimisers, on fewer pairs:

    python benchmarks/frontier.py success --episodes 60 --out benchmarks/results/optimisers.json --budgets default \\
        default-icem default-mppi default-predictive_sampling gradient-8x10
"""

import argparse
import itertools
import json
import math
import shlex
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from envs.mujoco_env import MujocoGoalEnv, SensorReadings
from planner.presets import PRESETS, Preset
from server.benchmark.machine import machine
from server.benchmark.models import plainer
from server.benchmark.planning import REFERENCE_SHARE
from server.engine.planning import encode_frame, plan_once
from server.evaluation.agents import Agent, PlanningAgent
from server.evaluation.episode import run_episode
from server.evaluation.protocols import PROTOCOLS, PairStream, StartAndGoal, plan_seed
from server.evaluation.simulation import simulation
from server.evaluation.statistics import ci95, percentiles_ms
from server.local_planner import LocalPlanner
from server.provenance import provenance
from server.settings import Settings
from telos.planner import Planner
from telos.replies import ModelInfo, PlannerConfig
from worldmodel import Checkpoint, Latents, load_checkpoint

PUBLISHED = "300x30"
BUDGETS = {
    PUBLISHED: Preset(candidates=300, elites=30, iterations=30, std_floor=1e-6),
    **{name: PRESETS[name] for name in ("thorough", "default", "fast")},
    "16x4": Preset(candidates=16, elites=3, iterations=4),
}
"""The published search never stops early: its spread has no floor to reach."""
OTHERS = {
    **{
        f"default-{name}": replace(PRESETS["default"], algorithm=name)
        for name in ("icem", "mppi", "predictive_sampling")
    },
    "gradient-8x10": Preset(candidates=8, elites=2, iterations=10, algorithm="gradient_descent"),
}
"""Other optimisers: those that sample with as many candidates, gradient descent with about as much time."""
SEARCHES = BUDGETS | OTHERS
MODELS = ("tworoom-lewm", "reacher-lewm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("success", "times", "chart"))
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--budgets", nargs="+", default=tuple(BUDGETS), choices=tuple(SEARCHES), metavar="BUDGET")
    parser.add_argument(
        "--protocol", default="offset25", choices=tuple(name for name in PROTOCOLS if not PROTOCOLS[name].varied)
    )
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes of `success`, one thread each")
    parser.add_argument("--plans", type=int, default=20, help="plans to time; the plain rollout makes a fifth of them")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/frontier.json"))
    arguments = parser.parse_args()
    {"success": success, "times": times, "chart": chart}[arguments.what](arguments)


def success(arguments: argparse.Namespace) -> None:
    result = _read(arguments.out)
    asked = [(model, budget) for budget in arguments.budgets for model in arguments.models]
    missing = [pair for pair in asked if _case(result, *pair).get("success") is None]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        jobs = {pool.submit(_success, arguments, *pair): pair for pair in missing}
        for job in as_completed(jobs):
            _case(result, *jobs[job])["success"] = job.result()
            _write(arguments, result)


def _success(arguments: argparse.Namespace, model: str, budget: str) -> dict[str, Any]:
    """Play the episodes: whether each succeeded, and the predicted cost of its first plan."""
    torch.set_num_threads(1)
    made_by = provenance()
    PRESETS.setdefault(budget, SEARCHES[budget])
    planner = LocalPlanner(Settings(checkpoints=arguments.checkpoints))
    env, pairs = _task(planner.model(model), arguments)
    steps = PROTOCOLS[arguments.protocol].budget_steps
    seeds = [plan_seed(arguments.seed, index) for index in range(len(pairs))]
    configs = [PlannerConfig(preset=budget, seed=seed) for seed in seeds]
    rows = [_episode(env, planner, model, *each, steps) for each in zip(configs, pairs, strict=True)]
    env.close()
    planner.close()
    reached = sum(row["success"] for row in rows)
    return {
        "rate": round(reached / len(rows), 4),
        "ci95": ci95(reached, len(rows)),
        "episodes": len(rows),
        "protocol": arguments.protocol,
        "seed": arguments.seed,
        "first_cost": round(statistics.fmean(row["first_cost"] for row in rows), 4),
        "iterations": round(statistics.fmean(row["iterations"] for row in rows), 2),
        "commit": made_by["commit"],
        "rows": rows,
    }


def _episode(
    env: MujocoGoalEnv, planner: Planner, model: str, config: PlannerConfig, pair: StartAndGoal, steps: int
) -> dict[str, Any]:
    agents: list[PlanningAgent] = []

    def planning(goal: SensorReadings) -> Agent:
        agents.append(PlanningAgent(planner, model, goal, config))
        return agents[-1]

    episode = run_episode(env, pair, steps, planning, stop_at_success=True)
    (agent,) = agents
    return {
        "success": episode.success,
        "steps": episode.steps_to_success,
        "first_cost": round(agent.replies[0].predicted_cost or 0.0, 5),
        "iterations": statistics.fmean(len(reply.cost_trace) for reply in agent.replies),
    }


def _task(model: ModelInfo, arguments: argparse.Namespace) -> tuple[MujocoGoalEnv, list[StartAndGoal]]:
    env = simulation(model)
    stream = PairStream(env_id=model.task, protocol=PROTOCOLS[arguments.protocol], seed=arguments.seed)
    return env, list(itertools.islice(stream.pairs(env), arguments.episodes))


def times(arguments: argparse.Namespace) -> None:
    """Time whole plans of one robot from one frame, with all that the service does but encoding the frames."""
    result = _read(arguments.out)
    for name in arguments.models:
        fast = load_checkpoint(arguments.checkpoints / name)
        models = {"fast": fast, "reference": plainer(fast)}
        seen = _latent_pairs(name, fast, arguments)
        for budget, (kind, model) in itertools.product(arguments.budgets, models.items()):
            plans = arguments.plans if kind == "fast" else math.ceil(arguments.plans / REFERENCE_SHARE)
            seconds = [_timed(model, SEARCHES[budget], *pair) for pair in seen[: plans + 1]][1:]
            _case(result, name, budget)[f"{kind}_plan_ms"] = {**percentiles_ms(seconds), "plans": plans}
            sys.stderr.write(f"{name} {budget} {kind}: {1e3 * statistics.median(seconds):.1f} ms\n")
    result["times_machine"] = {**provenance()["machine"], **machine("cpu")}
    _write(arguments, result)


def _latent_pairs(name: str, checkpoint: Checkpoint, arguments: argparse.Namespace) -> list[tuple[Latents, Latents]]:
    """Start and goal of the first pairs, [1 1 n d] each; one more than is timed, to warm up."""
    planner = LocalPlanner(Settings(checkpoints=arguments.checkpoints))
    env, pairs = _task(planner.model(name), arguments)
    planner.close()
    states = [(pair.start, pair.goal) for pair in pairs[: arguments.plans + 1]]
    encoded = [tuple(encode_frame(checkpoint, env.observe(state)) for state in pair) for pair in states]
    env.close()
    return [(start, goal) for start, goal in encoded]


def _timed(model: Checkpoint, budget: Preset, start: Latents, goal: Latents) -> float:
    """Seconds."""
    began = time.perf_counter()
    plan_once(model, start, goal.tokens[0], budget, seed=0)
    return time.perf_counter() - began


def chart(arguments: argparse.Namespace) -> None:
    """Success and the first plan's predicted cost over plan time; each budget against the published one, as numbers."""
    result = _read(arguments.out)
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    rates, costs = figure.subplots(1, 2)
    for name in arguments.models:
        cases = [_case(result, name, budget) for budget in BUDGETS]
        for engine, style in (("fast", "o-"), ("reference", "s:")):
            ms = [case[f"{engine}_plan_ms"]["p50"] for case in cases]
            (line,) = rates.plot(
                ms, [100 * case["success"]["rate"] for case in cases], style, label=f"{name}, {engine}"
            )
            costs.plot(ms, [case["success"]["first_cost"] for case in cases], style, color=line.get_color())
        for ms_at, case, budget in zip(ms, cases, BUDGETS, strict=True):
            costs.annotate(budget, (ms_at, case["success"]["first_cost"]), fontsize=7)
    rates.set_ylabel("success, %")
    costs.set_ylabel("predicted cost of the first plan")
    for axes in (rates, costs):
        axes.set_xscale("log")
        axes.set_xlabel("ms a plan (median)")
        axes.grid(alpha=0.3)
    rates.legend()
    with arguments.out.with_suffix(".png").open("wb") as file:
        FigureCanvasAgg(figure).print_png(file)
    for name, budget in itertools.product(arguments.models, BUDGETS):
        published, case = _case(result, name, PUBLISHED), _case(result, name, budget)
        case["against_published"] = {
            "points": round(100 * (case["success"]["rate"] - published["success"]["rate"]), 2),
            **{
                f"times_less_than_{engine}": round(
                    published[f"{engine}_plan_ms"]["p50"] / case["fast_plan_ms"]["p50"], 1
                )
                for engine in ("fast", "reference")
            },
        }
        sys.stderr.write(f"{name} {budget}: {case['against_published']}\n")
    _write(arguments, result)


def _case(result: dict[str, Any], model: str, budget: str) -> dict[str, Any]:
    return result.setdefault("models", {}).setdefault(model, {}).setdefault(budget, {})


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _write(arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write the result with the settings of each budget, and with the origin of the latest change."""
    result = {**result, **provenance(), "command": shlex.join(["python", *sys.argv])}
    searches = {name: asdict(search) for name, search in SEARCHES.items() if name in arguments.budgets}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({**result, "searches": searches}, indent=1) + "\n")


if __name__ == "__main__":
    main()
