"""What a planner answers, with actions as arrays and times in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from telos.errors import TelosError
from telos.evidence import InputWarning, Provenance, Safety, Timing
from telos.from_wire import array, known


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """How to search. What is None is taken from the preset, a seed is drawn; a reply says what was used."""

    preset: str | None = None
    algorithm: str | None = None
    """cem, icem, mppi, predictive_sampling or gradient_descent; policy: the model's own, without a search."""
    search_space: str | None = None
    """constant (one action a model step), free, linear_spline or cubic_spline (a few knots over the horizon)."""
    num_samples: int | None = None
    num_elites: int | None = None
    """Of cem and icem; the other algorithms have none."""
    max_iterations: int | None = None
    init_std: float | None = None
    horizon: int | None = None
    """Model steps."""
    seed: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanReply:
    """Actions that lead to the goal, and the evidence for them."""

    request_id: str
    session_id: str | None
    session_epoch: int | None
    """Goes up with each reset of the session."""
    status: str
    """CONVERGED, MAX_ITERATIONS or BUDGET_EXHAUSTED: a new plan; FALLBACK_PREVIOUS: the rest of the last one;
    POLICY: the actions of the model's policy."""
    actions: np.ndarray
    """[steps, actions], physical units, one row a control step."""
    action_names: tuple[str, ...]
    action_units: tuple[str, ...]
    dt_s: float
    """Duration of one control step."""
    control_steps: int
    """In one model step: execute a multiple of it before planning again."""
    first_step: int
    """The control step, on the robot's counter, that the first row belongs to."""
    valid_for_s: float
    """Stop or hold when this much time passed since `first_step` without a newer plan."""
    predicted_cost: float | None
    """None for a policy's actions that no world model verified."""
    cost_trace: tuple[float, ...]
    """Best cost after each iteration of the search."""
    goal_distance: float
    """Latent distance from now to the active goal; 1 is that of two unrelated frames."""
    goal_distances: tuple[float, ...]
    """The same to each goal."""
    active_goal: int
    """Index of the goal that was planned for."""
    goal_reached: bool
    """The last of the goals, all before it having been reached."""
    planned_goal_distance: float | None
    """Distance to the active goal at the end of the imagined future; None when none was imagined."""
    surprise: float | None
    """Of the last transition; None when only one frame was sent."""
    novelty: float | None
    """How unlike training the last frame is: above 1, the model never learned from such readings. None for a model
    that was not calibrated, and with FALLBACK_PREVIOUS."""
    goal_novelty: float | None
    """The same of the active goal; None for an embedding, too."""
    warnings: tuple[InputWarning, ...]
    """Of the last frame and the goals."""
    warm_started: bool
    latents: np.ndarray | None
    """[horizon, n, d] imagined future, when asked for."""
    timing: Timing
    safety: Safety
    provenance: Provenance
    planner: PlannerConfig
    """What was used, seed included: send it again to get the same plan."""

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
    """Whether a clip obeys the physics that the model learned. One entry a transition."""

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
    """A goal as latents: what `encode` gave for one observation."""

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
    """What a server remembers of a robot between two plans."""

    session_id: str
    epoch: int
    committed_step: int | None = None
    """Control step of the last plan's first action, or later, as the robot reported."""
    expires_in_ms: int
    """Unless it is used before."""
    hold_on_surprise: bool = False
    active_goal: int = 0

    @classmethod
    def from_payload(cls, data: Mapping[str, Any]) -> "Session":
        return known(cls, data)


@dataclass(frozen=True, kw_only=True)
class SensorInfo:
    """One of a model's sensors."""

    name: str
    kind: Literal["camera", "vector"]
    shape: tuple[int, ...]
    """A camera's [height_px, width_px, 3], to which images are resized; a vector's [entries]."""
    names: tuple[str, ...] = ()
    """A vector's entries, in order."""
    units: tuple[str, ...] = ()
    low: tuple[float, ...] = ()
    """Readings of an entry lie within low..high, in its unit."""
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
    """A model: what it takes, and what it gives."""

    name: str
    version: str
    recipe: str
    task: str
    ready: bool
    sensors: tuple[SensorInfo, ...]
    """An observation has exactly these."""
    latent_shape: tuple[int, ...]
    """[n, d] of one observation."""
    action: ActionInfo | None = None
    """None for a model that encodes and plans nothing."""
    context_frames: int | None = None
    """At most, one model step apart."""
    horizon: int | None = None
    """By default, in model steps."""
    presets: tuple[PlannerConfig, ...]
    """That it can be asked with."""
    surprise_threshold: float | None = None
    """None when it was not calibrated."""
    novelty_false_alarm_rate: float | None = None
    """Share of normal readings of a sensor whose novelty exceeds 1, at most; None when it was not calibrated."""
    space_id: str
    weights_sha256: str
    manifest_sha256: str
    device: str
    """cpu, or a GPU as cuda:0."""
    dtype: str
    """float32 or bfloat16: what imagining computes in."""

    @property
    def cameras(self) -> tuple[SensorInfo, ...]:
        """The sensors that give images."""
        return tuple(sensor for sensor in self.sensors if sensor.kind == "camera")

    @property
    def required_action(self) -> ActionInfo:
        """Its actions. Raises TelosError (`no-actions`) for a model that has none."""
        if self.action is None:
            raise TelosError("no-actions", f"{self.name} encodes and plans nothing; choose a model with actions")
        return self.action

    @classmethod
    def from_payload(cls, data: Mapping[str, Any]) -> "ModelInfo":
        """Raises KeyError or TypeError for a dictionary of something else."""
        parts: dict[str, Any] = {
            "sensors": tuple(known(SensorInfo, sensor) for sensor in data["sensors"]),
            "presets": tuple(known(PlannerConfig, preset) for preset in data["presets"]),
            "action": known(ActionInfo, data["action"]) if data.get("action") else None,
        }
        return known(cls, {**data, **parts})
