"""Replies of a planner, with actions as arrays and times in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from telos.errors import TelosError
from telos.evidence import InputWarning, Provenance, Safety, Timing
from telos.from_wire import array, known


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """Settings of the search. The preset gives those that are None; a missing seed is drawn. A reply has those used."""

    preset: str | None = None
    """Name of one of `ModelInfo.presets`."""
    algorithm: str | None = None
    """cem, icem, mppi, predictive_sampling or gradient_descent; or policy, which asks the model's policy."""
    search_space: str | None = None
    """constant (one action a model step), free, linear_spline or cubic_spline (a few knots over the horizon)."""
    num_samples: int | None = None
    num_elites: int | None = None
    """Number of elites, for cem and icem only."""
    max_iterations: int | None = None
    init_std: float | None = None
    horizon: int | None = None
    """Horizon in model steps."""
    seed: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanReply:
    """Actions that lead to the goal, and the evidence for them."""

    request_id: str
    session_id: str | None
    session_epoch: int | None
    """Number that grows with each reset of the session."""
    status: str
    """CONVERGED, MAX_ITERATIONS or BUDGET_EXHAUSTED: a new plan. FALLBACK_PREVIOUS: the rest of the last plan.
    POLICY: the actions of the model's policy."""
    actions: np.ndarray
    """Actions in physical units: [steps, actions], one row for each control step."""
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    dt_s: float
    """Duration of one control step."""
    control_steps: int
    """Control steps in one model step. Execute a multiple of it before you plan again."""
    first_step: int
    """Control step of the first row, on the robot's counter."""
    valid_for_s: float
    """Time since `first_step` after which the robot must stop or hold unless it has a newer plan."""
    predicted_cost: float | None
    """Cost of the plan; None for a policy's actions that no world model verified."""
    cost_trace: tuple[float, ...]
    """Best cost after each iteration of the search."""
    goal_distance: float
    """Latent distance from the last frame to the active goal; 1 is the distance of unrelated frames."""
    goal_distances: tuple[float, ...]
    """Latent distance from the last frame to each goal."""
    active_goal: int
    """Index of the goal to which the plan leads."""
    goal_reached: bool
    """True when all goals are reached."""
    planned_goal_distance: float | None
    """Distance to the active goal at the end of the imagined future; None when nothing was imagined."""
    surprise: float | None
    """Surprise of the last transition; None when only one frame was sent."""
    novelty: float | None
    """Novelty of the last frame, the largest of its sensors: above 1, it is unlike what the model learned from. None
    for a model that was not calibrated, and with FALLBACK_PREVIOUS."""
    goal_novelty: float | None
    """Novelty of the active goal; also None for an embedding."""
    warnings: tuple[InputWarning, ...]
    """Warnings about the last frame and the goals."""
    warm_started: bool
    latents: np.ndarray | None
    """Imagined future, [horizon, n, d], if `include` has `latents`."""
    timing: Timing
    safety: Safety
    provenance: Provenance
    planner: PlannerConfig
    """Settings that were used, seed included. Send them again to get the same plan."""

    @property
    def next_actions(self) -> np.ndarray:
        """[control_steps, actions]: the first model step, the least to execute before planning again."""
        return self.actions[: self.control_steps]

    @classmethod
    def from_payload(cls, data: Mapping[str, Any]) -> "PlanReply":
        chunk, provenance = data["chunk"], data["provenance"]
        return cls(
            request_id=data["request_id"],
            session_id=data.get("session_id"),
            session_epoch=data.get("session_epoch"),
            status=data["status"],
            actions=array(chunk["actions"]),
            action_names=tuple(chunk["action_names"]),
            action_units=tuple(chunk["action_units"]),
            dt_s=chunk["dt_ms"] / 1e3,
            control_steps=chunk["control_steps"],
            first_step=chunk["first_step"],
            valid_for_s=chunk["valid_for_ms"] / 1e3,
            predicted_cost=data.get("predicted_cost"),
            cost_trace=tuple(data.get("costs") or ()),
            goal_distance=data["goal_distance"],
            goal_distances=tuple(data.get("goal_distances") or (data["goal_distance"],)),
            active_goal=data.get("active_goal", 0),
            goal_reached=data.get("goal_reached", False),
            planned_goal_distance=data.get("planned_goal_distance"),
            surprise=data.get("surprise"),
            novelty=data.get("novelty"),
            goal_novelty=data.get("goal_novelty"),
            warnings=tuple(known(InputWarning, warning) for warning in data.get("warnings") or ()),
            warm_started=data["warm_started"],
            latents=None if data.get("latents") is None else array(data["latents"]),
            timing=known(Timing, data["timing"]),
            safety=known(Safety, data["safety"]),
            provenance=known(Provenance, provenance),
            planner=known(PlannerConfig, provenance["effective_planner"]),
        )


