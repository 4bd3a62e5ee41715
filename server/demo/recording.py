"""Recording of an episode: the main camera's image at every control step, and the reply of each plan."""

from dataclasses import dataclass

import numpy as np

from envs.mujoco_env import Image, MujocoGoalEnv, SensorReadings, State
from server.evaluation.agents import Agent, PlanningAgent, RandomAgent
from server.evaluation.episode import EpisodeResult, run_episode
from server.evaluation.protocols import StartAndGoal
from telos.planner import Planner
from telos.replies import ModelInfo, PlannerConfig, PlanReply


@dataclass(kw_only=True)
class Recording:
    """A planned episode, and a random policy's with the same start and goal.

    Entry k of `frames` is the image after k control steps.
    """

    pair: StartAndGoal
    goal_image: Image
    planned: EpisodeResult
    plans: list[PlanReply]
    frames: list[Image]
    random: EpisodeResult

    @property
    def actions(self) -> np.ndarray:
        """The executed actions, [control steps, actions] in physical units."""
        return np.concatenate([plan.next_actions for plan in self.plans])[: len(self.frames) - 1]


def record_episode(
    env: MujocoGoalEnv, planner: Planner, model: ModelInfo, pair: StartAndGoal, budget_steps: int, seed: int
) -> Recording:
    """Play the planned and the random episode, each to success or to the end of the budget. Raises TelosError."""
    agents: list[PlanningAgent] = []
    frames: list[Image] = []

    def planning(goal: SensorReadings) -> Agent:
        agents.append(PlanningAgent(planner, model.name, goal, PlannerConfig(preset="default", seed=seed)))
        return agents[0]

    def watch(state: State) -> None:
        frames.append(env.render_state(state))

    def chance(goal: SensorReadings) -> Agent:
        return RandomAgent(model.required_action, seed)

    planned = run_episode(env, pair, budget_steps, planning, watch, stop_at_success=True)
    random = run_episode(env, pair, budget_steps, chance, stop_at_success=True)
    goal = env.render_state(pair.goal)
    return Recording(pair=pair, goal_image=goal, planned=planned, plans=agents[0].replies, frames=frames, random=random)
