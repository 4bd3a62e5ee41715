"""Collection policy that executes a model's own plans.

A search exploits futures that its model imagines too well, which no expert visits. Episodes of the model's own plans
show where it was wrong (the distribution shift of Ross et al. 2011, arXiv:1011.0686, for imagined futures).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from envs import env_class
from envs.driver import Driver
from envs.mujoco_env import Action, MujocoGoalEnv, SensorReadings, State
from envs.policies import COLLECTION_POLICIES, PolicyFactory
from envs.random_policies import CollectionPolicy
from planner.presets import PRESETS
from server.engine.actions import bounds
from server.engine.planning import encode_frame, plan_once
from server.engine.presets import default_preset
from server.engine.question import action_spec, planning_spec
from worldmodel import Checkpoint, Manifest, Precision, load_checkpoint

_NEAREST_GOAL_STEPS, _FURTHEST_GOAL_STEPS = 10, 75


class PlannedPolicy:
    """Plans to a goal that the task's own policies reach, executes the whole plan, and plans again.

    Plans are not corrected on the way, so that their ends are visited as often as their beginnings.
    """

    name = "planned"

    def __init__(self, checkpoint: Checkpoint, env: MujocoGoalEnv, rng: np.random.Generator, aims: PolicyFactory):
        """`aims` makes the policy whose future states are the goals."""
        self._checkpoint, self._env, self._rng, self._aims = checkpoint, env, rng, aims
        self._plan: Iterator[Action] = iter(())

    def act(self, state: State) -> Action:
        """The next action of the plan, or the first one of a new plan."""
        action = next(self._plan, None)
        if action is None:
            self._plan = iter(self._planned(self._env.observe(state), self._goal(state)))
            action = next(self._plan)
        return action

    def _goal(self, state: State) -> SensorReadings:
        """Readings in a state that the task's own policy reaches from here."""
        policy, ahead = self._aims(self._env, self._rng), state
        for _ in range(self._rng.integers(_NEAREST_GOAL_STEPS, _FURTHEST_GOAL_STEPS, endpoint=True)):
            ahead = self._env.advance(policy.act(ahead))
        self._env.set_state(state)
        return self._env.observe(ahead)

    def _planned(self, seen: SensorReadings, goal: SensorReadings) -> np.ndarray:
        """Physical actions, float32 [steps, A]."""
        checkpoint = self._checkpoint
        context, wanted = (encode_frame(checkpoint, self._of_model(readings)) for readings in (seen, goal))
        preset = replace(PRESETS[default_preset(checkpoint)], horizon=planning_spec(checkpoint).horizon)
        plan = plan_once(checkpoint, context, wanted.tokens[0], preset, int(self._rng.integers(2**31)))
        return bounds(action_spec(checkpoint), None).to_physical(plan.actions).astype(np.float32)

    def _of_model(self, readings: SensorReadings) -> SensorReadings:
        return {spec.name: readings[spec.name] for spec in self._checkpoint.manifest.sensors}


@dataclass(frozen=True)
class PlannedPolicies:
    """Makes the policy of an episode. It is small to send: the receiving process reads the checkpoint itself."""

    folder: Path
    precision: Precision
    aims: PolicyFactory

    def __call__(self, env: MujocoGoalEnv, rng: np.random.Generator) -> CollectionPolicy:
        return PlannedPolicy(_checkpoint(self.folder, self.precision), env, rng, self.aims)


def plans_of(folder: Path, env_id: str, image_size: int, share: float, sensors: Sequence[str] | None = None) -> Driver:
    """Driver that plans a share of a collection's episodes with the checkpoint in `folder`.

    `sensors` are those that the collection stores; None is the main camera alone. Raises ValueError when the model
    does not plan, or plans for another task, image size or sensors, and CheckpointError when there is none.
    """
    checkpoint = load_checkpoint(folder, precision="auto")
    manifest, precision = checkpoint.manifest, checkpoint.precision
    if checkpoint.world_model is None and checkpoint.policy is None:
        raise ValueError(f"{folder} cannot plan: it has neither a world model nor a policy; choose a model that can")
    if (manifest.task, _sizes(manifest)) != (env_id, {(image_size, image_size)}):
        given = " and ".join(f"{height}x{width}" for height, width in sorted(_sizes(manifest)))
        raise ValueError(
            f"{folder} plans for {manifest.task or 'a robot of your own'} at {given} px, not for {env_id} at "
            f"{image_size}x{image_size}; name a model of this task, and its image size"
        )
    _check_stored(manifest, env_id, sensors)
    name = f"plans of {manifest.name} {manifest.version}, weights {manifest.weights.sha256[:12]}, in {precision}"
    return Driver(name=name, policies=PlannedPolicies(folder, precision, COLLECTION_POLICIES[env_id]), share=share)


def _sizes(manifest: Manifest) -> set[tuple[int, ...]]:
    """Heights and widths of the model's cameras."""
    return {spec.shape[:2] for spec in manifest.sensors if spec.kind == "camera"}


def _check_stored(manifest: Manifest, env_id: str, sensors: Sequence[str] | None) -> None:
    """Raises ValueError when the collection does not store a sensor that the model plans with."""
    stored = env_class(env_id).camera_names[:1] if sensors is None else sensors
    wanted = [spec.name for spec in manifest.sensors]
    if not set(wanted) <= set(stored):
        raise ValueError(
            f"{manifest.name} plans with the sensors {', '.join(wanted)}; these episodes store {', '.join(stored)}: "
            f"collect with --sensors {','.join(wanted)}"
        )


@lru_cache(maxsize=1)
def _checkpoint(folder: Path, precision: Precision) -> Checkpoint:
    torch.set_num_threads(1)  # the processes of a collection share the cores
    return load_checkpoint(folder, precision=precision)
