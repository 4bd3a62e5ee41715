"""Measures how many plans a second a server answers in time, the overhead of a request, and overload.

Server and load generator are separate processes, each on its own core if the machine has two.
"""

import asyncio
import base64
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from server.benchmark.instant_engine import NAME as INSTANT
from server.benchmark.load import OK, REFUSED, GrpcTarget, HttpTarget, LoadTarget, Sample, offer, summary
from server.benchmark.served import Served, served
from server.benchmark.targets import Row, judge
from telos.http_planner import HttpPlanner
from telos.replies import SensorInfo
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message

Transport = Literal["http", "grpc"]

HELD = 0.98
"""Share of a load that a server must answer in time to keep up with it."""
BUDGET_OF_DEADLINE = 0.8
"""Share of a robot's deadline that is the planning budget; the rest is for the transport."""
OVERLOAD = 3
OVERHEAD_RATE = 200
OVERHEAD_P50_MS: dict[Transport, float] = {"http": 5.0, "grpc": 3.0}
OVERHEAD_P99_MS: dict[Transport, float] = {"http": 60.0, "grpc": 25.0}
RECOVERY_S = 5.0
BODIES = 8


@dataclass(frozen=True, kw_only=True)
class ServiceBenchmark:
    """One measurement. A plan occupies a simulated device for `plan_ms`; None measures a real model."""

    plan_ms: float | None = 0.0
    model: str = INSTANT
    preset: str = "fast"
    checkpoints: Path = Path("checkpoints")
    transports: tuple[Transport, ...] = ("http", "grpc")
    rates: tuple[float, ...] = (50, 100, 200, 400)
    seconds: float = 30.0
    warm_up_s: float = 3.0
    deadline_ms: float = 150.0
    image_side_px: int = 224
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rates or min(self.rates) <= 0 or sorted(self.rates) != list(self.rates):
            raise ValueError(f"rates are {list(self.rates)}; wanted requests per second, each more than the one before")
        if self.seconds <= 0 or self.warm_up_s < 0 or self.deadline_ms <= 0:
            raise ValueError("seconds and deadline must be more than 0, the warm-up not less")
        if (self.plan_ms is None) == (self.model == INSTANT):
            raise ValueError("give a model and the cost `model`, or a cost and no model")


def benchmark(config: ServiceBenchmark, say: Callable[[str], None]) -> dict[str, Any]:
    """The result as JSON data; `tests` compares the figures with their targets.

    Raises TelosError when the server has no such model.
    """
    result: dict[str, Any] = {"config": asdict(config) | {"checkpoints": str(config.checkpoints)}, "transports": {}}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, own_core() as (server_core, generator_core):
        result["cores"] = {"server": server_core, "generator": generator_core}
        for transport in config.transports:
            say(f"starting a server for {transport}")
            with start(config, Path(folder) / "log", server_core) as server:
                bodies = plan_bodies(config, sensors_of(config.model, server), transport)
                measured = asyncio.run(_measure(config, server, transport, bodies, say))
            result["transports"][transport] = measured
            rows += overhead_rows(transport, measured) if config.plan_ms == 0 else overload_rows(transport, measured)
    return result | {"tests": [asdict(row) for row in rows]}


def start(config: ServiceBenchmark, log: Path, core: int | None) -> AbstractContextManager[Served]:
    if config.plan_ms is not None:
        return served("server.benchmark.instant_server", [str(config.plan_ms / 1e3)], log=log, core=core)
    serve = ["serve", "--checkpoints", str(config.checkpoints), "--http-port", "0", "--grpc-port", "0"]
    return served("server.cli", serve, log=log, core=core)


@contextmanager
def own_core() -> Iterator[tuple[int | None, int | None]]:
    """A core for the server while this process stays on another until the block ends; None on a single core."""
    before = os.sched_getaffinity(0)
    first, *others = sorted(before)
    if not others:
        yield None, None
        return
    os.sched_setaffinity(0, {others[-1]})
    try:
        yield first, others[-1]
    finally:
        os.sched_setaffinity(0, before)


async def _measure(
    config: ServiceBenchmark, server: Served, transport: Transport, bodies: list[bytes], say: Callable[[str], None]
) -> dict[str, Any]:
    target = HttpTarget(server.http_port, "/v1/plan") if transport == "http" else GrpcTarget(server.grpc_port, "Plan")
    steps: list[dict[str, Any]] = []
    for rate in config.rates:
        steps.append(await _step(config, target, bodies, rate))
        say(f"{transport} {rate:g}/s: {steps[-1]['goodput_per_s']:g}/s in time, {steps[-1]['accepted_ms']}")
        if not steps[-1]["held"]:
            break
    knee = max((step for step in steps if step["held"]), key=lambda step: step["rate_per_s"], default=None)
    result = {"request_bytes": len(bodies[0]), "steps": steps, "knee_per_s": knee and knee["rate_per_s"]}
    if config.plan_ms != 0 and knee is not None:
        result["overload"] = await _overload(config, target, bodies, knee)
        say(f"{transport} overload: {result['overload']}")
    await target.close()
    return result


async def _step(config: ServiceBenchmark, target: LoadTarget, bodies: list[bytes], rate: float) -> dict[str, Any]:
    samples = await offer(target, bodies, rate, config.warm_up_s + config.seconds, config.seed)
    counted = [sample for sample in samples if sample.due_s >= config.warm_up_s]
    measured = summary(counted, config.seconds, config.deadline_ms / 1e3)
    in_time = measured["goodput_per_s"] * config.seconds
    return {"rate_per_s": rate, "held": bool(counted) and in_time >= HELD * len(counted), **measured}


