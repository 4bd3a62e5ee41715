"""Collects episodes into a store, in parallel and resumably. The format is in EPISODE_FORMAT.md.

The content of shard k is a function of the parameters and k alone: neither the number of workers nor how often the
collection was killed and run again changes it.
"""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from envs import env_class
from envs.collect_config import CollectConfig, describe
from envs.episodes import EpisodeWriter, only_writer, remove_leftovers, shard_path, write_description
from envs.mujoco_env import MujocoGoalEnv
from envs.rollout import EpisodeKey, rollout
from envs.state_observer import SensorReadings, State
from envs.variation import Variation


def collect(config: CollectConfig, out: str | Path, *, workers: int = 1, progress: bool = True) -> Path:
    """Fill the store in `out` (made if missing) and return its path; shards that are already there are kept.

    Workers are processes started afresh, so a script that calls this with `workers` > 1 needs the usual
    `if __name__ == "__main__"` guard.

    Args:
        config: decides the content of the store.
        out: the store's directory.
        workers: processes; 1 collects in this one.
        progress: show a progress bar.

    Raises:
        ValueError: an invalid argument, or `out` holds a store made with other parameters, versions or renderer.
        RuntimeError: another collection is writing to `out`, or a worker failed; run again to resume.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}; give at least 1")
    directory = Path(out)
    directory.mkdir(parents=True, exist_ok=True)
    with only_writer(directory):
        remove_leftovers(directory)
        write_description(directory, describe(config))
        missing = [shard for shard in range(config.shards) if not shard_path(directory, shard).exists()]
        done = config.episodes - sum(len(config.episode_ids(shard)) for shard in missing)
        with tqdm(total=config.episodes, initial=done, unit="episode", disable=not progress) as bar:
            if workers == 1:
                _collect_shards(config, directory, missing, bar.update)
            else:
                _collect_in_parallel(config, directory, missing, workers, bar.update)
    return directory


def _collect_shards(config: CollectConfig, directory: Path, shards: list[int], report: Callable[[], Any]) -> None:
    env = env_class(config.env_id)(image_size=config.image_size, sensors=config.sensor_names)
    try:
        for shard in shards:
            _collect_shard(config, env, directory, shard, report)
    finally:
        env.close()


def _collect_shard(
    config: CollectConfig, env: MujocoGoalEnv, directory: Path, shard: int, report: Callable[[], Any]
) -> None:
    with EpisodeWriter(
        shard_path(directory, shard),
        sensors=env.sensors,
        action_width=len(env.action_names),
        state_width=len(env.state_names),
        feature_width=len(env.feature_names),
        twins=config.has_twins,
    ) as writer:
        for episode_id in config.episode_ids(shard):
            trajectory = rollout(
                env,
                config.env_id,
                EpisodeKey(namespace="collect", seed=config.seed, index=episode_id),
                steps=config.steps,
                variation=config.world(episode_id),
                lapses=config.lapses,
                policies=config.policies(episode_id),
            )
            features = env.state_features(trajectory.states)
            worlds = config.twin_worlds(episode_id)
            writer.add(
                sensors=_stacked([env.observe(state) for state in trajectory.states]),
                twins=_twins(env, trajectory.states, worlds) if worlds else None,
                actions=trajectory.actions,
                state=trajectory.states,
                features=features,
                episode_id=episode_id,
                policy=trajectory.policy,
            )
            report()


def _twins(env: MujocoGoalEnv, states: NDArray[np.float64], worlds: list[Variation]) -> dict[str, NDArray[Any]]:
    """Each camera's pictures of `states` [L+1, S], each state in its own world: uint8 [L+1, H, W, 3]."""
    cameras = [sensor.name for sensor in env.sensors if sensor.is_camera]
    return _stacked([_pictures(env, cameras, *each) for each in zip(states, worlds, strict=True)])


def _pictures(env: MujocoGoalEnv, cameras: list[str], state: State, world: Variation) -> SensorReadings:
    env.set_variation(world)
    return {camera: env.render_state(state, camera) for camera in cameras}


def _stacked(observations: list[SensorReadings]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([each[name] for each in observations]) for name in observations[0]}


# --- workers --------------------------------------------------------------------------------------------------------


def _collect_in_parallel(
    config: CollectConfig, directory: Path, shards: list[int], workers: int, report: Callable[[], Any]
) -> None:
    context = multiprocessing.get_context("spawn")
    processes, readers = [], []
    try:
        for worker in range(min(workers, len(shards))):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(config, directory, shards[worker::workers], writer))
            process.start()
            writer.close()  # the worker's end must be the only one, or its death would go unseen
            processes.append(process)
            readers.append(reader)
        _listen(readers, report)
        for process in processes:
            process.join()
            if process.exitcode != 0:
                raise RuntimeError(f"a collection worker ended with exit code {process.exitcode}; run again to resume")
    finally:
        for process in processes:
            process.terminate()


def _listen(readers: list[Connection], report: Callable[[], Any]) -> None:
    """Count finished episodes until every worker has closed its pipe."""
    while readers:
        for reader in wait(readers):
            assert isinstance(reader, Connection)
            try:
                message = reader.recv()
            except EOFError:
                readers.remove(reader)
                continue
            if message is not None:
                raise RuntimeError(f"a collection worker failed; run again to resume. It said:\n{message}")
            report()


def _work(config: CollectConfig, directory: Path, shards: list[int], parent: Connection) -> None:
    try:
        _collect_shards(config, directory, shards, lambda: parent.send(None))
    except BrokenPipeError:
        os._exit(1)  # the parent was killed: nobody waits for this worker
    except Exception:
        parent.send(traceback.format_exc())
