"""Does every robot get its answer in time, and what do robots gain by sharing a model? One run, one machine.

    python benchmarks/deadlines.py --model tworoom-lewm --out benchmarks/results/deadlines.json

Three questions, asked of the service in this process, images and all, without a network:

- storm: 200 requests at the same time, each with a planning budget of 20 to 500 ms. Late is what comes back more than
  10 ms after its budget was over, answer or refusal; `refusal_ms` is how long a refusal took.
- throughput: robots that ask again as soon as they are answered, 1, 4 and 16 of them, every frame a new one.
- parity: 16 requests one by one and then at the same time: how far rounding moves their plans.
"""

import argparse
import asyncio
import io
import json
import shlex
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from server import schemas
from server.engine.local import LocalEngine
from server.engine.registry import Registry
from server.errors import Code, ServiceError
from server.process import freeze_garbage
from server.provenance import provenance
from server.service import Service
from server.settings import Settings
from worldmodel import Manifest

REQUESTS = 200
BUDGETS_MS = (20, 500)
TOLERATED_MS = 10.0
ROBOTS = (1, 4, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--storms", type=int, default=5)
    parser.add_argument("--plans", type=int, default=96, help="for each number of robots (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    settings = Settings(checkpoints=arguments.checkpoints, device=arguments.device, max_in_flight=2 * REQUESTS)
    engine = LocalEngine(Registry.load(settings), settings)
    bench = Bench(Service(engine, settings), engine.registry.models[arguments.model].manifest, arguments.preset)
    asyncio.run(engine.start())
    freeze_garbage()  # as the processes of a server do
    result = {
        **provenance(),
        "command": shlex.join(["python", *sys.argv]),
        "model": arguments.model,
        "preset": arguments.preset,
        "device": arguments.device,
        "torch_threads": torch.get_num_threads(),
        "throughput": {str(robots): bench.throughput(robots, arguments.plans) for robots in ROBOTS},
        "storms": [bench.storm(number) for number in range(arguments.storms)],
        "parity": bench.parity(),
    }
    asyncio.run(engine.stop())
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))  # noqa: T201 - this is what the command is for


class Bench:
    def __init__(self, service: Service, manifest: Manifest, preset: str) -> None:
        self._service = service
        self._manifest = manifest
        self._preset = preset
        self._rng = np.random.default_rng(0)

    def storm(self, number: int) -> dict[str, Any]:
        budgets = np.random.default_rng(number).integers(*BUDGETS_MS, REQUESTS).tolist()
        requests = [self._request(seed, budget_ms) for seed, budget_ms in enumerate(budgets)]
        answers = self._gather([self._timed(request) for request in requests])
        over_ms = [took_ms - budget_ms for (_, took_ms), budget_ms in zip(answers, budgets, strict=True)]
        plans = [answer for answer, _ in answers if isinstance(answer, schemas.PlanResponse)]
        refusal_ms = [took_ms for answer, took_ms in answers if isinstance(answer, ServiceError)]
        codes = {answer.code for answer, _ in answers if isinstance(answer, ServiceError)}
        assert codes <= {Code.DEADLINE_INFEASIBLE}, codes
        silent = [
            over
            for (answer, _), over in zip(answers, over_ms, strict=True)
            if over > TOLERATED_MS and isinstance(answer, schemas.PlanResponse) and not answer.timing.late_us
        ]
        return {
            "requests": REQUESTS,
            "planned": len(plans),
            "refused": len(refusal_ms),
            "in_time": float(np.mean([over <= TOLERATED_MS for over in over_ms])),
            "after_deadline_ms": _quantiles(over_ms),
            "refusal_ms": _quantiles(refusal_ms),
            "late_without_saying_so": len(silent),
            "iterations": _quantiles([plan.iterations_completed for plan in plans]),
            "worse_than_first_incumbent": sum(_cost(plan) > plan.costs[0] for plan in plans),
        }

    def throughput(self, robots: int, plans: int) -> dict[str, Any]:
        requests = [self._request(seed) for seed in range(plans)]
        took_ms: list[float] = []

        async def robot(number: int) -> None:
            for request in requests[number::robots]:
                took_ms.append((await self._timed(request))[1])

        started = time.monotonic()
        self._gather([robot(number) for number in range(robots)])
        return {"plans_per_second": plans / (time.monotonic() - started), "latency_ms": _quantiles(took_ms)}

    def parity(self) -> dict[str, float]:
        requests = [self._request(seed) for seed in range(16)]
        alone = [self._gather([self._service.plan(request)])[0] for request in requests]
        together = self._gather([self._service.plan(request) for request in requests])
        pairs = list(zip(alone, together, strict=True))
        return {
            "largest_relative_cost_difference": max(abs(_cost(a) - _cost(b)) / abs(_cost(a)) for a, b in pairs),
            "largest_action_difference": max(float(np.abs(a.chunk.actions - b.chunk.actions).max()) for a, b in pairs),
        }

    async def _timed(self, request: schemas.PlanRequest) -> tuple[schemas.PlanResponse | ServiceError, float]:
        started = time.monotonic()
        try:
            answer = await self._service.plan(request)
        except ServiceError as error:
            answer = error
        return answer, (time.monotonic() - started) * 1e3

    def _request(self, seed: int, budget_ms: int | None = None) -> schemas.PlanRequest:
        """A request with two frames and a goal that were not seen before."""
        context = [self._observation(), self._observation()]
        action = self._manifest.action
        assert action is not None  # a model that only encodes was refused when the first request was made
        return schemas.PlanRequest(
            model=schemas.ModelRef(name=self._manifest.name),
            context=context,
            action_history=[np.zeros((action.control_steps, len(action.names)))],
            goals=[schemas.Goal(observation=self._observation())],
            planner=schemas.PlannerConfig(preset=self._preset, seed=seed),
            planning_budget_ms=budget_ms,
            include=["costs"],
        )

    def _observation(self) -> schemas.Observation:
        images = {spec.name: self._image(spec.shape) for spec in self._manifest.sensors if spec.kind == "camera"}
        vectors = [spec for spec in self._manifest.sensors if spec.kind == "vector"]
        arrays = {spec.name: self._rng.uniform(spec.low, spec.high) for spec in vectors}
        return schemas.Observation(images=images, arrays=arrays)

    def _image(self, shape: tuple[int, ...]) -> schemas.Image:
        file = io.BytesIO()
        Image.fromarray(self._rng.integers(0, 256, shape, dtype=np.uint8)).save(file, format="png")
        return schemas.Image(encoded=file.getvalue(), format="png")

    def _gather(self, works: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
        async def together() -> list[Any]:
            tasks = []
            for work in works:
                tasks.append(asyncio.create_task(work))
                await asyncio.sleep(0)  # a socket gives one request at a time: what is due goes on in between
            return await asyncio.gather(*tasks)

        return asyncio.run(together())


def _cost(plan: schemas.PlanResponse) -> float:
    assert plan.predicted_cost is not None  # a search was asked for
    return plan.predicted_cost


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    names = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(values, share)), 2) for name, share in names.items()} if values else {}


if __name__ == "__main__":
    main()
