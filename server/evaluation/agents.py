"""Who acts in an evaluation: the planner, and the controls that it is held against."""

from typing import Protocol

import numpy as np

from envs.mujoco_env import Image
from telos.controller import Controller
from telos.planner import Planner
from telos.replies import ActionInfo, PlannerConfig, PlanReply
from telos.requests import PlanOptions


class Agent(Protocol):
    def act(self, image: Image) -> np.ndarray:
        """Actions of the next model step, [control_steps, actions] in physical units."""
        ...


class PlanningAgent:
    """Plans anew after every model step, through a Planner: in this process or behind a wire."""

    def __init__(self, planner: Planner, model: str, goal: Image, config: PlannerConfig) -> None:
        self._controller = Controller(planner, model=model, goal=goal, options=PlanOptions(config=config))
        self.replies: list[PlanReply] = []
        """One for each model step so far."""

    def act(self, image: Image) -> np.ndarray:
        reply = self._controller.plan(image)
        self._controller.executed(reply.next_actions)
        self.replies.append(reply)
        return reply.next_actions


class RandomAgent:
    """Uniform over the action limits, held for one model step: what chance reaches."""

    def __init__(self, action: ActionInfo, seed: int) -> None:
        self._action = action
        self._rng = np.random.default_rng(seed)

    def act(self, image: Image) -> np.ndarray:
        return np.tile(self._rng.uniform(self._action.low, self._action.high), (self._action.control_steps, 1))


class NoOpAgent:
    """Commands zero: what happens by itself."""

    def __init__(self, action: ActionInfo) -> None:
        self._actions = np.zeros((action.control_steps, len(action.names)))

    def act(self, image: Image) -> np.ndarray:
        return self._actions
