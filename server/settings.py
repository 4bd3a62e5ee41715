"""Deployment: what an operator decides, from `TELOS_*` environment variables and arguments."""

import dataclasses
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

_PREFIX = "TELOS_"
Precision = Literal["float32", "bfloat16", "auto"]


class SettingsError(ValueError):
    """A setting cannot be used; the message says which, what was given, and what is wanted."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where to listen, what to serve, and how much one request may ask for."""

    checkpoints: Path = Path("checkpoints")
    """Folder with one checkpoint folder for each model."""
    device: str = "cpu"
    precision: Precision = "float32"
    """Of imagining. auto: the faster that stays close, as measured when a model is loaded."""
    host: str = "127.0.0.1"
    http_port: int = 8600
    grpc_port: int = 8601
    """Port 0 takes a free one."""
    allow_remote: bool = False
    """Listen to other machines than this one; wants a token."""
    token: str = field(default="", repr=False)
    """What clients must send as `Authorization: Bearer`, when not empty."""

    max_body_bytes: int = 16 * 2**20
    max_image_bytes: int = 4 * 2**20
    max_image_pixels: int = 8_300_000
    min_image_side_px: int = 16
    max_image_side_px: int = 4096
    max_clip_frames: int = 64
    max_samples: int = 4096
    max_iterations: int = 100
    max_horizon: int = 64
    max_goals: int = 16
    max_keep_out: int = 16
    """Embeddings to keep out of, in one request."""
    max_imagined_steps: int = 2_000_000
    """Samples x iterations x horizon of one plan."""
    max_planning_budget_ms: int = 60_000
    max_in_flight: int = 64
    """Requests decoded, queued or planned at one time; the next is refused at once."""
    max_batch_candidates: int = 1024
    """Imagined together at one time, of as many robots as that makes. Two CPU cores gain nothing beyond; a GPU does."""
    max_connections: int = 256
    max_sessions: int = 1024
    session_ttl_s: float = 60.0
    latent_cache_frames: int = 256
    """For each model."""
    decode_threads: int = 2
    receive_timeout_s: float = 10.0
    """For the whole body of one request."""
    shutdown_grace_s: float = 5.0

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise SettingsError(f"precision={self.precision!r} is not known; wanted float32, bfloat16 or auto")
        for name in ("http_port", "grpc_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise SettingsError(f"{name}={getattr(self, name)} is no port; wanted 0..65535")
        for f in dataclasses.fields(self):
            if f.name.startswith(("max_", "min_")) or f.name in ("decode_threads", "latent_cache_frames"):
                if getattr(self, f.name) < 1:
                    raise SettingsError(f"{f.name}={getattr(self, f.name)}; wanted at least 1")
        if self.token and (not self.token.isascii() or not self.token.isprintable() or " " in self.token):
            raise SettingsError("token must be printable ASCII without spaces, to fit into a header")
        if not is_loopback(self.host) and not (self.allow_remote and self.token):
            raise SettingsError(
                f"host={self.host} is reachable from other machines: set allow_remote and a token, or keep 127.0.0.1"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **given: Any) -> "Settings":
        """Defaults, then `TELOS_<NAME>`, then what is given and not None. Raises SettingsError."""
        values: dict[str, Any] = {}
        for f in dataclasses.fields(cls):
            if (text := environment.get(_PREFIX + f.name.upper())) is not None:
                values[f.name] = _parse(f.name, text, type(f.default))
        return cls(**values | {name: value for name, value in given.items() if value is not None})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than localhost counts as reachable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() not in ("0", "1", "false", "true"):
            raise SettingsError(f"{_PREFIX}{name.upper()} is {text!r}; wanted true or false")
        return text.lower() in ("1", "true")
    try:
        return Path(text) if issubclass(kind, Path) else kind(text)
    except ValueError as error:
        raise SettingsError(f"{_PREFIX}{name.upper()} is {text!r}; wanted {kind.__name__}") from error