@dataclass(frozen=True, kw_only=True)
class AnomalyReply:
    """Surprise of a clip, with one entry for each transition."""

    request_id: str
    surprise: tuple[float, ...]
    p_value: tuple[float, ...]
    """Share of held-out transitions at least as surprising."""
    threshold: float
    """Surprise that 1 % of held-out transitions exceed."""
    is_anomalous: bool
    provenance: Provenance

    @classmethod
    def from_payload(cls, data: Mapping[str, Any]) -> "AnomalyReply":
        return known(cls, {**data, "provenance": known(Provenance, data["provenance"])})


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """Latents of one observation, as `encode` gives them. They can be a goal."""

    space_id: str
    latents: np.ndarray
    """[n, d]"""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodeReply:
    """Latents of observations."""

    request_id: str
    embeddings: tuple[Embedding, ...]
    """One for each observation."""
    provenance: Provenance

    @classmethod
    def from_payload(cls, data: Mapping[str, Any]) -> "EncodeReply":
        return cls(
            request_id=data["request_id"],
            embeddings=tuple(Embedding(space_id=data["space_id"], latents=z) for z in array(data["embeddings"])),
            provenance=known(Provenance, data["provenance"]),
        )


@dataclass(frozen=True, kw_only=True)
class Session:
    """A robot's state on the server between two plans."""

    session_id: str
    epoch: int
    committed_step: int | None = None
    """Control step of the last plan's first action, or a later one that the robot reported."""
    expires_in_ms: int
    """Time until the session is forgotten, unless it is used before."""
    hold_on_surprise: bool = False
    active_goal: int = 0

    @classmethod
    def from_payload(cls, data: Mapping[str, Any]) -> "Session":
        return known(cls, data)


@dataclass(frozen=True, kw_only=True)
class SensorInfo:
    """A sensor of a model."""

    name: str
    kind: Literal["camera", "vector"]
    shape: tuple[int, ...]
    """[height_px, width_px, 3] of a camera, to which images are resized; [entries] of a vector."""
    names: tuple[str, ...] = ()
    """Names of a vector's entries, in order."""
    units: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    """Lowest reading of each entry, in its unit."""
    high: tuple[float, ...] = ()
    aspect_ratio: float | None = None
    """Width over height of the pictures that the model learned from; None where it is that of `shape`."""


@dataclass(frozen=True, kw_only=True)
class ActionInfo:
    """Actions of one control step, in physical units."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dt_ms: float
    control_steps: int


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model: its sensors, its actions and its defaults."""

    name: str
    version: str
    recipe: str
    task: str
    ready: bool
    sensors: tuple[SensorInfo, ...]
    """Sensors that every observation must have, and no others."""
    latent_shape: tuple[int, ...]
    """Shape of the latents of one observation: [n, d]."""
    action: ActionInfo | None = None
    """Actions; None for a model that encodes and does not plan."""
    context_frames: int | None = None
    """Largest number of context frames, one model step apart."""
    horizon: int | None = None
    """Default horizon, in model steps."""
    presets: tuple[PlannerConfig, ...]
    """Planner settings that a request may name."""
    surprise_threshold: float | None = None
    """Surprise that 1 % of held-out transitions exceed; None when the model was not calibrated."""
    novelty_false_alarm_rate: float | None = None
    """Largest share of normal readings of a sensor whose novelty exceeds 1; None when it was not calibrated."""
    space_id: str
    weights_sha256: str
    manifest_sha256: str
    device: str
    """Device that the model runs on: cpu, or a GPU such as cuda:0."""
    dtype: str
    """Precision of the rollout: float32 or bfloat16."""

    @property
    def cameras(self) -> tuple[SensorInfo, ...]:
        """Sensors that give images."""
        return tuple(sensor for sensor in self.sensors if sensor.kind == "camera")

    @property
    def required_action(self) -> ActionInfo:
        """Actions of a model that has some. Raises TelosError (`no-actions`) for any other."""
        if self.action is None:
            raise TelosError("no-actions", f"{self.name} only encodes and cannot plan; choose a model with actions")
        return self.action

    @classmethod
    def from_payload(cls, data: Mapping[str, Any]) -> "ModelInfo":
        """Raises KeyError or TypeError for a dictionary of another kind."""
        parts: dict[str, Any] = {
            "sensors": tuple(known(SensorInfo, sensor) for sensor in data["sensors"]),
            "presets": tuple(known(PlannerConfig, preset) for preset in data["presets"]),
            "action": known(ActionInfo, data["action"]) if data.get("action") else None,
        }
        return known(cls, {**data, **parts})
