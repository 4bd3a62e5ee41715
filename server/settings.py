"""Settings of a deployment, from `TELOS_*` environment variables and arguments."""

import dataclasses
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

_PREFIX = "TELOS_"
_COUNTS = ("max_", "min_", "record_", "decode_threads", "latent_cache_frames")
_FRONT_ONLY = frozenset(
    {
        "host",
        "http_port",
        "grpc_port",
        "admin_port",
        "allow_remote",
        "token",
        "tls_certificate",
        "tls_key",
        "tls_client_ca",
        "record",
        "tracing",
    }
)
Precision = Literal["float32", "bfloat16", "auto"]
LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


class SettingsError(ValueError):
    """A setting cannot be used; the message names it, its value and what is wanted."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one server: where it listens, what it serves, and how much one request may ask for."""

    checkpoints: Path = Path("checkpoints")
    """Folder with a checkpoint folder for each model."""
    device: str = "cpu"
    precision: Precision = "float32"
    """Precision of the rollout. auto measures both when a model is loaded, and takes the faster accurate one."""
    host: str = "127.0.0.1"
    http_port: int = 8600
    grpc_port: int = 8601
    """Port for gRPC. Both this and `http_port` may be 0, which takes a free port."""
    admin_port: int = 0
    """Port for loading models and for metrics, always on 127.0.0.1; 0 opens none."""
    allow_remote: bool = False
    """Accept connections from other machines; needs a token or tls_client_ca."""
    token: str = field(default="", repr=False)
    """Token that clients must send as `Authorization: Bearer`; none when empty. Commas separate the tokens of several
    robots."""
    tls_certificate: Path | None = None
    """PEM file of the server's certificate. With `tls_key`, it turns on TLS for HTTP and gRPC."""
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    """PEM file of an authority: clients need a certificate that it signed."""

    max_header_bytes: int = 32 * 2**10
    """Request line and header fields of one HTTP request."""
    max_body_bytes: int = 16 * 2**20
    max_body_chunks: int = 16_384
    """Chunks of one HTTP request with chunked transfer coding."""
    max_buffered_bytes: int = 256 * 2**20
    """Bodies of all requests that are being received or answered."""
    max_image_bytes: int = 4 * 2**20
    max_image_pixels: int = 8_300_000
    max_request_pixels: int = 33_200_000
    """Pixels of all images of one request together, by their headers."""
    min_image_side_px: int = 16
    max_image_side_px: int = 4096
    max_clip_frames: int = 64
    max_samples: int = 4096
    max_iterations: int = 100
    max_horizon: int = 64
    max_goals: int = 16
    max_keep_out: int = 16
    """Embeddings to stay away from, in one request."""
    max_imagined_steps: int = 2_000_000
    """Samples x iterations x horizon of one plan."""
    max_planning_budget_ms: int = 60_000
    max_in_flight: int = 64
    """Requests decoded, queued or planned at one time; the next is refused at once."""
    max_batch_candidates: int = 1024
    """Candidates of all robots in one rollout. More gain nothing on two CPU cores, but do on a GPU."""
    max_connections: int = 256
    """HTTP connections, and gRPC calls, at one time."""
    max_share_per_client: float = 0.75
    """A client's share of requests in flight, buffered bytes and connections; the rest is kept for other clients."""
    max_requests_per_s_per_client: int = 1000
    max_sessions: int = 1024
    session_ttl_s: float = 60.0
    max_replays: int = 1024
    """Answers kept for requests that are sent again."""
    replay_ttl_s: float = 30.0
    latent_cache_frames: int = 256
    """Encoded frames that are kept for each model."""
    decode_threads: int = 2
    header_timeout_s: float = 5.0
    """Time for the header of one HTTP request, for the first bytes of a connection, and for handshakes."""
    receive_timeout_s: float = 8.0
    """Time for one whole request, from its first byte."""
    send_timeout_s: float = 4.0
    """Time for a client to read an answer, after which answer and connection are dropped."""
    idle_timeout_s: float = 5.0
    """Time after which an HTTP connection without a request is closed and a gRPC client without a call is pinged."""
    shutdown_grace_s: float = 5.0
    engine_heartbeat_timeout_s: float = 2.0
    """Silence after which an engine process is killed and started again."""
    engine_step_timeout_s: float = 30.0
    """Time for one iteration or one clip, after which the engine process is killed and started again."""
    engine_start_timeout_s: float = 120.0
    """Time for the first sign of a new engine process, after which it is killed and started again."""
    engine_memory_limit_mib: int = 0
    """Private memory of the engine process, on Linux; 0 sets no limit."""

    log_format: LogFormat = "console"
    log_level: LogLevel = "info"
    tracing: bool = False
    """Send spans to OpenTelemetry; needs the extra `otel`, which reads its own OTEL_* variables."""
    record: Path | None = None
    """Folder for recorded plans, as MCAP files; needs the extra `record`."""
    record_file_bytes: int = 256 * 2**20
    """Size of a recording's file after which the next one is begun."""
    record_folder_bytes: int = 4 * 2**30
    """Size of all recordings; the oldest are deleted to stay below."""
    record_waiting_bytes: int = 64 * 2**20
    """Readings that wait to be written; plans beyond are left out of the recording."""

    def __post_init__(self) -> None:
        for name, known in (("precision", Precision), ("log_format", LogFormat), ("log_level", LogLevel)):
            if getattr(self, name) not in get_args(known):
                wanted = ", ".join(get_args(known))
                raise SettingsError(f"{name}={getattr(self, name)!r} is not known; wanted one of {wanted}")
        for name in ("http_port", "grpc_port", "admin_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise SettingsError(f"{name}={getattr(self, name)} is not a port; wanted 0..65535")
        for f in dataclasses.fields(self):
            given = getattr(self, f.name)
            if isinstance(f.default, int) and f.name.startswith(_COUNTS) and not given >= 1:
                raise SettingsError(f"{f.name}={given}; wanted at least 1")
            if f.name.endswith("_timeout_s") and not given > 0:
                raise SettingsError(f"{f.name}={given}; wanted more than 0")
        if self.engine_memory_limit_mib < 0:
            raise SettingsError(f"engine_memory_limit_mib={self.engine_memory_limit_mib}; wanted 0 for none, or more")
        if not 0 < self.max_share_per_client <= 1:
            raise SettingsError(f"max_share_per_client={self.max_share_per_client}; wanted more than 0, at most 1")
        self._check_access()

    def _check_access(self) -> None:
        if any(not token or not token.isascii() or not token.isprintable() or " " in token for token in self.tokens):
            raise SettingsError("token must be printable ASCII without spaces; commas separate several tokens")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise SettingsError("tls_certificate and tls_key belong together; set both or neither")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise SettingsError("tls_client_ca needs tls_certificate and tls_key too, since it checks clients over TLS")
        if not is_loopback(self.host) and not (self.allow_remote and (self.token or self.tls_client_ca)):
            raise SettingsError(
                f"host={self.host} is reachable from other machines: set allow_remote and a token, or tls_client_ca; "
                "or keep 127.0.0.1"
            )

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens, any of which gives access; empty when none is needed."""
        return tuple(self.token.split(",")) if self.token else ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **given: Any) -> "Settings":
        """Take the defaults, then `TELOS_<NAME>`, then each of `given` that is not None. Raises SettingsError."""
        values: dict[str, Any] = {}
        for f in dataclasses.fields(cls):
            if (text := environment.get(_PREFIX + f.name.upper())) is not None:
                values[f.name] = _parse(f.name, text, Path if f.default is None else type(f.default))
        return cls(**values | {name: value for name, value in given.items() if value is not None})

    def checkpoint_folders(self) -> tuple[Path, ...]:
        """Every folder with a manifest, in order. Raises SettingsError when there is none."""
        found = tuple(sorted(path.parent for path in self.checkpoints.glob("*/manifest.json")))
        if not found:
            given = f"checkpoints={self.checkpoints}"
            raise SettingsError(f"{given} has no folder with a manifest.json; train a model, or give --checkpoints")
        return found

    def engine_environment(self) -> dict[str, str]:
        """Environment of the engine's process, without settings that only the front needs."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _FRONT_ONLY}
        return {_PREFIX + name.upper(): str(value) for name, value in values.items() if value is not None}


def is_loopback(host: str) -> bool:
    """True if only this machine can reach `host`. A name other than localhost counts as reachable."""
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
