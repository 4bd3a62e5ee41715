"""Parts of a reply: its timing, its safety report and its provenance."""

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
    """Time by which the answer exceeded its planning budget."""


@dataclass(frozen=True, kw_only=True)
class Safety:
    """A plan's actions in relation to their limits."""

    saturated_fraction: float
    """Share of action values that lie on a limit."""
    max_step_delta: tuple[float, ...]
    """Largest change from one control step to the next, one entry for each action."""
    within_limits: bool
    start_jump: tuple[float, ...] = ()
    """Change from the action before the plan to its first one, one entry for each action; empty when unknown."""


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
    """Identity of the model and the server that produced an answer."""

    model_name: str
    model_version: str
    weights_sha256: str
    manifest_sha256: str
    server_version: str
    device: str
    dtype: str
