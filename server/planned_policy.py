"""A collection policy that carries out a model's own plans.

A search finds what its model imagines too well, and no expert does that: only episodes of the model's own plans show
it where it was wrong (the distribution shift of Ross et al. 2011, arXiv:1011.0686, for imagined futures).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from envs.driver import Driver
from envs.mujoco_env import Action, Image, MujocoGoalEnv, State
from envs.policies import COLLECTION_POLICIES, PolicyFactory
from envs.random_policies import CollectionPolicy
from planner.presets import PRESETS, build
from planner.search import plan_iterations
from server.engine.actions import bounds
from server.engine.cost import cost_to_goal
from worldmodel.checkpoint import Checkpoint, load_checkpoint
from worldmodel.parts.precision import Precision

_NEAREST_GOAL_STEPS, _FURTHEST_GOAL_STEPS = 10, 75


class PlannedPolicy:
    """Plans from what the camera sees to where the task's own policies get, carries the whole plan out, plans again.

    Nothing is corrected on the way, so that the end of a plan is seen as often as its beginning.
    """

    name = "planned"

    def __init__(self, checkpoint: Checkpoint, env: MujocoGoalEnv, rng: np.random.Generator, aims: PolicyFactory):
        """`aims` makes what plays on from a state to where the goal is."""
        self._checkpoint, self._env, self._rng, self._aims = checkpoint, env, rng, aims
        self._plan: Iterator[Action] = iter(())

    def act(self, state: State) -> Action:
        action = next(self._plan, None)
        if action is None:
            self._plan = iter(self._planned(self._env.render_state(state), self._goal(state)))
            action = next(self._plan)
        return action

    def _goal(self, state: State) -> Image:
        policy, ahead = self._aims(self._env, self._rng), state
        for _ in range(self._rng.integers(_NEAREST_GOAL_STEPS, _FURTHEST_GOAL_STEPS, endpoint=True)):
            ahead = self._env.advance(policy.act(ahead))
        self._env.set_state(state)
        return self._env.render_state(ahead)

    @torch.inference_mode()
    def _planned(self, image: Image, goal: Image) -> np.ndarray:
        """Physical actions, float32 [steps, A]."""
        model, manifest = self._checkpoint.world_model, self._checkpoint.manifest
        seen, wanted = (model.encode(torch.from_numpy(each[None])) for each in (image, goal))
        limits = bounds(manifest.action, None)
        low, high = limits.unitless
        control_steps, horizon = manifest.action.control_steps, manifest.planning.horizon
        preset = replace(PRESETS["default"], horizon=horizon)
        optimiser, space = build(preset, low=low, high=high, control_steps=control_steps)
        *_, (plan,) = plan_iterations(
            model,
            model.begin(seen[:, None], torch.zeros(1, 0, control_steps * len(manifest.action.names))),
            cost_to_goal(self._checkpoint, wanted),
            optimiser=optimiser,
            space=space,
            horizon=horizon,
            warm_starts=[None],
            generators=[torch.Generator().manual_seed(int(self._rng.integers(2**31)))],
        )
        return limits.to_physical(plan.actions).astype(np.float32)


@dataclass(frozen=True)
class PlannedPolicies:
    """Makes the policy of an episode. Small: a process that it is sent to reads the checkpoint itself."""

    folder: Path
    precision: Precision
    aims: PolicyFactory

    def __call__(self, env: MujocoGoalEnv, rng: np.random.Generator) -> CollectionPolicy:
        return PlannedPolicy(_checkpoint(self.folder, self.precision), env, rng, self.aims)


def plans_of(folder: Path, env_id: str, image_size: int, share: float) -> Driver:
    """The planner of the checkpoint in `folder`, as the driver of a share of the episodes of a collection.

    Raises ValueError when the model is of another task or image size, CheckpointError when there is none.
    """
    checkpoint = load_checkpoint(folder, precision="auto")
    manifest, precision = checkpoint.manifest, checkpoint.world_model.precision
    seen = manifest.observation
    if (manifest.task, seen.height_px, seen.width_px) != (env_id, image_size, image_size):
        raise ValueError(
            f"{folder} plans for {manifest.task or 'a robot of your own'} at {seen.height_px}x{seen.width_px} px, not "
            f"for {env_id} at {image_size}x{image_size}; name a model of this task, and its image size"
        )
    name = f"plans of {manifest.name} {manifest.version}, weights {manifest.weights.sha256[:12]}, in {precision}"
    return Driver(name=name, policies=PlannedPolicies(folder, precision, COLLECTION_POLICIES[env_id]), share=share)


@lru_cache(maxsize=1)
def _checkpoint(folder: Path, precision: Precision) -> Checkpoint:
    torch.set_num_threads(1)  # the processes of a collection share out the cores
    return load_checkpoint(folder, precision=precision)
