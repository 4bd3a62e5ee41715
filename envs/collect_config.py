"""The arguments that decide the content of a collected store, and its dataset.json."""

import dataclasses
from typing import Any

import gymnasium
import h5py
import mujoco
import numpy as np

from envs import env_class
from envs.driver import Driver
from envs.episodes import FORMAT
from envs.pixel_camera import gl_renderer_name
from envs.policies import COLLECTION_POLICIES, PolicyFactory
from envs.randomisation import Randomisation
from envs.rollout import VARIATION_MODES, VariationMode
from envs.sensors import Sensor, choose
from envs.variation import Variation


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Decides the content of a store. Raises ValueError when a value is invalid or two do not go together."""

    env_id: str
    """A key of `envs.ENVS`."""
    episodes: int
    """Number of episodes of the whole store."""
    seed: int
    """Seed of everything random."""
    steps: int = 100
    """Control steps of an episode, which has one frame more."""
    image_size: int = 64
    """Height and width of the cameras' pictures in pixels."""
    episodes_per_shard: int = 50
    """Number of episodes of a shard, which is the most work that an interruption can lose."""
    variation: VariationMode = "nominal"
    """`random` draws every factor of variation for each episode."""
    sensor_names: tuple[str, ...] | None = None
    """Sensors of the environment to store, at least one camera; None is its main camera alone."""
    randomisation: Randomisation | None = None
    """Factors that are drawn, and the share of the episodes that they are drawn for."""
    lapses: float = 0.0
    """Probability at each control step that the policy begins to act at random for 1 to 10 steps."""
    driver: Driver | None = None
    """Drives a share of the episodes in place of the task's collection mixture."""

    def __post_init__(self) -> None:
        if not self.sensors[0].is_camera:
            raise ValueError(f"sensors={self.sensor_names}; an episode needs a camera: name one of {self.env_id} too")
        for name in ("episodes", "steps", "episodes_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; give at least 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}; give an integer from 0")
        if not 0 <= self.lapses < 1:
            raise ValueError(f"lapses={self.lapses}; give a probability from 0, below 1")
        if self.variation not in VARIATION_MODES:
            raise ValueError(f"variation={self.variation!r}; give one of {list(VARIATION_MODES)}")
        if self.randomisation is not None:
            if self.variation != "nominal":
                raise ValueError(
                    f"variation={self.variation!r} varies every factor already; leave it out, or name no factors"
                )
            self.randomisation.check(env_class(self.env_id).variation_class)

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        return choose(env_class(self.env_id).every_sensor(self.image_size), self.sensor_names)

    @property
    def shards(self) -> int:
        return -(-self.episodes // self.episodes_per_shard)

    def world(self, episode_id: int) -> VariationMode | Variation:
        """The world that `rollout` simulates the episode in."""
        if self.randomisation is None:
            return self.variation
        return self.randomisation.variation(env_class(self.env_id).variation_class, self.env_id, self.seed, episode_id)

    def policies(self, episode_id: int) -> PolicyFactory | None:
        """The policies that drive the episode; None is the task's mixture."""
        if self.driver is None or not self.driver.drives(self.env_id, self.seed, episode_id):
            return None
        return self.driver.policies

    @property
    def has_twins(self) -> bool:
        """Whether every frame is drawn a second time."""
        return self.randomisation is not None and bool(self.randomisation.twins)

    def twin_worlds(self, episode_id: int) -> list[Variation]:
        """World of the twin of each frame of an episode; an empty list without twins."""
        if self.randomisation is None or not self.has_twins:
            return []
        cls = env_class(self.env_id).variation_class
        return self.randomisation.twin_worlds(cls, self.env_id, self.seed, episode_id, self.steps + 1)

    def episode_ids(self, shard: int) -> range:
        first = shard * self.episodes_per_shard
        return range(first, min(first + self.episodes_per_shard, self.episodes))


def describe(config: CollectConfig) -> dict[str, Any]:
    """The content of dataset.json."""
    env = env_class(config.env_id)
    high = [float(limit) for limit in env.action_high]
    return {
        "format": FORMAT,
        "env_id": config.env_id,
        "sensors": [sensor.to_json() for sensor in config.sensors],
        "dt_s": env.dt_s,
        "action": {
            "names": list(env.action_names),
            "units": list(env.action_units),
            "low": [-limit for limit in high],
            "high": high,
        },
        "state": {"names": list(env.state_names), "units": list(env.state_units)},
        "features": {"names": list(env.feature_names)},
        "policy": COLLECTION_POLICIES[config.env_id].description,
        "seed": config.seed,
        "episodes_requested": config.episodes,
        "collection": {
            "steps_per_episode": config.steps,
            "episodes_per_shard": config.episodes_per_shard,
            "variation": config.variation,
            **_randomised(config.randomisation),
            **({"lapses": config.lapses} if config.lapses else {}),
            **({"driver": config.driver.name, "driven_share": config.driver.share} if config.driver else {}),
        },
        "versions": {
            "gymnasium": gymnasium.__version__,
            "h5py": h5py.__version__,
            "mujoco": mujoco.__version__,
            "numpy": np.__version__,
        },
        "renderer": gl_renderer_name(),
    }


def _randomised(randomisation: Randomisation | None) -> dict[str, Any]:
    """Entries of dataset.json; empty without randomisation, so that older stores still match their description."""
    if randomisation is None:
        return {}
    twins = {"twin_factors": list(randomisation.twins)} if randomisation.twins else {}
    return {"varied_factors": list(randomisation.factors), **twins, "varied_share": randomisation.share}
