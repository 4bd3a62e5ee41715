"""Does a server stay as it is when it is used for long? Half an hour of everything that clients do, good and bad.

    python -m benchmarks.soak --out benchmarks/results/soak.json

Of all requests 80 % are plans, 10 % clips to score, 5 % plans whose client leaves before the answer, 5 % hostile: half
over HTTP, half over gRPC, at Poisson times. Memory, file descriptors and threads of front and engine, and the latency
of plans, are noted all the while. The first fifth is warm-up, at three times the rate: as many requests as later come
together by chance, and as many connections as their clients then keep, were there before. Writes a curve beside the
JSON.
"""

import argparse
import asyncio
import base64
import functools
import json
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.reliability import table
from server.benchmark.load import OK, REFUSED, GrpcTarget, HttpTarget, LoadTarget
from server.benchmark.served import Served, served
from server.benchmark.service import jpeg
from server.benchmark.targets import Row, judge
from server.process import freeze_garbage
from server.provenance import provenance
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message

MIX = {"plan": 0.80, "anomaly": 0.10, "cancel": 0.05, "hostile": 0.05}
WARM_UP, WARM_UP_RATE = 0.2, 3
SAMPLE_S = 5.0
CANCEL_S = (0.0, 0.02)
Ask = Callable[[], Awaitable[str]]
"""One request; the status of the answer."""

PROCESSES = ("front", "engine")


