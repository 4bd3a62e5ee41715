"""Fills an episode store from a data set of another layout; an interrupted import continues when run again."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from envs.episodes import FORMAT, EpisodeWriter, only_writer, remove_leftovers, shard_path, write_description
from envs.interchange.action_limits import DatasetLimits, recorded_limits, recorded_range
from envs.interchange.sensor_ranges import with_ranges
from envs.interchange.source import Description, Frame, Rows, Source
from envs.sensors import Sensor, camera_sensor

EPISODES_PER_SHARD = 50
_FRAMES_AT_ONCE = 64


def import_episodes(
    source: Source,
    out: Path,
    *,
    description: Description,
    limits: DatasetLimits | None,
    fit: Callable[[Frame], Frame],
    image_size: int,
    episodes_per_shard: int = EPISODES_PER_SHARD,
    report: Callable[[], Any] = lambda: None,
) -> DatasetLimits:
    """Write every episode of `source` into the store `out`, and return the limits that the store gives its actions.

    All numbers are read and checked before anything is written; pictures are checked as they are decoded. A shard is
    written whole or not at all, and finished shards are kept.

    Args:
        source: the data set.
        out: the store's directory, made if missing.
        description: description of the store: the source's, or one with other names and units.
        limits: limits of the actions; None takes the description's, or else the recorded range.
        fit: resizes a camera picture to `image_size`, as the server resizes the robot's pictures.
        image_size: height and width of the stored pictures in pixels, for every camera.
        episodes_per_shard: the most work that an interruption can lose.
        report: called after each episode in the store.

    Raises:
        ValueError: something cannot be read, an action is beyond its limits, or `out` holds another data set.
        RuntimeError: another process writes to `out`.
    """
    limits = _checked_limits(source, description, limits)
    ranged = [with_ranges(vector, source) for vector in description.vectors]
    description = dataclasses.replace(
        description, action_low=limits.low, action_high=limits.high, vectors=[vector for vector, _ in ranged]
    )
    sensors = _sensors(description, image_size)
    out.mkdir(parents=True, exist_ok=True)
    with only_writer(out):
        remove_leftovers(out)
        origin = {**source.origin, "limits": limits.source, "episodes_per_shard": episodes_per_shard}
        origin["ranges"] = {vector.name: said_by for vector, said_by in ranged}
        write_description(out, _store_description(description, sensors, len(source.lengths), origin))
        rows = enumerate(source.rows())
        for shard, first in enumerate(range(0, len(source.lengths), episodes_per_shard)):
            count = min(episodes_per_shard, len(source.lengths) - first)
            episodes = [next(rows) for _ in range(count)]
            if not shard_path(out, shard).exists():
                _write_shard(source, shard_path(out, shard), sensors, episodes, fit, report)
            else:
                for _ in episodes:
                    report()
    return limits


def _sensors(description: Description, image_size: int) -> list[Sensor]:
    ratios = description.aspect_ratios
    cameras = [camera_sensor(name, image_size, ratios.get(name, 1.0)) for name in description.cameras]
    return [*cameras, *(vector.sensor() for vector in description.vectors)]


def _write_shard(
    source: Source,
    path: Path,
    sensors: list[Sensor],
    episodes: Iterable[tuple[int, Rows]],
    fit: Callable[[Frame], Frame],
    report: Callable[[], Any],
) -> None:
    said = source.description
    with EpisodeWriter(
        path,
        sensors=sensors,
        action_width=len(said.action_names),
        state_width=len(said.state_names),
        feature_width=len(said.feature_names),
    ) as writer:
        for episode, rows in episodes:
            pictures = {camera: _blocks(map(fit, source.frames(episode, camera))) for camera in said.cameras}
            writer.add(
                sensors={**pictures, **rows.vectors},
                actions=rows.actions,
                state=rows.state,
                features=rows.features,
                episode_id=episode,
                policy=rows.policy,
                task=source.tasks[episode],
            )
            report()


def _blocks(frames: Iterator[Frame]) -> Iterator[Frame]:
    block = []
    for frame in frames:
        block.append(frame)
        if len(block) == _FRAMES_AT_ONCE:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)


def _checked_limits(source: Source, said: Description, limits: DatasetLimits | None) -> DatasetLimits:
    """The limits, after every number was read. No action is clamped: a model would learn what never happened."""
    if limits is None and (said.action_low is None or said.action_high is None):
        return recorded_limits((rows.actions for rows in source.rows()), said.action_names)
    if limits is None:
        assert said.action_low is not None and said.action_high is not None
        limits = DatasetLimits(said.action_low, said.action_high, "the data set's")
    low, high = recorded_range((rows.actions for rows in source.rows()), len(said.action_names))
    beyond = (low < np.asarray(limits.low, np.float32)) | (high > np.asarray(limits.high, np.float32))
    if beyond.any():
        column = int(np.argmax(beyond))
        raise ValueError(
            f"action {said.action_names[column]!r} was recorded from {low[column]:g} to {high[column]:g}, beyond the "
            f"limits {limits.low[column]:g} to {limits.high[column]:g} ({limits.source}); give wider ones with "
            "--action-low and --action-high, or leave out those episodes"
        )
    return limits


def _store_description(
    said: Description, sensors: list[Sensor], episodes: int, origin: dict[str, Any]
) -> dict[str, Any]:
    action = {key: getattr(said, f"action_{key}") for key in ("names", "units", "low", "high")}
    return {
        "format": FORMAT,
        "env_id": said.env_id,
        "sensors": [sensor.to_json() for sensor in sensors],
        "dt_s": said.dt_s,
        "action": action,
        "state": {"names": said.state_names, "units": said.state_units},
        "features": {"names": said.feature_names},
        "policy": said.policy,
        "episodes_requested": episodes,
        "origin": origin,
    }