async def _overload(
    config: ServiceBenchmark, target: LoadTarget, bodies: list[bytes], knee: dict[str, Any]
) -> dict[str, Any]:
    """Send three times the load that the server keeps up with, and then at once half of that load."""
    rate, seconds = OVERLOAD * knee["rate_per_s"], 2 * config.seconds
    storm = asyncio.create_task(offer(target, bodies, rate, seconds, config.seed + 1))
    await asyncio.sleep(seconds)
    after = await offer(target, bodies, knee["rate_per_s"] / 2, RECOVERY_S, config.seed + 2)
    counted = [sample for sample in await storm if sample.due_s >= config.warm_up_s]
    measured = summary(counted, seconds - config.warm_up_s, config.deadline_ms / 1e3)
    return {
        "rate_per_s": rate,
        "deadline_ms": config.deadline_ms,
        "of_knee": round(measured["goodput_per_s"] / knee["goodput_per_s"], 3),
        "recovery_s": recovery_s(after, config.deadline_ms / 1e3),
        **measured,
    }


def recovery_s(samples: list[Sample], deadline_s: float) -> float:
    """Seconds from the return to a normal load until all requests are answered in time again."""
    late = [s.due_s + s.latency_s for s in samples if s.outcome not in OK or s.latency_s > deadline_s]
    return round(max(late, default=0.0), 3)


def overhead_rows(transport: Transport, measured: dict[str, Any]) -> list[Row]:
    """Rows of the rate that has targets, if that rate was measured."""
    step = next((step for step in measured["steps"] if step["rate_per_s"] == OVERHEAD_RATE), None)
    if step is None:
        return []
    name = f"{transport} at {OVERHEAD_RATE}/s with a planner that costs nothing"
    p50, p99 = (step["accepted_ms"].get(key, float("nan")) for key in ("p50", "p99"))
    return [
        judge(6, f"{name}: p50", p50, at_most=OVERHEAD_P50_MS[transport], unit="ms"),
        judge(6, f"{name}: p99", p99, at_most=OVERHEAD_P99_MS[transport], unit="ms"),
    ]


def overload_rows(transport: Transport, measured: dict[str, Any]) -> list[Row]:
    """Rows of the overload; a single failed row when the server kept up with no load at all."""
    overload = measured.get("overload")
    if overload is None:
        return [judge(7, f"{transport}: loads that the server keeps up with", 0, at_least=1)]
    name = f"{transport} at {OVERLOAD} times the most that it keeps up with"
    refused_p99, accepted_p99 = (overload[key].get("p99", float("nan")) for key in ("refused_ms", "accepted_ms"))
    broken = sum(count for outcome, count in overload["outcomes"].items() if outcome not in OK | REFUSED)
    return [
        judge(7, f"{name}: goodput, share of that", overload["of_knee"], at_least=0.9),
        judge(7, f"{name}: refused within, p99", refused_p99, at_most=10.0, unit="ms"),
        judge(7, f"{name}: accepted within, p99", accepted_p99, at_most=overload["deadline_ms"], unit="ms"),
        judge(7, f"{name}: neither planned nor refused", broken, at_most=0),
        judge(7, f"{transport} afterwards: in time again after", overload["recovery_s"], at_most=2.0, unit="s"),
    ]


def sensors_of(model: str, server: Served) -> tuple[SensorInfo, ...]:
    """Sensors that an observation for the model must have. Raises TelosError."""
    token = os.environ.get("TELOS_TOKEN") or None  # the server reads the same variable
    with HttpPlanner(f"http://127.0.0.1:{server.http_port}", token=token) as planner:
        return planner.model(model).sensors


def plan_bodies(config: ServiceBenchmark, sensors: Sequence[SensorInfo], transport: Transport) -> list[bytes]:
    """Requests as bytes, each with its own frame and goal."""
    return [plan_body(config, sensors, seed, transport) for seed in range(BODIES)]


def plan_body(config: ServiceBenchmark, sensors: Sequence[SensorInfo], seed: int, transport: Transport) -> bytes:
    """One request: a frame and a goal that differ with `seed`."""
    payload = {
        "model": {"name": config.model},
        "context": [observation(sensors, seed, config.image_side_px)],
        "goals": [{"observation": observation(sensors, seed + BODIES, config.image_side_px)}],
        "planning_budget_ms": round(BUDGET_OF_DEADLINE * config.deadline_ms),
        **({"planner": {"preset": config.preset, "seed": seed}} if config.plan_ms is None else {}),
    }
    if transport == "grpc":
        return to_message(pb.PlanRequest, payload).SerializeToString()
    return json.dumps(payload, default=_as_json).encode()


def observation(sensors: Sequence[SensorInfo], seed: int, side_px: int) -> dict[str, Any]:
    """A JPEG for each camera, and for each vector the middle of its range."""
    cameras, vectors = ([each for each in sensors if (each.kind == "camera") == wanted] for wanted in (True, False))
    return {
        "images": {camera.name: jpeg(seed, side_px) for camera in cameras},
        "arrays": {vector.name: (np.asarray(vector.low) + np.asarray(vector.high)) / 2 for vector in vectors},
    }


def _as_json(value: bytes | np.ndarray) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value.tolist()


def jpeg(seed: int, side_px: int) -> dict[str, Any]:
    """Image of blobs, with about as many bytes as a camera image of that size."""
    coarse = np.random.default_rng(seed).integers(0, 256, (side_px // 8, side_px // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC).save(file, "jpeg", quality=90)
    return {"encoded": file.getvalue(), "format": "jpeg"}
