"""A whole evaluation: the planner and both controls on the same held-out starts and goals."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from envs import env_class
from envs.mujoco_env import Image, MujocoGoalEnv
from server.evaluation.agents import Agent, NoOpAgent, PlanningAgent, RandomAgent
from server.evaluation.episode import run_episode
from server.evaluation.protocols import Protocol, StartAndGoal, draw_pairs, plan_seed
from server.evaluation.statistics import percentiles_ms, wilson_interval
from telos.planner import Planner
from telos.replies import ModelInfo, PlannerConfig


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    protocol: Protocol
    episodes: int
    seed: int
    preset: str = "default"

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes={self.episodes}; give at least 1")


def evaluate(
    planner: Planner, model: ModelInfo, config: EvaluationConfig, on_episode: Callable[[float], None]
) -> dict[str, Any]:
    """The result as JSON data. `on_episode(success rate so far)` after each planned episode.

    Raises TelosError, and ValueError when the model's task is not a simulated one.
    """
    if not model.task:
        raise ValueError(f"{model.name} has no task in its manifest: it belongs to a robot, and is measured there")
    env = env_class(model.task)(image_size=model.height_px)
    try:
        pairs = list(itertools.islice(draw_pairs(env, model.task, config.protocol, config.seed), config.episodes))
        rows = []
        for index, pair in enumerate(pairs):
            rows.append(_row(env, planner, model, config, index, pair))
            on_episode(sum(row["success"] for row in rows) / len(rows))
    finally:
        env.close()
    return _summary(model, config, pairs, rows)


def _row(
    env: MujocoGoalEnv, planner: Planner, model: ModelInfo, config: EvaluationConfig, index: int, pair: StartAndGoal
) -> dict[str, Any]:
    seed = plan_seed(config.seed, index)

    def planning(goal: Image) -> Agent:
        return PlanningAgent(planner, model.name, goal, PlannerConfig(preset=config.preset, seed=seed))

    budget = config.protocol.budget_steps
    planned = run_episode(env, pair, budget, planning)
    chance = run_episode(env, pair, budget, lambda goal: RandomAgent(model.action, seed))
    nothing = run_episode(env, pair, budget, lambda goal: NoOpAgent(model.action))
    return {
        "episode": pair.episode,
        "first_step": pair.first_step,
        "start": [round(float(value), 6) for value in pair.start],
        "goal": [round(float(value), 6) for value in pair.goal],
        "success": planned.success,
        "success_at_end": planned.success_at_end,
        "tight_success": planned.tight_success,
        "whole_success": planned.whole_success,
        "steps_to_success": planned.steps_to_success,
        "first_distance": round(planned.first_distance, 4),
        "least_distance": round(planned.least_distance, 4),
        "last_distance": round(planned.last_distance, 4),
        "random_success": chance.success,
        "noop_success": nothing.success,
        "plan_latencies_ms": [round(1e3 * seconds, 1) for seconds in planned.latencies_s],
    }


def _summary(
    model: ModelInfo, config: EvaluationConfig, pairs: list[StartAndGoal], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    latencies = [ms / 1e3 for row in rows for ms in row["plan_latencies_ms"]]
    return {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "task": model.task,
        "protocol": config.protocol.name,
        "offset_steps": config.protocol.offset_steps,
        "budget_steps": config.protocol.budget_steps,
        "preset": config.preset,
        "seed": config.seed,
        "episodes": len(rows),
        "excluded_already_solved": pairs[-1].excluded_before,
        **_rate(rows, "success", ""),
        **_rate(rows, "success_at_end", "at_end_"),
        **_rate(rows, "tight_success", "tight_"),
        **_rate(rows, "whole_success", "whole_"),
        **_rate(rows, "random_success", "random_"),
        **_rate(rows, "noop_success", "noop_"),
        "plan_latency_ms": percentiles_ms(latencies),
        "rows": rows,
    }


def _rate(rows: list[dict[str, Any]], key: str, prefix: str) -> dict[str, Any]:
    successes = sum(row[key] for row in rows)
    interval = wilson_interval(successes, len(rows))
    return {
        f"{prefix}success_rate": round(successes / len(rows), 4),
        f"{prefix}ci95": [round(edge, 4) for edge in interval],
    }
