"""One episode of an evaluation as JSON data: the planned one, and both controls on the same start and goal."""

from collections.abc import Callable, Sequence
from typing import Any

from envs.mujoco_env import MujocoGoalEnv, SensorReadings, State
from server.evaluation.agents import Agent, NoOpAgent, RandomAgent
from server.evaluation.episode import run_episode
from server.evaluation.outcomes import outcome
from server.evaluation.protocols import StartAndGoal

FILM = "film"
"""Key of the states that the page draws; a result file leaves it out."""
FILMED_EPISODES = 3
"""The page draws every failure, and the first episodes of each seed whatever their outcome: so many."""


def play(
    env: MujocoGoalEnv,
    pair: StartAndGoal,
    budget_steps: int,
    make_agent: Callable[[SensorReadings], Agent],
    chance: RandomAgent,
) -> dict[str, Any]:
    """The row of one start and goal; its distances, in the task's unit, are of the planned episode.

    `make_agent` gets the readings of the sensors in the goal state; `chance` is the random policy beside it.
    """
    states: list[State] = []
    planned = run_episode(env, pair, budget_steps, make_agent, states.append)
    at_random = run_episode(env, pair, budget_steps, lambda goal: chance)
    nothing = run_episode(env, pair, budget_steps, lambda goal: NoOpAgent(chance.action))
    return {
        "episode": pair.episode,
        "first_step": pair.first_step,
        "factors": {} if pair.world is None else pair.world.changed(),
        "kind": env.pair_kind(pair.start, pair.goal),
        "start": _rounded(pair.start, 6),
        "goal": _rounded(pair.goal, 6),
        "success": planned.success,
        "success_at_end": planned.success_at_end,
        "tight_success": planned.tight_success,
        "whole_success": planned.whole_success,
        "steps_to_success": planned.steps_to_success,
        "outcome": outcome(
            planned.distances,
            env.success_distance,
            success=planned.success,
            success_at_end=planned.success_at_end,
        ),
        "first_distance": round(planned.distances[0], 4),
        "least_distance": round(planned.least_distance, 4),
        "last_distance": round(planned.distances[-1], 4),
        "random_success": at_random.success,
        "random_success_at_end": at_random.success_at_end,
        "noop_success": nothing.success,
        "noop_success_at_end": nothing.success_at_end,
        "plan_latencies_ms": [round(1e3 * seconds, 1) for seconds in planned.latencies_s],
        FILM: {"states": [_rounded(state, 6) for state in states], "distances": _rounded(planned.distances, 4)},
    }


def rounded(value: float | None) -> float | None:
    """To four digits, as rows have it; None stays None."""
    return None if value is None else round(value, 4)


def _rounded(values: Sequence[float] | State, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
