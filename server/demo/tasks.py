"""Tasks of a demo: the checkpoints whose task is simulated, and the episodes of each."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from envs import ENVS, MujocoGoalEnv
from server.demo.errors import DemoError
from server.demo.recording import Recording, record_episode
from server.evaluation.protocols import PairStream, Protocol, plan_seed
from server.evaluation.simulation import simulation
from telos.planner import Planner
from telos.replies import ModelInfo
from worldmodel import Manifest, read_manifest

SHOWN_FIRST = ("telos/PushT-v0", "telos/Cube-v0")
"""Tasks that open the page, because their episodes are long and have contacts; the others follow by model name."""


@dataclass(frozen=True, kw_only=True)
class DemoTask:
    """All episodes of one model at its task."""

    model: ModelInfo
    distance_unit: str
    excluded_already_solved: int
    recordings: list[Recording]

    @property
    def opening(self) -> int:
        """Index of the episode shown first: the first one that is at least as long as the median of all.

        Length alone decides, not success: an episode of three steps is over before anyone sees it.
        """
        lengths = [len(recording.frames) for recording in self.recordings]
        return next(index for index, length in enumerate(lengths) if length >= statistics.median(lengths))


def simulated_models(checkpoints: Path) -> tuple[list[str], list[str]]:
    """Names of the models that can plan in a simulated task, in the order shown, and of all other models.

    Raises DemoError when there is none, and CheckpointError.
    """
    manifests = [read_manifest(path.parent) for path in sorted(checkpoints.glob("*/manifest.json"))]
    shown = [m.name for m in sorted(manifests, key=_place) if m.task in ENVS and m.planning is not None]
    if not shown:
        found = ", ".join(f"{m.name} (task {m.task or 'none'})" for m in manifests) or "no checkpoint"
        raise DemoError(
            f"{checkpoints} has no checkpoint of a simulated task ({', '.join(ENVS)}); found {found}: "
            "train one (telos collect, telos train) or give --checkpoints"
        )
    return shown, [manifest.name for manifest in manifests if manifest.name not in shown]


def _place(manifest: Manifest) -> tuple[int, str]:
    """Sorting key of a model."""
    first = manifest.task in SHOWN_FIRST
    return SHOWN_FIRST.index(manifest.task) if first else len(SHOWN_FIRST), manifest.name


def record_task(
    planner: Planner, model: ModelInfo, protocol: Protocol, episodes: int, seed: int, on_episode: Callable[[bool], None]
) -> DemoTask:
    """Record every episode, and call `on_episode(whether it succeeded)` after each.

    Raises DemoError, TelosError, and ValueError when the task has other sensors than the model.
    """
    env = simulation(model)
    try:
        _check_fit(model, env)
        pairs = PairStream(env_id=model.task, protocol=protocol, split="test", seed=seed).pairs(env)
        recordings: list[Recording] = []
        for index in range(episodes):
            pair = next(pairs)
            seed_of_plans = plan_seed(seed, index)
            recordings.append(record_episode(env, planner, model, pair, protocol.budget_steps, seed_of_plans))
            on_episode(recordings[-1].planned.success)
    finally:
        env.close()
    return DemoTask(
        model=model,
        distance_unit=env.distance_unit,
        excluded_already_solved=recordings[-1].pair.excluded_before,
        recordings=recordings,
    )


def _check_fit(model: ModelInfo, env: MujocoGoalEnv) -> None:
    action = model.required_action
    has = (action.names, action.units, action.high, round(action.dt_ms))
    wants = (env.action_names, env.action_units, env.action_high, round(env.dt_s * 1e3))
    if has != wants:
        raise DemoError(f"{model.name} was trained for actions {has}; {model.task} now has {wants}: train it anew")