@dataclass
class Log:
    """Events with their times."""

    latencies: list[tuple[float, float]] = field(default_factory=list)
    """Time and duration of each plan, in seconds."""
    outcomes: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=10.0, help="requests per second (default %(default)s)")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument("--model", default="tworoom-lewm")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    record = provenance()  # of the tree as it begins, not as it is half an hour later
    arguments = ["serve", "--checkpoints", str(given.checkpoints), "--http-port", "0", "--grpc-port", "0"]
    with tempfile.TemporaryDirectory() as folder, served("server.cli", arguments, log=Path(folder) / "log") as server:
        log = asyncio.run(soak(server, given.model, given.rate, 60 * given.minutes))
    result = {
        **record,
        "command": shlex.join(["python", *sys.argv]),
        **{"minutes": given.minutes, "rate_per_s": given.rate, "model": given.model, "mix": MIX},
        "outcomes": dict(log.outcomes.most_common()),
        "tests": [asdict(row) for row in rows(log, 60 * given.minutes)],
        "samples": log.samples,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(log, given.out.with_suffix(".png"))
    sys.stdout.write(table(result["tests"]))
    return 0 if all(row["passed"] for row in result["tests"]) else 1


async def soak(server: Served, model: str, rate: float, seconds: float) -> Log:
    """Ask, and watch, for `seconds`."""
    freeze_garbage()  # a full collection of this process would count as the server's latency
    log, began = Log(), time.monotonic()
    kinds = work(server, model)
    dice = np.random.default_rng(0)
    running: set[asyncio.Task[None]] = set()
    watching = asyncio.create_task(watch(server, log, began))
    due = 0.0
    while due < seconds:
        due += dice.exponential(1 / (rate * WARM_UP_RATE if due < WARM_UP * seconds else rate))
        await asyncio.sleep(began + due - time.monotonic())
        kind = str(dice.choice(list(MIX), p=list(MIX.values())))
        choices = kinds[kind]
        task = asyncio.create_task(one(kind, choices[dice.integers(len(choices))], log, began))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    watching.cancel()
    return log


async def one(kind: str, ask: Ask, log: Log, began: float) -> None:
    """One request, whatever becomes of it."""
    asked = time.monotonic()
    try:
        outcome = await ask()
    except (OSError, asyncio.IncompleteReadError) as error:  # TimeoutError is an OSError
        outcome = type(error).__name__
    log.outcomes[f"{kind} {outcome}"] += 1
    if kind == "plan" and outcome in OK:
        log.latencies.append((asked - began, time.monotonic() - asked))


def work(server: Served, model: str) -> dict[str, list[Ask]]:
    """Ways to do each kind of request."""
    frames = [{"images": {"top": jpeg(seed, 64)}} for seed in range(3)]
    small = {"num_samples": 16, "num_elites": 4, "max_iterations": 2, "seed": 7}
    plan = {"model": {"name": model}, "context": frames[:1], "goals": [{"observation": frames[1]}], "planner": small}
    long = plan | {"planner": {"num_samples": 512, "num_elites": 16, "max_iterations": 50}}
    clip = {"model": {"name": model}, "observations": frames, "actions": [np.zeros((5, 2))] * 2}
    plan_ways = targets(server, "plan", "Plan")
    clip_ways = targets(server, "anomaly", "ScoreAnomaly")
    bad = [b"{", b'{"model": NaN}', b"\\xff" * 1000, json_body(plan | {"planner": {"seed": -1}})]
    hostile: list[Ask] = [functools.partial(way.ask, body) for way in plan_ways.values() for body in bad]
    hostile += [functools.partial(noise, port) for port in (server.http_port, server.grpc_port)]
    return {
        "plan": [asking(plan_ways, plan, pb.PlanRequest, way) for way in plan_ways],
        "anomaly": [asking(clip_ways, clip, pb.AnomalyRequest, way) for way in clip_ways],
        "cancel": [leaving(asking(plan_ways, long, pb.PlanRequest, way)) for way in plan_ways],
        "hostile": hostile,
    }


def targets(server: Served, path: str, method: str) -> dict[str, LoadTarget]:
    return {"http": HttpTarget(server.http_port, f"/v1/{path}"), "grpc": GrpcTarget(server.grpc_port, method)}


def asking(ways: dict[str, LoadTarget], payload: dict[str, Any], kind: Any, way: str) -> Ask:
    body = json_body(payload) if way == "http" else to_message(kind, payload).SerializeToString()
    return lambda: asyncio.wait_for(ways[way].ask(body), 30)


def json_body(payload: dict[str, Any]) -> bytes:
    def plain(value: Any) -> Any:
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value.tolist()

    return json.dumps(payload, default=plain).encode()


def leaving(ask: Ask) -> Ask:
    """The same, but the client is gone after an instant."""
    dice = np.random.default_rng(1)

    async def leave() -> str:
        try:
            return await asyncio.wait_for(ask(), dice.uniform(*CANCEL_S))
        except TimeoutError:
            return "left"

    return leave


async def noise(port: int) -> str:
    """Bytes that are no request, and then nobody."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(np.random.default_rng(time.monotonic_ns()).bytes(2000))
    try:
        await asyncio.wait_for(reader.read(1000), 0.2)
    except TimeoutError:
        pass
    finally:
        writer.transport.abort()
    return "sent"


async def watch(server: Served, log: Log, began: float) -> None:
    """A sample every few seconds, until it is cancelled."""
    front = psutil.Process(server.pid)
    while True:
        await asyncio.sleep(SAMPLE_S)
        now = time.monotonic() - began
        recent = [latency for at, latency in log.latencies if at > now - SAMPLE_S]
        (engine,) = front.children()
        sample: dict[str, Any] = {"at_s": round(now, 1), "p99_ms": percentile_ms(recent, 99)}
        for name, process in zip(PROCESSES, (front, engine), strict=True):
            with process.oneshot():
                memory = round(process.memory_info().rss / 2**20, 2)
                sample |= {f"{name}_rss_mib": memory, f"{name}_fds": process.num_fds()}
                sample[f"{name}_threads"] = process.num_threads()
        sample["engine_pid"] = engine.pid
        log.samples.append(sample)


def rows(log: Log, seconds: float) -> list[Row]:
    """After the warm-up: growth of each process, and the second half of plans against the first."""
    steady = [sample for sample in log.samples if sample["at_s"] >= WARM_UP * seconds]
    hours = np.array([sample["at_s"] for sample in steady]) / 3600
    found = []
    for name in PROCESSES:
        slope = np.polyfit(hours, [sample[f"{name}_rss_mib"] for sample in steady], 1)[0] if len(steady) > 1 else np.nan
        found.append(judge(21, f"{name}: memory grows by", float(slope), at_most=1.0, unit="MiB/h"))
        for what in ("fds", "threads"):
            values = [sample[f"{name}_{what}"] for sample in steady]
            third = len(values) // 3 or 1
            more = min(values[-third:]) - min(values[:third]) if values else np.nan  # connections come and go
            found.append(judge(21, f"{name}: more {what} at the end", more, at_most=0))
    middle = (WARM_UP + 1) / 2 * seconds
    halves = [
        [latency for at, latency in log.latencies if low <= at < high]
        for low, high in ((WARM_UP * seconds, middle), (middle, seconds))
    ]
    first, second = (percentile_ms(half, 99) or np.nan for half in halves)
    found.append(judge(21, "p99 of plans, second half over first", second / first, at_most=1.1))
    answered = OK | REFUSED
    lost = sum(
        count
        for outcome, count in log.outcomes.items()
        if outcome.split()[0] in ("plan", "anomaly") and outcome.split()[1] not in answered
    )
    name = f"plans and clips neither answered nor refused, of {log.outcomes.total()} requests"
    found.append(judge(21, name, lost, at_most=0))
    restarts = len({sample["engine_pid"] for sample in log.samples}) - 1
    return [*found, judge(21, "restarts of the engine", restarts, at_most=0)]


def percentile_ms(seconds: Sequence[float], share: float) -> float | None:
    return round(1e3 * float(np.percentile(seconds, share)), 2) if seconds else None


def draw(log: Log, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    memory, counts, latency = figure.subplots(3, 1, sharex=True)
    minutes = [sample["at_s"] / 60 for sample in log.samples]
    for name in PROCESSES:
        memory.plot(minutes, [sample[f"{name}_rss_mib"] for sample in log.samples], label=name)
        for what, style in (("fds", "-"), ("threads", ":")):
            counts.plot(minutes, [sample[f"{name}_{what}"] for sample in log.samples], style, label=f"{name} {what}")
    latency.plot(minutes, [sample["p99_ms"] for sample in log.samples])
    memory.set(ylabel="memory (MiB)", ylim=(0, None))
    counts.set(ylabel="count", ylim=(0, None))
    latency.set(ylabel="p99 of plans (ms)", xlabel="minutes", ylim=(0, None))
    memory.legend()
    counts.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
