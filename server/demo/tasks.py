"""The tasks of a demo: checkpoints whose task is simulated here, and all episodes of one."""

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
from worldmodel import read_manifest


@dataclass(frozen=True, kw_only=True)
class DemoTask:
    """All episodes of one model at its task."""

    model: ModelInfo
    distance_unit: str
    excluded_already_solved: int
    recordings: list[Recording]


def simulated_models(checkpoints: Path) -> tuple[list[str], list[str]]:
    """Names of models that can plan and have a simulated task, and of the others. Raises DemoError, CheckpointError."""
    manifests = [read_manifest(path.parent) for path in sorted(checkpoints.glob("*/manifest.json"))]
    shown = [manifest.name for manifest in manifests if manifest.task in ENVS and manifest.planning is not None]
    if not shown:
        found = ", ".join(f"{m.name} (task {m.task or 'none'})" for m in manifests) or "no checkpoint at all"
        raise DemoError(
            f"{checkpoints} holds no checkpoint of a simulated task but {found}; tasks are {', '.join(ENVS)}: "
            "train one (telos collect, telos train) or give --checkpoints"
        )
    return shown, [manifest.name for manifest in manifests if manifest.name not in shown]


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
