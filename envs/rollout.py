"""One episode without pixels, a pure function of (environment, seed, namespace, episode index, variation)."""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from envs import env_class
from envs.episode_seeds import COLLECTED, DEVELOPMENT, TEST, episode_seed
from envs.mujoco_env import MujocoGoalEnv
from envs.policies import COLLECTION_POLICIES, PolicyFactory
from envs.random_policies import Lapses, Lapsing
from envs.variation import Variation

Namespace = Literal["collect", "development", "test"]
VariationMode = Literal["nominal", "random"]
# Episodes of different namespaces never share random numbers, whatever their seed and index.
_NAMESPACE_KEYS: dict[str, int] = {"collect": COLLECTED, "development": DEVELOPMENT, "test": TEST}
VARIATION_MODES = ("nominal", "random")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeKey:
    """Names an episode: all of its random numbers follow from this and the environment."""

    namespace: Namespace
    seed: int
    index: int

    def __post_init__(self) -> None:
        if self.namespace not in _NAMESPACE_KEYS:
            raise ValueError(f"namespace={self.namespace!r}; give one of {sorted(_NAMESPACE_KEYS)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One episode of L control steps."""

    states: NDArray[np.float64]  # [L+1, S]
    actions: NDArray[np.float32]  # [L, A], physical units; actions[i] leads from states[i] to states[i+1]
    policy: str
    variation: Variation


def rollout(
    env: MujocoGoalEnv,
    env_id: str,
    episode: EpisodeKey,
    *,
    steps: int,
    variation: VariationMode | Variation = "nominal",
    lapses: float = 0.0,
    policies: PolicyFactory | None = None,
) -> Trajectory:
    """Simulate one episode of the task's collection mixture, or of `policies`, in `env`, which is left in the episode's
    last state and variation.

    In a given `variation` the random numbers are those of the nominal world: what it leaves alone happens as there.
    `lapses` is the probability at each control step that a policy of the mixture begins to act at random for a moment.

    Raises:
        ValueError: an unknown variation mode.
    """
    if not (isinstance(variation, Variation) or variation in VARIATION_MODES):
        raise ValueError(f"variation={variation!r}; give one of {list(VARIATION_MODES)}")
    world_rng, policy_rng, lapse_rng = _generators(env_id, episode)
    worlds = {"random": lambda: env.variation_class.sample(world_rng), "nominal": env.variation_class}
    env.set_variation(variation if isinstance(variation, Variation) else worlds[variation]())
    env.set_state(env.sample_state(world_rng))
    policy = (policies or COLLECTION_POLICIES[env_id])(env, policy_rng)
    if lapses and policies is None:
        policy = Lapsing(policy, Lapses(env, lapse_rng, lapses))
    states, actions = [env.get_state()], []
    for _ in range(steps):
        actions.append(policy.act(states[-1]))
        states.append(env.advance(actions[-1]))
    return Trajectory(states=np.stack(states), actions=np.stack(actions), policy=policy.name, variation=env.variation)


def rollout_states(
    env_id: str,
    seed: int,
    episode_index: int,
    steps: int,
    *,
    namespace: Namespace = "development",
    variation: VariationMode = "nominal",
) -> Trajectory:
    """As `rollout`, in an environment of its own. With namespace "collect" it repeats an episode of `collect`.

    Raises:
        ValueError: an unknown environment, namespace or variation mode.
    """
    env = env_class(env_id)(render_mode=None)
    try:
        return rollout(
            env,
            env_id,
            EpisodeKey(namespace=namespace, seed=seed, index=episode_index),
            steps=steps,
            variation=variation,
        )
    finally:
        env.close()


def _generators(env_id: str, episode: EpisodeKey) -> list[np.random.Generator]:
    """Random numbers for the world, the policy and its lapses."""
    seed = episode_seed(env_id, episode.seed, _NAMESPACE_KEYS[episode.namespace], episode.index)
    return [np.random.default_rng(each) for each in seed.spawn(3)]
