"""Base class of the environments: a MuJoCo model, sensors, a goal, a state to save and restore.

A concrete environment (one file a domain) gives the model file, the tables of names and units, and a handful of small
methods; nothing here knows a domain.
"""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from envs.compiled_model import copy_model, writeable_arrays
from envs.sensors import Sensor, StateSensor, camera_sensor, choose
from envs.state_observer import Image, SensorReadings, State, StateObserver
from envs.variation import Variation

Action = NDArray[np.float32]
GoalObservation = dict[str, SensorReadings]

ASSETS = Path(__file__).parent / "assets"
MIN_IMAGE_SIZE_PX, MAX_IMAGE_SIZE_PX = 16, 512
_RESET_OPTIONS = ("state", "goal_state", "variation")


class MujocoGoalEnv(gymnasium.Env[GoalObservation, Action], ABC):
    """Reach a goal state that the sensors show, from what they show now.

    Observation: {"observation": now, "goal": the goal state}, each a dictionary with one entry for each of `sensors`:
    a camera's RGB image, uint8 [image_size, image_size, 3], or a vector sensor's reading, float32 [k].
    Reward: 1.0 on success, else 0.0. The episode terminates on success; only a time limit truncates it.
    Info: `distance` (float, unit of the environment), `success` (bool), `state` (float64, names in `state_names`).
    """

    asset_name: ClassVar[str]
    variation_class: ClassVar[type[Variation]]
    dt_s: ClassVar[float]
    action_names: ClassVar[tuple[str, ...]]
    action_units: ClassVar[tuple[str, ...]]
    action_high: ClassVar[tuple[float, ...]]
    state_names: ClassVar[tuple[str, ...]]
    state_units: ClassVar[tuple[str, ...]]
    feature_names: ClassVar[tuple[str, ...]]
    goal_tolerances: ClassVar[Mapping[tuple[str, ...], float]]
    """Test for success in features: the Euclidean distance of each group of features to the goal's is at most this."""
    distance_unit: ClassVar[str]
    success_distance: ClassVar[float]
    """Distance below which a state is a success, in `distance_unit`."""
    camera_names: ClassVar[tuple[str, ...]] = ("top",)
    """Cameras of the model file; the first is the main one."""
    state_sensors: ClassVar[tuple[StateSensor, ...]] = ()

    def __init__(
        self,
        render_mode: str | None = "rgb_array",
        image_size: int = 64,
        sensors: Sequence[str] | None = None,
    ) -> None:
        """`sensors` names those that observations hold (see `every_sensor`); None is the main camera alone."""
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r}; give None or one of {self.metadata['render_modes']}")
        if not MIN_IMAGE_SIZE_PX <= image_size <= MAX_IMAGE_SIZE_PX:
            raise ValueError(f"image_size={image_size}; give {MIN_IMAGE_SIZE_PX}..{MAX_IMAGE_SIZE_PX} pixels")
        self.render_mode = render_mode
        self.image_size = image_size
        self.sensors = choose(self.every_sensor(image_size), sensors)
        readings = {sensor.name: _space(sensor) for sensor in self.sensors}
        self.observation_space = spaces.Dict({name: spaces.Dict(readings) for name in ("observation", "goal")})
        high = np.asarray(self.action_high, dtype=np.float32)
        self.action_space = spaces.Box(-high, high, dtype=np.float32)
        self._variation = self.variation_class()
        self._nominal = self._parsed()
        self._model = self._compile(self._variation)
        self._numbers = writeable_arrays(self._model)
        self._data = mujoco.MjData(self._model)
        self._observer = StateObserver(self._model, image_size, self.state_sensors)
        self._substeps = round(self.dt_s / self._model.opt.timestep)
        self._goal_state = self.get_state()
        self._goal_observation = {each.name: np.zeros(each.shape, each.dtype) for each in self.sensors}

    @classmethod
    def every_sensor(cls, image_size: int) -> tuple[Sensor, ...]:
        """The sensors to choose from, cameras of `image_size` px first; the first of all is the main camera."""
        cameras = (camera_sensor(name, image_size) for name in cls.camera_names)
        return (*cameras, *(each.sensor for each in cls.state_sensors))

    # --- what a domain must say -----------------------------------------------------------------------------------

    @abstractmethod
    def _apply_variation(self, spec: mujoco.MjSpec, variation: Any) -> None:
        """Write the factors of `variation` into the named elements of `spec`."""

    @abstractmethod
    def state_error(self, state: State) -> str | None:
        """Why the simulator cannot start from `state` (float64 [S]), or None when it can."""

    @abstractmethod
    def sample_state(self, rng: np.random.Generator) -> State:
        """A random valid state at rest, float64 [S]."""

    def sample_goal(self, rng: np.random.Generator, state: State) -> State:
        """A random valid goal state for an episode that starts in `state`, not yet reached; float64 [S]."""
        while True:
            goal = self.sample_state(rng)
            if not self.is_success(state, goal):
                return goal

    @abstractmethod
    def distance(self, state: State, goal_state: State) -> float:
        """Distance of `state` from `goal_state`, in `distance_unit`; velocities do not count."""

    @abstractmethod
    def state_features(self, state: State) -> State:
        """Quantities that a probe should find in a latent: float64 [..., S] to [..., F], names in `feature_names`."""

    # --- Gymnasium ------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GoalObservation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: as in Gymnasium.
            options: `state`, `goal_state` (float [S], default: random), `variation` (factors by name, else nominal).

        Raises:
            ValueError: an unknown option, an invalid state, or a factor out of its range.
        """
        super().reset(seed=seed)
        options = {} if options is None else options
        unknown = sorted(set(options) - set(_RESET_OPTIONS))
        if unknown:
            raise ValueError(f"unknown reset options {unknown}; known ones are {list(_RESET_OPTIONS)}")
        self.set_variation(self.variation_class.of(options.get("variation", {})))
        given, goal = options.get("state"), options.get("goal_state")
        self.set_state(self.sample_state(self.np_random) if given is None else given)
        self.set_goal_state(self.sample_goal(self.np_random, self.get_state()) if goal is None else goal)
        return self._observation(), self._info()

    def step(self, action: ArrayLike) -> tuple[GoalObservation, float, bool, bool, dict[str, Any]]:
        """One control step of `dt_s`. The action, float32 [A], is in physical units.

        Raises:
            ValueError: an action of another shape, not finite, or out of limits (nothing is clipped).
        """
        self.advance(action)
        info = self._info()
        return self._observation(), float(info["success"]), info["success"], False, info

    def render(self) -> Image | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The main camera's present image, uint8 [image_size, image_size, 3]; None when `render_mode` is None."""
        return None if self.render_mode is None else self.render_state(self.get_state())

    def close(self) -> None:
        """Free the OpenGL context; may be called twice."""
        self._observer.close()

    # --- simulation without pixels --------------------------------------------------------------------------------

    @property
    def variation(self) -> Variation:
        """The factors of variation of the present world."""
        return self._variation

    @property
    def goal_state(self) -> State:
        """The state to reach, float64 [S]."""
        return self._goal_state.copy()

    @property
    def goal_observation(self) -> SensorReadings:
        """The goal state as the sensors see it: `observe(goal_state)`, drawn once, a copy."""
        return {name: reading.copy() for name, reading in self._goal_observation.items()}

    def set_variation(self, variation: Variation) -> None:
        """Rebuild the world with other factors, before `set_state` and `set_goal_state`. Free when nothing changes."""
        if variation != self._variation:
            copy_model(self._compile(variation), self._model, self._numbers)
            self._variation = variation

    def is_success(self, state: State, goal_state: State) -> bool:
        """Whether `state` counts as having reached `goal_state`."""
        return self.distance(state, goal_state) < self.success_distance

    def is_whole_success(self, state: State, goal_state: State) -> bool:
        """Success of everything in the goal image; overridden by tasks whose success ignores a part of it."""
        return self.is_success(state, goal_state)

    def pair_kind(self, start: State, goal: State) -> str:
        """Kind of the pair, for separate counts in an evaluation; tasks with several kinds name them."""
        return "any"

    def get_state(self) -> State:
        """All that the future depends on, a float64 [S] copy (`state_names`): positions, velocities, set points."""
        return np.concatenate([self._data.qpos, self._data.qvel, self._data.act])

    def set_state(self, state: ArrayLike) -> None:
        """Put the simulator into `state`, float [S].

        Raises:
            ValueError: a state of another shape, not finite, or impossible (inside a wall, beyond a joint limit).
        """
        checked = self._checked_state(state, "state")
        mujoco.mj_resetData(self._model, self._data)
        edges = np.cumsum([self._model.nq, self._model.nv])
        self._data.qpos[:], self._data.qvel[:], self._data.act[:] = np.split(checked, edges)

    def set_goal_state(self, goal_state: ArrayLike) -> None:
        """Make `goal_state`, float [S], the goal and observe it once. Raises ValueError as `set_state` does."""
        self._goal_state = self._checked_state(goal_state, "goal_state")
        self._goal_observation = self.observe(self._goal_state)

    def advance(self, action: ArrayLike) -> State:
        """`step` without pixels: one control step, then the new state, float64 [S]. Raises as `step` does."""
        self._simulate(self._checked_action(action))
        return self.get_state()

    def observe(self, state: ArrayLike) -> SensorReadings:
        """All that the chosen sensors see in a simulator state, float [S]; the present state stays exactly as it is.

        Returns one entry for each of `sensors`: a camera's uint8 [image_size, image_size, 3], a vector's float32 [k].

        Raises:
            ValueError: a state of another shape, or not finite.
        """
        return self._observer.read(self._state_numbers(state, "state"), self.sensors)

    def render_state(self, state: ArrayLike, camera: str | None = None) -> Image:
        """One camera's image of a simulator state, float [S], uint8 [image_size, image_size, 3]; the present state
        stays exactly as it is. `camera` is one of `camera_names`, chosen as a sensor or not; None is the main one.

        Raises:
            ValueError: an unknown camera, or a state of another shape or not finite.
        """
        if camera is not None and camera not in self.camera_names:
            raise ValueError(f"camera={camera!r}; give one of {list(self.camera_names)}")
        return self._observer.render(self._state_numbers(state, "state"), camera or self.camera_names[0])

    # --- inside ---------------------------------------------------------------------------------------------------

    def _simulate(self, action: Action) -> None:
        """One control step of `action`, which goes to the actuators as it is."""
        self._data.ctrl[:] = action
        mujoco.mj_step(self._model, self._data, self._substeps)

    def _parsed(self) -> mujoco.MjSpec:
        spec = mujoco.MjSpec.from_file(str(ASSETS / self.asset_name))
        # A frame buffer of exactly the image's size: clearing and resolving a larger one costs as much as drawing.
        spec.visual.global_.offwidth = spec.visual.global_.offheight = self.image_size
        return spec

    def _compile(self, variation: Variation) -> mujoco.MjModel:
        spec = self._nominal.copy()
        self._apply_variation(spec, variation)
        return spec.compile()

    def _observation(self) -> GoalObservation:
        return {"observation": self.observe(self.get_state()), "goal": self.goal_observation}

    def _info(self) -> dict[str, Any]:
        state = self.get_state()
        distance, success = self.distance(state, self._goal_state), self.is_success(state, self._goal_state)
        return {"distance": distance, "success": success, "state": state}

    def _checked_state(self, state: ArrayLike, name: str) -> State:
        array = self._state_numbers(state, name)
        error = self.state_error(array)
        if error is not None:
            raise ValueError(f"{name}={array!r} is impossible: {error}")
        return array

    def _state_numbers(self, state: ArrayLike, name: str) -> State:
        array = _numbers(state, np.float64)
        if array is None or array.shape != (len(self.state_names),) or not np.isfinite(array).all():
            raise ValueError(f"{name}={state!r}; give {len(self.state_names)} finite numbers: {self.state_names}")
        return array

    def _checked_action(self, action: ArrayLike) -> Action:
        array = _numbers(action, np.float32)
        low, high = self.action_space.low, self.action_space.high
        # NaN compares false.
        if array is None or array.shape != high.shape or not bool(np.all((array >= low) & (array <= high))):
            wanted = ", ".join(
                f"{name} in [{a}, {b}] {unit}"
                for name, a, b, unit in zip(self.action_names, low, high, self.action_units, strict=True)
            )
            raise ValueError(f"action={action!r}; give {high.size} numbers: {wanted}; clip in the controller")
        return array


def at_rest(*positions: float) -> State:
    """The state with these positions and no velocity, float64 [S]."""
    return np.array([*positions, *(0.0 for _ in positions)])


def _numbers(value: ArrayLike, dtype: type[np.float32] | type[np.float64]) -> NDArray[Any] | None:
    """A copy of `value` as an array, or None where it holds anything but numbers."""
    try:
        return np.array(value, dtype=dtype)
    except (TypeError, ValueError):
        return None


def _space(sensor: Sensor) -> spaces.Space[Any]:
    if sensor.is_camera:
        return spaces.Box(0, 255, sensor.shape, np.uint8)
    return spaces.Box(np.asarray(sensor.low, np.float32), np.asarray(sensor.high, np.float32), dtype=np.float32)
