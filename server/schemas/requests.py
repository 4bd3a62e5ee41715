"""What comes in with one question."""

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
    """In multipart requests `part`, the name of the form part with the bytes, stands in for `encoded`."""

    encoded: Encoded
    format: Literal["jpeg", "png", "webp"]


class Observation(Wire):
    """Readings of all of a model's sensors at one time, and of no other."""

    images: BySensor[Image] = Field(default_factory=dict)
    """By camera."""
    arrays: BySensor[ReadingIn] = Field(default_factory=dict)
    """By sensor: a vector's [entries], in the units that `/v1/models` says."""
    step: Counter | None = None
    """The robot's own counter, in control steps. Has no meaning in a goal."""
    capture_time_us: Microseconds | None = None
    """On the robot's own clock; comes back in the response. Has no meaning in a goal."""
    capture_times_us: BySensor[Microseconds] = Field(default_factory=dict)
    """By sensor, of those that were captured at another time than `capture_time_us`, which is wanted then. More than
    one control step apart is refused as stale."""

    @field_validator("capture_times_us")
    @classmethod
    def _beside_the_observations_own(cls, times: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        if times and info.data.get("capture_time_us") is None:
            raise ValueError("these are compared with capture_time_us, which is missing; send it too")
        return times


class Embedding(Wire):
    """Latents of one observation, from `/v1/encode`."""

    space_id: Name
    """Refused by any other model."""
    latents: ArrayIn
    """[n, d]"""


class Goal(Wire):
    """Where to go: what the sensors give there, or its latents."""

    observation: Observation | None = None
    embedding: Embedding | None = None
    weight: Weight = 1.0
    """Of this goal's cost against the other terms of `cost`."""
    tolerance: LatentDistance = 0.05
    """The `goal_distance` that counts as reached. What is reached in practice is the model's accuracy, not 0."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Goal":
        if (self.observation is None) == (self.embedding is None):
            raise ValueError("a goal is either an observation or an embedding; send exactly one of the two")
        return self


class ModelRef(Wire):
    name: Name
    version: Name | None = None
    expect_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of the weights."""


class PlannerConfig(Wire):
    """What is left out comes from the preset; a seed is drawn."""

    preset: Name | None = None
    algorithm: AlgorithmName | None = None
    """`policy`: the actions are those of the model's policy, and nothing is searched."""
    search_space: SearchSpaceName | None = None
    num_samples: Count | None = None
    """Candidate action sequences of one iteration."""
    num_elites: Count | None = None
    """Of cem and icem; the other algorithms have none."""
    max_iterations: Count | None = None
    min_iterations: Count | None = None
    """Fewer are no answer, also not at the deadline. 1 when left out."""
    init_std: float | None = Field(default=None, gt=0, le=10)
    """Of the first candidates, for unitless actions in [-1, 1]."""
    horizon: Count | None = None
    """Model steps."""
    seed: Counter | None = None


class ActionLimits(Wire):
    """Physical units, one entry for each action. May only tighten the limits of the model."""

    min: list[float]
    max: list[float]
    max_delta: list[float] = Field(default_factory=list)
    """Largest change from one control step to the next, also from the last action of the history; empty: any."""
    max_start_jump: list[float] = Field(default_factory=list)
    """Largest change from the action before the plan (the last committed one, or the last of the history) to the first
    one that is planned; empty: any. The smaller of this and `max_delta` holds."""


class KeepOut(Wire):
    """Latents to stay away from. A step costs (1 - distance / radius) squared within the radius; the mean counts."""

    embeddings: list[Embedding] = Field(min_length=1)
    """The nearest counts."""
    radius: Annotated[float, Field(gt=0, le=1e3)]
    """In the unit of `goal_distance`: 1 is that of unrelated frames."""
    weight: Weight = 1.0


class Cost(Wire):
    """What a plan is judged by. The goal's cost is the learned steps to go plus ten times the latent distance plus,
    of a model that learned what its task is about, three times the task distance."""

    distance: Literal["squared", "absolute"] = "squared"
    """Between latents: squared L2, or L1, which one token far off does not dominate."""
    over: Literal["mean", "last", "closest"] = "mean"
    """Imagined steps that count. `closest` lets a robot pass through its goal; the others ask it to be there."""
    smoothness: Weight = 0.0
    """Weight of the mean squared change from one control step to the next, of unitless actions: 0 to 4."""
    effort: Weight = 0.0
    """Weight of the mean square of the unitless actions: 0 to 1."""
    keep_out: list[KeepOut] = Field(default_factory=list)


class ClockOffset(Wire):
    """What `/v1/time` told: ((received - sent by the robot) + (sent - received by the robot)) / 2."""

    clock_id: Name
    """A restarted server has another one, and the offset is void."""
    offset_us: Microseconds
    """Server clock minus robot clock."""


class Request(Wire):
    request_id: Identifier | None = None
    """Comes back in the response."""
    model: ModelRef


class PlanRequest(Request):
    session_id: Identifier | None = None
    session_epoch: Counter | None = None
    """Of the session as it was made or last reset: refused when it was reset since."""
    context: list[Observation] = Field(min_length=1)
    """Oldest first, one model step apart; the last is now."""
    action_history: list[ArrayIn] = Field(default_factory=list)
    """Executed between the frames: each [control_steps, actions], physical units."""
    goals: list[Goal] = Field(min_length=1)
    """In order; the active one is planned for."""
    active_goal: Index | None = None
    """Goals before it are reached. Left out: as the session knows, else the first."""
    planner: PlannerConfig = PlannerConfig()
    cost: Cost = Cost()
    planning_budget_ms: Count | None = None
    """From arrival to reply; the best plan so far is returned then."""
    require_complete: bool = False
    """No plan rather than one cut off by its deadline, or the rest of the last one."""
    inference_delay_steps: Index | None = None
    """Control steps that the robot runs until the plan is there: those of `committed_actions`, or of the session's last
    plan. The chunk begins after them."""
    committed_actions: ArrayIn | None = None
    """The plan's first control steps, which the robot runs anyway: [steps, actions], physical units."""
    warm_start: bool | None = None
    """Left out: start from the session's last plan when it has one; true: refuse when it has none."""
    max_observation_age_ms: Count | None = None
    """The oldest that any reading of the last frame may be; wants its `capture_time_us`, and `clock_offset`."""
    clock_offset: ClockOffset | None = None
    limits: ActionLimits | None = None
    hold_on_surprise: bool | None = None
    """No plan (`surprise-hold`) when the last transition of the context is more surprising than the calibrated
    threshold. Left out: as the session says, else false."""
    include: list[Literal["costs", "latents"]] = Field(default_factory=list)


class AnomalyRequest(Request):
    observations: list[Observation] = Field(min_length=2)
    """One model step apart."""
    actions: list[ArrayIn] = Field(min_length=1)
    """Executed between them: each [control_steps, actions], physical units."""


class EncodeRequest(Request):
    observations: list[Observation] = Field(min_length=1)
