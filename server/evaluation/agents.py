"""The agents of an evaluation: the planner, and the controls that it is held against."""

from typing import Protocol

import numpy as np

from envs.mujoco_env import SensorReadings
from telos.controller import Controller
from telos.planner import Planner
from telos.replies import ActionInfo, PlannerConfig, PlanReply
from telos.requests import Observation, PlanOptions


class Agent(Protocol):
    """Chooses actions from what the sensors see."""

    def act(self, readings: SensorReadings) -> np.ndarray:
        """Actions of the next model step, [control_steps, actions] in physical units."""
        ...


class PlanningAgent:
    """Plans anew after every model step, through a Planner: in this process or behind a wire."""

    def __init__(self, planner: Planner, model: str, goal: SensorReadings, config: PlannerConfig) -> None:
        options = PlanOptions(config=config)
        self._controller = Controller(planner, model=model, goal=Observation.of_readings(goal), options=options)
        self.replies: list[PlanReply] = []
        """One for each model step so far."""

    def act(self, readings: SensorReadings) -> np.ndarray:
        reply = self._controller.plan(Observation.of_readings(readings))
        self._controller.executed(reply.next_actions)
        self.replies.append(reply)
        return reply.next_actions


class RandomAgent:
    """Draws actions uniformly from their limits and holds each for one model step: what chance reaches."""

    def __init__(self, action: ActionInfo, seed: int) -> None:
        self.action = action
        self._rng = np.random.default_rng(seed)

    def act(self, readings: SensorReadings) -> np.ndarray:
        return np.tile(self._rng.uniform(self.action.low, self.action.high), (self.action.control_steps, 1))


class NoOpAgent:
    """Commands zero: shows what happens without the robot."""

    def __init__(self, action: ActionInfo) -> None:
        self._actions = np.zeros((action.control_steps, len(action.names)))

    def act(self, readings: SensorReadings) -> np.ndarray:
        return self._actions
