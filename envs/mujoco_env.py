"""What every Telos environment shares: a MuJoCo model, a camera, a goal image, a state to save and restore.

A concrete environment (one file a domain) gives the model file, the tables of names and units, and a handful of small
methods; nothing here knows a domain.
"""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from envs.pixel_camera import PixelCamera
from envs.variation import Variation

Image = NDArray[np.uint8]
State = NDArray[np.float64]
Action = NDArray[np.float32]
Observation = dict[str, Image]

ASSETS = Path(__file__).parent / "assets"
MIN_IMAGE_SIZE_PX, MAX_IMAGE_SIZE_PX = 16, 512
_RESET_OPTIONS = ("state", "goal_state", "variation")
# Scalars that the compiler derives from sizes and masses; the arrays of a model are copied beside them.
_DERIVED_STATISTICS = ("meaninertia", "meanmass", "meansize")


class MujocoGoalEnv(gymnasium.Env[Observation, Action], ABC):
    """Reach the state shown in a goal image, from pixels.

    Observation: a dictionary of two RGB images, uint8 [image_size, image_size, 3]: `image` (now) and `goal_image`.
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
    """The test for success, in features: together they are no further (Euclidean) from the goal's than this."""
    distance_unit: ClassVar[str]
    success_distance: ClassVar[float]
    """In `distance_unit`: a state nearer than this to the goal is a success."""
    camera_name: ClassVar[str] = "top"

    def __init__(self, render_mode: str | None = "rgb_array", image_size: int = 64) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode={render_mode!r}; give None or one of {self.metadata['render_modes']}")
        if not MIN_IMAGE_SIZE_PX <= image_size <= MAX_IMAGE_SIZE_PX:
            raise ValueError(f"image_size={image_size}; give {MIN_IMAGE_SIZE_PX}..{MAX_IMAGE_SIZE_PX} pixels")
        self.render_mode = render_mode
        self.image_size = image_size
        picture = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = spaces.Dict({"image": picture, "goal_image": picture})
        high = np.asarray(self.action_high, dtype=np.float32)
        self.action_space = spaces.Box(-high, high, dtype=np.float32)
        self._variation = self.variation_class()
        self._nominal = self._parsed()
        self._model = self._compile(self._variation)
        self._numbers = _writeable_arrays(self._model)
        self._data = mujoco.MjData(self._model)
        self._picture_data = mujoco.MjData(self._model)  # so that rendering never touches the simulation
        self._substeps = round(self.dt_s / self._model.opt.timestep)
        self._camera: PixelCamera | None = None
        self._goal_state = self.get_state()
        self._goal_image = np.zeros(picture.shape, np.uint8)

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

    @abstractmethod
    def sample_goal(self, rng: np.random.Generator, state: State) -> State:
        """A random valid goal state for an episode that starts in `state`, not yet reached; float64 [S]."""

    @abstractmethod
    def distance(self, state: State, goal_state: State) -> float:
        """How far `state` is from `goal_state`, in `distance_unit`; velocities do not count."""

    @abstractmethod
    def state_features(self, state: State) -> State:
        """What a probe should find in a latent: float64 [..., S] to [..., F], names in `feature_names`."""

    # --- Gymnasium ------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
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
        self.set_variation(_as_variation(self.variation_class, options.get("variation", {})))
        given, goal = options.get("state"), options.get("goal_state")
        self.set_state(self.sample_state(self.np_random) if given is None else given)
        self.set_goal_state(self.sample_goal(self.np_random, self.get_state()) if goal is None else goal)
        return self._observation(), self._info()

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control step of `dt_s`. The action, float32 [A], is in physical units.

        Raises:
            ValueError: an action of another shape, not finite, or out of limits (nothing is clipped).
        """
        self.advance(action)
        info = self._info()
        return self._observation(), float(info["success"]), info["success"], False, info

    def render(self) -> Image | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The present image, uint8 [image_size, image_size, 3]; None when `render_mode` is None."""
        return None if self.render_mode is None else self.render_state(self.get_state())

    def close(self) -> None:
        """Free the OpenGL context; may be called twice."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    # --- simulation without pixels --------------------------------------------------------------------------------

    @property
    def variation(self) -> Variation:
        """The factors of variation of the present world."""
        return self._variation

    @property
    def goal_state(self) -> State:
        """The state that `goal_image` shows, float64 [S]."""
        return self._goal_state.copy()

    def set_variation(self, variation: Variation) -> None:
        """Rebuild the world with other factors, before `set_state` and `set_goal_state`. Free when nothing changes."""
        if variation != self._variation:
            _copy_model(self._compile(variation), self._model, self._numbers)
            self._variation = variation

    def is_success(self, state: State, goal_state: State) -> bool:
        """Whether `state` counts as having reached `goal_state`."""
        return self.distance(state, goal_state) < self.success_distance

    def is_whole_success(self, state: State, goal_state: State) -> bool:
        """Success of everything in the goal image; tasks whose success leaves something out say what that means."""
        return self.is_success(state, goal_state)

    def pair_kind(self, start: State, goal: State) -> str:
        """What sort of task it is to get from `start` to `goal`, for counting apart; tasks with sorts name them."""
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
        """Make `goal_state`, float [S], the goal and render its image once. Raises ValueError as `set_state` does."""
        self._goal_state = self._checked_state(goal_state, "goal_state")
        self._goal_image = self.render_state(self._goal_state)

    def advance(self, action: ArrayLike) -> State:
        """`step` without pixels: one control step, then the new state, float64 [S]. Raises as `step` does."""
        self._simulate(self._checked_action(action))
        return self.get_state()

    def render_state(self, state: ArrayLike) -> Image:
        """The image of another simulator state, float [S]; the present state stays exactly as it is."""
        positions = np.asarray(state, dtype=np.float64)[: self._model.nq]
        if self._camera is None:
            self._camera = PixelCamera(self._model, self.camera_name, self.image_size)
        self._picture_data.qpos[:] = positions
        mujoco.mj_kinematics(self._model, self._picture_data)
        mujoco.mj_camlight(self._model, self._picture_data)
        return self._camera.render(self._picture_data)

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

    def _observation(self) -> Observation:
        return {"image": self.render_state(self.get_state()), "goal_image": self._goal_image.copy()}

    def _info(self) -> dict[str, Any]:
        state = self.get_state()
        distance, success = self.distance(state, self._goal_state), self.is_success(state, self._goal_state)
        return {"distance": distance, "success": success, "state": state}

    def _checked_state(self, state: ArrayLike, name: str) -> State:
        array = np.array(state, dtype=np.float64)
        if array.shape != (len(self.state_names),) or not np.isfinite(array).all():
            raise ValueError(f"{name}={array!r}; give {len(self.state_names)} finite numbers: {self.state_names}")
        error = self.state_error(array)
        if error is not None:
            raise ValueError(f"{name}={array!r} is impossible: {error}")
        return array

    def _checked_action(self, action: ArrayLike) -> Action:
        array = np.asarray(action, dtype=np.float32)
        low, high = self.action_space.low, self.action_space.high
        if array.shape != high.shape or not bool(np.all((array >= low) & (array <= high))):  # NaN compares false
            wanted = ", ".join(
                f"{name} in [{a}, {b}] {unit}"
                for name, a, b, unit in zip(self.action_names, low, high, self.action_units, strict=True)
            )
            raise ValueError(f"action={array!r}; give {high.size} numbers: {wanted}; clip in the controller")
        return array


def at_rest(*positions: float) -> State:
    """The state with these positions and no velocity, float64 [S]."""
    return np.array([*positions, *(0.0 for _ in positions)])


def _as_variation(variation_class: type[Variation], given: Variation | Mapping[str, Any]) -> Variation:
    if isinstance(given, variation_class):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"variation={given!r}; give factors by name, or a {variation_class.__name__}")
    return variation_class.from_options(given)


def _writeable_arrays(model: mujoco.MjModel) -> tuple[str, ...]:
    """Names of all that a model's numbers are in. Looking for them takes as long as copying them."""
    values = {name: getattr(model, name, None) for name in dir(model)}
    return tuple(name for name, value in values.items() if isinstance(value, np.ndarray) and value.flags.writeable)


def _copy_model(source: mujoco.MjModel, target: mujoco.MjModel, arrays: tuple[str, ...]) -> None:
    """Overwrite the numbers of `target` in place: whoever holds it (data, OpenGL context) sees the new world."""
    for name in arrays:
        getattr(target, name)[...] = getattr(source, name)
    for name in _DERIVED_STATISTICS:
        setattr(target.stat, name, getattr(source.stat, name))
