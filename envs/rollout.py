"""One episode without pixels, a pure function of (environment, seed, namespace, episode index, variation)."""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from envs import env_class
from envs.episode_seeds import COLLECTED, HELD_OUT, episode_seed
from envs.mujoco_env import MujocoGoalEnv
from envs.policies import COLLECTION_POLICIES, PolicyFactory
from envs.random_policies import Lapses, Lapsing
from envs.variation import Variation

Namespace = Literal["collect", "heldout"]
VariationMode = Literal["nominal", "random"]
# Episodes of different namespaces never share random numbers, whatever their seed and index.
_NAMESPACE_KEYS: dict[str, int] = {"collect": COLLECTED, "heldout": HELD_OUT}
VARIATION_MODES = ("nominal", "random")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trajectory:
    """What happened in one episode of L control steps."""

    states: NDArray[np.float64]  # [L+1, S]
    actions: NDArray[np.float32]  # [L, A], physical units; actions[i] leads from states[i] to states[i+1]
    policy: str
    variation: Variation


def rollout(
    env: MujocoGoalEnv,
    env_id: str,
    *,
    seed: int,
    episode_index: int,
    steps: int,
    namespace: Namespace,
    variation: VariationMode | Variation = "nominal",
    lapses: float = 0.0,
    policies: PolicyFactory | None = None,
) -> Trajectory:
    """Simulate one episode of the task's collection mixture, or of `policies`, in `env`, which is left in the episode's
    last state and variation.

    In a given `variation` the random numbers are those of the nominal world: what it leaves alone happens as there.
    `lapses` is the probability at each control step that a policy of the mixture begins to act at random for a moment.

    Raises:
        ValueError: an unknown namespace or variation mode.
    """
    if namespace not in _NAMESPACE_KEYS or not (isinstance(variation, Variation) or variation in VARIATION_MODES):
        raise ValueError(
            f"namespace={namespace!r}, variation={variation!r}; give one of {sorted(_NAMESPACE_KEYS)} and one of "
            f"{list(VARIATION_MODES)}"
        )
    world_rng, policy_rng, lapse_rng = _generators(env_id, seed, namespace, episode_index)
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
    namespace: Namespace = "heldout",
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
            seed=seed,
            episode_index=episode_index,
            steps=steps,
            namespace=namespace,
            variation=variation,
        )
    finally:
        env.close()


def _generators(env_id: str, seed: int, namespace: str, episode_index: int) -> list[np.random.Generator]:
    """Of the world, the policy and its lapses."""
    episode = episode_seed(env_id, seed, _NAMESPACE_KEYS[namespace], episode_index)
    return [np.random.default_rng(each) for each in episode.spawn(3)]
