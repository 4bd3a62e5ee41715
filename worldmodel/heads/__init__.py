"""Heads: small networks on the frozen latents of a trained recipe. Manifests choose from the closed table `HEADS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from worldmodel.data.latents import LatentEpisodes
from worldmodel.errors import CheckpointError
from worldmodel.heads.fitting import OnStep
from worldmodel.heads.inverse_dynamics import (
    InverseDynamics,
    InverseDynamicsConfig,
    InverseDynamicsTraining,
    fit_inverse_dynamics,
)
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig, StepsToGoTraining, fit_steps_to_go
from worldmodel.heads.task_distance import (
    TaskDistance,
    TaskDistanceConfig,
    TaskDistanceTraining,
    Tolerance,
    fit_task_distance,
)
from worldmodel.json_values import field_values, shown
from worldmodel.manifest import HeadSpec, LatentSpec
from worldmodel.parts.tokens import Pooling, pooling_of

Goal = tuple[Tolerance, ...]
"""Tolerances of the features that a goal is judged by; empty where none were recorded."""


@dataclass(frozen=True, kw_only=True)
class HeadEntry:
    """A row of the table of heads: construction, training and use of a head."""

    config_of: Callable[[Goal, Pooling], Any | None]
    """Returns the configuration of a head for these goals; None where it cannot be learned."""
    read_config: Callable[[dict[str, Any]], Any]
    """Reads the configuration in a manifest. Raises CheckpointError."""
    module: Callable[[Any, LatentSpec, int], nn.Module]
    """Builds the head, with random weights, from its configuration, the latents' shape and the width of a model step's
    actions."""
    training: Callable[..., Any]
    """Dataclass of the training's settings, with defaults."""
    fit: Callable[[Any, LatentEpisodes, Any, int, OnStep], None]
    """Trains a module in place: (module, latents, training settings, seed, step callback)."""
    stage: str
    """The training's name in progress reports."""
    cost_weight: float | None = None
    """Weight in the cost of a plan; None for a head that is not a `LatentDistance`."""
    is_policy: bool = False
    """True for a `LatentPolicy`."""


def _task_config(data: dict[str, Any]) -> TaskDistanceConfig:
    tolerances = data.get("tolerances")
    if not isinstance(tolerances, list | tuple) or not all(isinstance(each, dict) for each in tolerances):
        raise CheckpointError(f"task_distance: tolerances is {tolerances!r:.60}; wanted a list of objects")
    parts = tuple(_config(Tolerance, each, "task_distance.tolerances") for each in tolerances)
    return _config(TaskDistanceConfig, {**data, "tolerances": parts}, "task_distance")


def _config(cls: Any, data: dict[str, Any], where: str) -> Any:
    try:
        return cls(**field_values(cls, data, where))
    except CheckpointError:
        raise
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error


HEADS: Mapping[str, HeadEntry] = {
    "steps_to_go": HeadEntry(
        config_of=lambda goal, pooling: StepsToGoConfig(pooling=pooling),
        read_config=lambda data: _config(StepsToGoConfig, data, "steps_to_go"),
        module=lambda config, latent, actions: StepsToGo(config, latent.tokens, latent.width),
        training=StepsToGoTraining,
        fit=fit_steps_to_go,
        stage="steps to go",
        cost_weight=1.0,
    ),
    "inverse_dynamics": HeadEntry(
        config_of=lambda goal, pooling: InverseDynamicsConfig(pooling=pooling),
        read_config=lambda data: _config(InverseDynamicsConfig, data, "inverse_dynamics"),
        module=lambda config, latent, actions: InverseDynamics(config, latent.tokens, latent.width, actions),
        training=InverseDynamicsTraining,
        fit=fit_inverse_dynamics,
        stage="inverse dynamics",
        is_policy=True,
    ),
    "task_distance": HeadEntry(
        config_of=lambda goal, pooling: TaskDistanceConfig(tolerances=goal, pooling=pooling) if goal else None,
        read_config=_task_config,
        module=lambda config, latent, actions: TaskDistance(config, latent.tokens, latent.width),
        training=TaskDistanceTraining,
        fit=fit_task_distance,
        stage="task distance",
        cost_weight=3.0,
    ),
}
"""Heads in the order of their training, and of the terms of a cost."""


def head_configs(goal: Goal, latent: LatentSpec) -> dict[str, Any]:
    """Configurations, by name, of the heads that can be learned for these goals on such latents."""
    pooling = pooling_of(latent.tokens, latent.width)
    configs = {name: entry.config_of(goal, pooling) for name, entry in HEADS.items()}
    return {name: config for name, config in configs.items() if config is not None}


def make_head(spec: HeadSpec, latent: LatentSpec, action_width: int) -> nn.Module:
    """The head that a manifest describes, with random weights. Raises CheckpointError."""
    if spec.type not in HEADS:
        raise CheckpointError(f"checkpoint wants a head {shown(spec.type)}; this build has {sorted(HEADS)}")
    entry = HEADS[spec.type]
    return entry.module(entry.read_config(spec.config), latent, action_width)
