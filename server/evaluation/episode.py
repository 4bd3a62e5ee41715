"""One closed-loop episode: look, act for one model step, look again."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from envs.mujoco_env import MujocoGoalEnv, SensorReadings, State
from server.evaluation.agents import Agent
from server.evaluation.protocols import StartAndGoal


@dataclass(kw_only=True)
class EpisodeResult:
    """Outcome of one episode.

    `success` is at any control step, as published; `success_at_end` at the last step of the budget; `tight_success`
    within half the distance, at any step; `whole_success` of everything in the goal image, at any step.
    """

    success: bool = False
    success_at_end: bool = False
    tight_success: bool = False
    whole_success: bool = False
    steps_to_success: int | None = None
    distances: list[float] = field(default_factory=list)
    """Entry k is after k control steps."""
    latencies_s: list[float] = field(default_factory=list)

    @property
    def least_distance(self) -> float:
        """The least after any control step, in the task's unit."""
        return min(self.distances[1:], default=np.inf)


def run_episode(
    env: MujocoGoalEnv,
    pair: StartAndGoal,
    budget_steps: int,
    make_agent: Callable[[SensorReadings], Agent],
    on_state: Callable[[State], None] = lambda state: None,
    stop_at_success: bool = False,
) -> EpisodeResult:
    """Play one episode, to success or to the end of the budget.

    `make_agent` gets what the sensors see in the goal state, and the agent what they see at each model step; `on_state`
    gets the simulator's state at the start and after each control step.
    """
    options = {"state": pair.start, "goal_state": pair.goal, "variation": pair.world or {}}
    observation, info = env.reset(options=options)
    agent = make_agent(observation["goal"])
    result = EpisodeResult(distances=[info["distance"]])
    on_state(env.get_state())
    step = 0
    while step < budget_steps and not (result.success and stop_at_success):
        readings = env.observe(env.get_state())
        began = time.perf_counter()
        actions = agent.act(readings)
        result.latencies_s.append(time.perf_counter() - began)
        for action in actions[: budget_steps - step]:
            state = env.advance(action.astype(np.float32))
            step += 1
            _judge(result, env, state, step)
            on_state(state)
            if result.success and stop_at_success:
                break
    return result


def _judge(result: EpisodeResult, env: MujocoGoalEnv, state: np.ndarray, step: int) -> None:
    result.success_at_end = env.is_success(state, env.goal_state)
    result.distances.append(env.distance(state, env.goal_state))
    result.tight_success = result.tight_success or result.distances[-1] < env.success_distance / 2
    result.whole_success = result.whole_success or env.is_whole_success(state, env.goal_state)
    if result.success_at_end and not result.success:
        result.success, result.steps_to_success = True, step
