"""Runs a demo: server, episodes, files."""

import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from tqdm import tqdm

from server.demo.animation import animation
from server.demo.errors import DemoError
from server.demo.page import page
from server.demo.report import task_summary
from server.demo.server_process import running_server
from server.demo.tasks import DemoTask, record_task, simulated_models
from server.evaluation.protocols import Protocol
from server.provenance import provenance
from telos.errors import TelosError
from telos.planner import Planner


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    checkpoints: Path
    out: Path
    episodes: int
    seed: int
    protocol: Protocol
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes={self.episodes}; give at least 1")
        if self.protocol.varied:
            raise ValueError(f"protocol {self.protocol.name} is for telos evaluate; a demo shows the nominal world")


def run_demo(config: DemoConfig) -> dict[str, Any]:
    """Write every file of the demo and return the data of summary.json. Raises DemoError, CheckpointError."""
    began = time.monotonic()
    names, skipped = simulated_models(config.checkpoints)
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        tasks = _record(config, names)
        summary = {
            **provenance(),
            "protocol": config.protocol.name,
            "offset_steps": config.protocol.offset_steps,
            "budget_steps": config.protocol.budget_steps,
            "episodes": config.episodes,
            "seed": config.seed,
            "transport": "HTTP, POST /v1/plan, server in another process of this machine",
            "wall_s": round(time.monotonic() - began, 1),
            "models_without_simulated_task": skipped,
            "tasks": [task_summary(task) for task in tasks],
        }
        _write(config.out, summary, tasks)
    except OSError as error:
        raise DemoError(f"{config.out} cannot be written: {error}") from error
    except (TelosError, ValueError) as error:
        raise DemoError(str(error)) from error
    return summary


def _record(config: DemoConfig, names: list[str]) -> list[DemoTask]:
    console = Console(stderr=True, quiet=config.quiet)
    starting = f"starting a server with {', '.join(names)}"
    if not console.is_terminal:
        console.print(starting, markup=False, highlight=False)
    with console.status(starting) as status:
        with running_server(config.checkpoints, config.out / "server.log") as planner:
            status.stop()
            return [_record_one(planner, name, config) for name in names]


def _record_one(planner: Planner, name: str, config: DemoConfig) -> DemoTask:
    with tqdm(total=config.episodes, desc=name, unit="episode", disable=config.quiet, file=sys.stderr) as bar:
        successes = 0

        def on_episode(success: bool) -> None:
            nonlocal successes
            successes += success
            bar.set_postfix(success=successes, refresh=False)
            bar.update()

        return record_task(planner, planner.model(name), config.protocol, config.episodes, config.seed, on_episode)


def _write(out: Path, summary: dict[str, Any], tasks: list[DemoTask]) -> None:
    (out / "summary.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (out / "index.html").write_text(page(summary, tasks), encoding="utf-8")
    for task in tasks:
        (out / f"{file_stem(task.model.name)}.webp").write_bytes(animation(task))


def file_stem(model: str) -> str:
    """File name for a model, without path separators."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).lstrip(".") or "model"
