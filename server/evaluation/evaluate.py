"""A whole evaluation: the planner and both controls on the same held-out starts and goals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from envs.mujoco_env import MujocoGoalEnv
from server.evaluation.disturbance import Disturbance
from server.evaluation.journal import Journal
from server.evaluation.protocols import Protocol, draw_pairs
from server.evaluation.robots import EXCLUDED, Job, Setting, run_jobs
from server.evaluation.rows import FILM
from server.evaluation.simulation import task_of
from server.evaluation.summary import against, figures
from server.evaluation.worlds import NOMINAL, world_names
from telos.planner import Planner
from telos.replies import ModelInfo

Row = dict[str, Any]
Progress = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    protocol: Protocol
    episodes: int
    seed: int
    preset: str = "default"
    disturbed: Mapping[str, str] = field(default_factory=dict)
    """How sensors are disturbed, by their names: `server.evaluation.disturbance`."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes={self.episodes}; give at least 1")


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
        "seed": config.seed,
        "episodes": config.episodes,
    }


def evaluate(
    planners: Sequence[Planner], model: ModelInfo, config: EvaluationConfig, journal: Journal, progress: Progress
) -> dict[str, Any]:
    """The result as JSON data, with one robot at a time for each planner. Episodes that `journal` has are not repeated.

    Raises TelosError, SimulationError, and ValueError as `settings` does.
    """
    setting = Setting(
        model=model, protocol=config.protocol, preset=config.preset, seed=config.seed, disturbed=config.disturbed
    )
    task = task_of(model)
    worlds = world_names(task.variation_class) if config.protocol.varied else (NOMINAL,)
    with closing(task(render_mode=None)) as env:
        jobs = _Jobs(env, setting, config.episodes, worlds)
        for job, row in run_jobs(planners, setting, (job for job in jobs if job.name not in journal.rows)):
            journal.add(job.name, row)
            played = [row for row in journal.rows.values() if row != EXCLUDED]
            reached = sum(row["success"] for row in played) / max(1, len(played))
            total = config.episodes * len(worlds)
            progress(config.protocol.name, len(journal.rows), total, {"success": reached})
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
    """Every row of one world, in order, once all are known; rows of failures have what a film needs."""
    return [journal.rows[f"{world} {index}"] for index in range(config.episodes)]


class _Jobs:
    """Yields a job for each pair and world, and draws pairs only when they are asked for."""

    def __init__(self, env: MujocoGoalEnv, setting: Setting, episodes: int, worlds: Sequence[str]) -> None:
        self.excluded = 0
        """Number of pairs passed over so far, because the start already was a success."""
        self._pairs = islice(draw_pairs(env, setting.model.task, setting.protocol, setting.seed), episodes)
        self._worlds = worlds

    def __iter__(self) -> Iterator[Job]:
        for index, pair in enumerate(self._pairs):
            self.excluded = pair.excluded_before
            for world in self._worlds:
                yield Job(index=index, pair=pair, world=world)


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
