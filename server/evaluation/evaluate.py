"""A whole evaluation: the planner and both controls on the same held-out starts and goals."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import Any

from envs.mujoco_env import MujocoGoalEnv
from server.evaluation.disturbance import Disturbance
from server.evaluation.journal import Journal
from server.evaluation.protocols import SPLITS, Protocol, Split
from server.evaluation.robots import EXCLUDED, Job, Setting, job_name, run_jobs
from server.evaluation.rows import FILM
from server.evaluation.simulation import task_of
from server.evaluation.summary import against, figures
from server.evaluation.worlds import NOMINAL, world_names
from telos.planner import Planner
from telos.replies import ModelInfo

MOST_SEED = 2**32 - 1
"""Seeds of plans, a million times this, still fit a JSON number."""
MOST_EPISODES = 10**6
Row = dict[str, Any]
Progress = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    protocol: Protocol
    episodes: int
    """Number of pairs of each seed."""
    seeds: tuple[int, ...]
    split: Split = "development"
    preset: str = "default"
    disturbed: Mapping[str, str] = field(default_factory=dict)
    """Disturbance of each disturbed sensor, by its name: `server.evaluation.disturbance`."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes={self.episodes}; give at least 1")
        if self.episodes > MOST_EPISODES:
            raise ValueError(f"episodes={self.episodes}; give at most {MOST_EPISODES}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)}; give one or more, none of them twice")
        if not (min(self.seeds) >= 0 and max(self.seeds) <= MOST_SEED):
            raise ValueError(f"seeds={list(self.seeds)}; give 0 to {MOST_SEED}")
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}; give one of {', '.join(SPLITS)}")

    @property
    def total_episodes(self) -> int:
        """Number of pairs of all seeds."""
        return self.episodes * len(self.seeds)


def settings(model: ModelInfo, config: EvaluationConfig) -> dict[str, Any]:
    """Everything that decides the result, as JSON data.

    Raises ValueError when the model cannot be simulated (see `task_of`) or its sensors cannot be disturbed so.
    """
    task_of(model)
    Disturbance(config.disturbed, model.sensors)
    return {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "manifest_sha256": model.manifest_sha256,
        "task": model.task,
        "device": model.device,
        "dtype": model.dtype,
        "sensors": [sensor.name for sensor in model.sensors],
        "disturbed": dict(config.disturbed),
        "protocol": config.protocol.name,
        "offset_steps": config.protocol.offset_steps,
        "budget_steps": config.protocol.budget_steps,
        "preset": config.preset,
        "split": config.split,
        "seeds": list(config.seeds),
        "episodes": config.total_episodes,
    }


def evaluate(
    planners: Sequence[Planner], model: ModelInfo, config: EvaluationConfig, journal: Journal, progress: Progress
) -> dict[str, Any]:
    """The result as JSON data, with one robot at a time for each planner. Episodes that `journal` has are not repeated.

    Raises TelosError, SimulationError, and ValueError as `settings` does.
    """
    setting = Setting(
        model=model, protocol=config.protocol, preset=config.preset, split=config.split, disturbed=config.disturbed
    )
    task = task_of(model)
    worlds = world_names(task.variation_class) if config.protocol.varied else (NOMINAL,)
    tally = _Tally(model, config, journal, len(worlds), progress)
    with closing(task(render_mode=None)) as env:
        jobs = _Jobs(env, setting, config, worlds)
        left = (job for job in jobs if job.name not in journal.rows)
        for job, row in run_jobs(planners, setting, left, tally.count_plan):
            journal.add(job.name, row)
            tally.count_episode(row)
    rows = {world: rows_of(journal, config, world) for world in worlds}
    nominal = rows.pop(NOMINAL)
    return {
        **settings(model, config),
        "robots": len(planners),
        "excluded_already_solved": jobs.excluded,
        **figures(nominal),
        "rows": [_without_film(row) for row in nominal],
        "worlds": {world: _world(nominal, theirs) for world, theirs in rows.items()},
    }


def rows_of(journal: Journal, config: EvaluationConfig, world: str = NOMINAL) -> list[Row]:
    """Every row of one world, in order, once all are known; with what a film needs."""
    return [journal.rows[job_name(world, seed, index)] for seed in config.seeds for index in range(config.episodes)]


class _Jobs:
    """Yields a job for each pair and world, and draws pairs only when they are asked for."""

    def __init__(self, env: MujocoGoalEnv, setting: Setting, config: EvaluationConfig, worlds: Sequence[str]) -> None:
        self._env, self._setting, self._config, self._worlds = env, setting, config, worlds
        self._excluded: dict[int, int] = {}

    @property
    def excluded(self) -> int:
        """Number of pairs passed over so far, because the start already was a success."""
        return sum(self._excluded.values())

    def __iter__(self) -> Iterator[Job]:
        for seed in self._config.seeds:
            pairs = islice(self._setting.stream(seed).pairs(self._env), self._config.episodes)
            for index, pair in enumerate(pairs):
                self._excluded[seed] = pair.excluded_before
                for world in self._worlds:
                    yield Job(seed=seed, index=index, pair=pair, world=world)


class _Tally:
    """Reports progress in plans, since episodes that are played side by side also end side by side."""

    def __init__(
        self, model: ModelInfo, config: EvaluationConfig, journal: Journal, worlds: int, progress: Progress
    ) -> None:
        self._each = math.ceil(config.protocol.budget_steps / model.required_action.control_steps)
        self._total = config.total_episodes * worlds * self._each
        self._stage, self._progress, self._lock = config.protocol.name, progress, Lock()
        played = [row for row in journal.rows.values() if row != EXCLUDED]
        self._played, self._reached = len(played), sum(row["success"] for row in played)
        self._plans = len(journal.rows) * self._each

    def count_plan(self) -> None:
        """Count one plan, from any thread."""
        with self._lock:
            self._plans += 1
            self._report()

    def count_episode(self, row: Row) -> None:
        """Count the row of one episode, whose plans were counted before."""
        with self._lock:
            if row == EXCLUDED:
                self._plans += self._each
            else:
                self._played += 1
                self._reached += row["success"]
            self._report()

    def _report(self) -> None:
        success = {"episodes": self._played, "success": self._reached / self._played} if self._played else {}
        self._progress(f"plans, {self._stage}", self._plans, self._total, success)


def _world(nominal: Sequence[Row], rows: Sequence[Row]) -> dict[str, Any]:
    pairs = [(ours, theirs) for ours, theirs in zip(nominal, rows, strict=True) if theirs != EXCLUDED]
    played = [theirs for _, theirs in pairs]
    return {
        "episodes": len(played),
        "excluded_already_solved": len(rows) - len(played),
        **(against(pairs) | figures(played) if played else {}),
        "rows": [_without_film(row) for row in played],
    }


def _without_film(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != FILM}
