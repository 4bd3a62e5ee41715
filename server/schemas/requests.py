"""Requests, and the messages that they contain."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from planner.names import AlgorithmName, SearchSpaceName
from server.arrays import ArrayIn, ReadingIn
from server.schemas.values import (
    BySensor,
    Count,
    Counter,
    Encoded,
    Identifier,
    Index,
    LatentDistance,
    Microseconds,
    Name,
    Weight,
    Wire,
)


class Image(Wire):
    """An image file. In a multipart request, `part` names the form part with the bytes, in place of `encoded`."""

    encoded: Encoded
    format: Literal["jpeg", "png", "webp"]


class Observation(Wire):
    """Readings of all sensors of a model, and of no other sensor, at one time."""

    images: BySensor[Image] = Field(default_factory=dict)
    """Images by camera name."""
    arrays: BySensor[ReadingIn] = Field(default_factory=dict)
    """Readings by sensor name: [entries] of a vector, in the units that `/v1/models` lists."""
    step: Counter | None = None
    """Number of control steps by the robot's own counter. Ignored in a goal."""
    capture_time_us: Microseconds | None = None
    """Time of capture on the robot's own clock, returned in the response. Ignored in a goal."""
    capture_times_us: BySensor[Microseconds] = Field(default_factory=dict)
    """Times of sensors that were captured at another time than `capture_time_us`, by sensor name. They need
    `capture_time_us`, and are refused as stale when they differ from it by more than one control step."""

    @field_validator("capture_times_us")
    @classmethod
    def _beside_the_observations_own(cls, times: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        if times and info.data.get("capture_time_us") is None:
            raise ValueError("these are compared with capture_time_us, which is missing; send it too")
        return times


class Embedding(Wire):
    """Latents of one observation, from `/v1/encode`."""

    space_id: Name
    """Identifier of the latent space. Another model refuses it."""
    latents: ArrayIn
    """[n, d]"""


class Goal(Wire):
    """A goal: an observation made there, or the latents of one."""

    observation: Observation | None = None
    embedding: Embedding | None = None
    weight: Weight = 1.0
    """Weight of this goal's cost against the other terms of `cost`."""
    tolerance: LatentDistance = 0.05
    """Largest `goal_distance` that counts as reached. The accuracy of the model keeps it above 0 in practice."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Goal":
        if (self.observation is None) == (self.embedding is None):
            raise ValueError("a goal is either an observation or an embedding; send exactly one of the two")
        return self


class ModelRef(Wire):
    name: Name
    version: Name | None = None
    expect_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 that the weights must have."""


class PlannerConfig(Wire):
    """Settings of the search. The preset gives those that are left out; a missing seed is drawn."""

    preset: Name | None = None
    algorithm: AlgorithmName | None = None
    """`policy` takes the actions of the model's policy, without a search."""
    search_space: SearchSpaceName | None = None
    num_samples: Count | None = None
    """Number of candidate action sequences of one iteration."""
    num_elites: Count | None = None
    """Number of elites, for cem and icem only."""
    max_iterations: Count | None = None
    min_iterations: Count | None = None
    """Iterations that a plan needs before it may be returned, even at the deadline. 1 when left out."""
    init_std: float | None = Field(default=None, gt=0, le=10)
    """Standard deviation of the first candidates, for unitless actions in [-1, 1]."""
    horizon: Count | None = None
    """Horizon in model steps."""
    seed: Counter | None = None


class ActionLimits(Wire):
    """Limits in physical units, one entry for each action. They may only tighten those of the model."""

    min: list[float]
    max: list[float]
    max_delta: list[float] = Field(default_factory=list)
    """Largest change from one control step to the next, the last action of the history included; empty for no limit."""
    max_start_jump: list[float] = Field(default_factory=list)
    """Largest change from the action before the plan (the last committed one, or the last of the history) to the first
    planned one; empty for no limit. The smaller of this and `max_delta` holds."""


class KeepOut(Wire):
    """Latents to stay away from. A step within the radius costs (1 - distance / radius)^2, averaged over steps."""

    embeddings: list[Embedding] = Field(min_length=1)
    """Latents; the nearest one counts at each step."""
    radius: Annotated[float, Field(gt=0, le=1e3)]
    """Radius in units of `goal_distance`: 1 is the distance of unrelated frames."""
    weight: Weight = 1.0


class Cost(Wire):
    """Terms of a plan's cost. The goal's cost is the learned number of steps to go plus ten times the latent distance
    plus, if the model learned a task distance, three times that distance."""

    distance: Literal["squared", "absolute"] = "squared"
    """Distance between latents: squared L2, or L1, in which a single distant token does not dominate."""
    over: Literal["mean", "last", "closest"] = "mean"
    """Imagined steps that count. With `closest` a robot may pass through its goal; the others make it stay there."""
    smoothness: Weight = 0.0
    """Weight of the mean squared change of unitless actions from one control step to the next, which is 0 to 4."""
    effort: Weight = 0.0
    """Weight of the mean square of the unitless actions, which is 0 to 1."""
    keep_out: list[KeepOut] = Field(default_factory=list)


class ClockOffset(Wire):
    """Offset by `/v1/time`: ((received - sent by the robot) + (sent - received by the robot)) / 2."""

    clock_id: Name
    """Identifier of the server's clock. It changes when the server restarts, which makes the offset void."""
    offset_us: Microseconds
    """Server clock minus robot clock, in microseconds."""


class Request(Wire):
    request_id: Identifier | None = None
    """Identifier that the response repeats; drawn when left out."""
    model: ModelRef


class PlanRequest(Request):
    session_id: Identifier | None = None
    session_epoch: Counter | None = None
    """Epoch of the session. The request is refused when the session was reset since."""
    context: list[Observation] = Field(min_length=1)
    """Frames one model step apart, oldest first; the last one is the present."""
    action_history: list[ArrayIn] = Field(default_factory=list)
    """Actions executed between the frames: each [control_steps, actions], in physical units."""
    goals: list[Goal] = Field(min_length=1)
    """Goals in order; the plan leads to the active one."""
    active_goal: Index | None = None
    """Index of the active goal; those before it are reached. Left out: taken from the session, else 0."""
    planner: PlannerConfig = PlannerConfig()
    cost: Cost = Cost()
    planning_budget_ms: Count | None = None
    """Time from arrival to reply, when the best plan so far is returned."""
    require_complete: bool = False
    """Refuse rather than return a plan cut off by its deadline, or the rest of the last plan."""
    inference_delay_steps: Index | None = None
    """Control steps that the robot executes before the reply arrives, from `committed_actions` or the session's last
    plan. The chunk begins after them."""
    committed_actions: ArrayIn | None = None
    """First control steps of the plan, which the robot executes in any case: [steps, actions], in physical units."""
    warm_start: bool | None = None
    """Left out: start from the session's last plan if there is one. True: refuse if there is none."""
    max_observation_age_ms: Count | None = None
    """Greatest age of any reading of the last frame. Needs its `capture_time_us`, and `clock_offset`."""
    clock_offset: ClockOffset | None = None
    limits: ActionLimits | None = None
    hold_on_surprise: bool | None = None
    """Refuse (`surprise-hold`) when the last transition of the context is more surprising than the calibrated
    threshold. Left out: taken from the session, else false."""
    include: list[Literal["costs", "latents"]] = Field(default_factory=list)


class AnomalyRequest(Request):
    observations: list[Observation] = Field(min_length=2)
    """Frames one model step apart, oldest first."""
    actions: list[ArrayIn] = Field(min_length=1)
    """Actions executed between the frames: each [control_steps, actions], in physical units."""


class EncodeRequest(Request):
    observations: list[Observation] = Field(min_length=1)
