"""One episode as it is shown: what the camera saw at every control step, and what each plan said."""

from dataclasses import dataclass, field

import numpy as np

from envs.mujoco_env import Image, MujocoGoalEnv, State
from server.evaluation.agents import Agent, PlanningAgent, RandomAgent
from server.evaluation.episode import EpisodeResult, run_episode
from server.evaluation.protocols import StartAndGoal
from telos.planner import Planner
from telos.replies import ModelInfo, PlannerConfig, PlanReply


@dataclass(kw_only=True)
class Recording:
    """The planned episode, and the random policy's on the same start and goal.

    Entry k of `frames` and of distances is after k control steps.
    """

    pair: StartAndGoal
    goal_image: Image
    planned: EpisodeResult
    plans: list[PlanReply]
    frames: list[Image]
    distances: list[float]
    random: EpisodeResult
    random_distances: list[float]

    @property
    def actions(self) -> np.ndarray:
        """What was executed, [control steps, actions] in physical units."""
        return np.concatenate([plan.next_actions for plan in self.plans])[: len(self.frames) - 1]


@dataclass
class _Watched:
    """An agent whose plans are kept."""

    agent: PlanningAgent
    plans: list[PlanReply] = field(default_factory=list)

    def act(self, image: Image) -> np.ndarray:
        actions = self.agent.act(image)
        assert self.agent.last is not None
        self.plans.append(self.agent.last)
        return actions


def record_episode(
    env: MujocoGoalEnv, planner: Planner, model: ModelInfo, pair: StartAndGoal, budget_steps: int, seed: int
) -> Recording:
    """Both end at success or at the budget. Raises TelosError."""
    goal_images: list[Image] = []
    plans: list[PlanReply] = []
    frames: list[Image] = []
    distances: list[float] = []
    random_distances: list[float] = []

    def planning(goal: Image) -> Agent:
        goal_images.append(goal)
        agent = PlanningAgent(planner, model.name, goal, PlannerConfig(preset="default", seed=seed))
        return _Watched(agent, plans)

    def watch(state: State) -> None:
        frames.append(env.render_state(state))
        distances.append(env.distance(state, env.goal_state))

    def measure(state: State) -> None:
        random_distances.append(env.distance(state, env.goal_state))

    planned = run_episode(env, pair, budget_steps, planning, watch, stop_at_success=True)
    random = run_episode(
        env, pair, budget_steps, lambda goal: RandomAgent(model.action, seed), measure, stop_at_success=True
    )
    return Recording(
        pair=pair,
        goal_image=goal_images[0],
        planned=planned,
        plans=plans,
        frames=frames,
        distances=distances,
        random=random,
        random_distances=random_distances,
    )
