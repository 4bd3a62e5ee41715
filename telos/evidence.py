"""What comes with an answer: where the time went, what is known of its safety, and what produced it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Where the server spent its time, in microseconds."""

    decode_us: int
    queue_us: int
    encode_us: int
    plan_us: int
    total_us: int
    late_us: int = 0
    """After the planning budget was over."""


@dataclass(frozen=True, kw_only=True)
class Safety:
    """How a plan's actions lie within their limits."""

    saturated_fraction: float
    """Share of action values that sit on a limit."""
    max_step_delta: tuple[float, ...]
    """Largest change from one control step to the next, one entry for each action."""
    within_limits: bool
    start_jump: tuple[float, ...] = ()
    """From the action before the plan to its first one, one entry for each action; empty when it is not known."""


@dataclass(frozen=True, kw_only=True)
class InputWarning:
    """Something unusual about a reading of the request. The plan was made all the same."""

    code: str
    """aspect-changed, or unlike-training; decide on it."""
    pointer: str
    """JSON pointer to the reading, such as /context/0/images/front or /goals/0/observation/images/front."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Enough to say later what produced an answer."""

    model_name: str
    model_version: str
    weights_sha256: str
    manifest_sha256: str
    server_version: str
    device: str
    dtype: str
