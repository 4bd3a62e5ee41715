"""Contribution of each part of the planner: one change at a time, on the same held-out pairs as the default.

    python benchmarks/ablation.py --models pusht-lewm --out benchmarks/results/ablation.json

Resumes where it was stopped, and does not depend on what else the machine does. Beside each variant's rate stands its
difference to the default planner on the same pairs: interval of Newcombe (1998), exact p of McNemar (1947). Variants
that want a head are left out for a model that has none.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import secrets
import shlex
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from envs.mujoco_env import SensorReadings
from server.commands.graphics import check_graphics
from server.evaluation.compare import rate_difference
from server.evaluation.episode import run_episode
from server.evaluation.protocols import PROTOCOLS, PairStream, plan_seed
from server.evaluation.simulation import simulation
from server.evaluation.statistics import Paired, ci95
from server.local_planner import LocalPlanner
from server.provenance import provenance
from server.settings import Settings
from telos.history import History
from telos.planner import Planner
from telos.replies import PlannerConfig
from telos.requests import Cost, Observation, PlanOptions
from worldmodel import TrainedModel, load_checkpoint, read_manifest, save_checkpoint

BASE = "default"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The default planner, but for what is given."""

    planner: PlannerConfig = PlannerConfig(preset=BASE)  # noqa: RUF009 - frozen
    cost: Cost | None = None
    context_frames: int = sys.maxsize
    """At most; never more than the model takes."""
    executed: int = 1
    """Model steps of each plan. After more than one there is no frame one model step ago, and so no history."""
    without: str | None = None
    """A head of the checkpoint that the goal cost does without."""


def _search(**changes: Any) -> Variant:
    return Variant(planner=PlannerConfig(**{"preset": BASE, **changes}))


VARIANTS = {
    BASE: Variant(),
    "cost of the last step": Variant(cost=Cost(over="last")),
    "cost of the closest step": Variant(cost=Cost(over="closest")),
    "absolute distance": Variant(cost=Cost(distance="absolute")),
    "no steps to go": Variant(without="steps_to_go"),
    "no task distance": Variant(without="task_distance"),
    "one context frame": Variant(context_frames=1),
    "a plan every 2 model steps": Variant(executed=2),
    "a plan every 5 model steps": Variant(executed=5),
    "horizon 3": _search(horizon=3),
    "free search": _search(search_space="free"),
    "linear spline": _search(search_space="linear_spline"),
    "cubic spline": _search(search_space="cubic_spline"),
    "coloured noise (iCEM)": _search(algorithm="icem"),
    "free search, coloured noise": _search(search_space="free", algorithm="icem"),
    "MPPI": _search(algorithm="mppi"),
    "predictive sampling": _search(algorithm="predictive_sampling"),
    "thorough": _search(preset="thorough"),
    "guided": _search(preset="guided"),
    "guided, free search": _search(preset="guided", search_space="free"),
    "inverse dynamics alone": _search(preset="reactive"),
}
WANT_INVERSE_DYNAMICS = ("guided", "reactive")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--variants", nargs="+", default=tuple(VARIANTS), choices=tuple(VARIANTS), metavar="VARIANT")
    parser.add_argument("--protocol", default="offset25")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    made_by = {**provenance(), "command": shlex.join(["python", *sys.argv]), "renderer": check_graphics()}
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"models": {}}
    _refuse_others(arguments, result)
    asked = [(model, name) for model in arguments.models for name in _variants_of(arguments, model)]
    missing = [(model, name) for model, name in asked if name not in result["models"].get(model, {})]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        jobs = {pool.submit(measure, arguments, *case, made_by["commit"]): case for case in missing}
        for job in as_completed(jobs):
            model, name = jobs[job]
            result["models"].setdefault(model, {})[name] = job.result()
            _write(arguments.out, {**result, **made_by})
    for model in arguments.models:
        sys.stdout.write(f"{model}\n{table(result['models'][model])}")


def _refuse_others(arguments: argparse.Namespace, result: Mapping[str, Any]) -> None:
    """Rows of other pairs or other weights cannot stand beside those asked for. Raises SystemExit, which says so."""
    wanted = {name: getattr(arguments, name) for name in ("protocol", "seed", "episodes")}
    for model in arguments.models:
        ours = {**wanted, "weights_sha256": read_manifest(arguments.checkpoints / model).weights.sha256}
        for variant, case in result["models"].get(model, {}).items():
            if other := {name: case[name] for name in ours if case[name] != ours[name]}:
                raise SystemExit(
                    f"{arguments.out} holds {variant!r} of {model} with {other}, and asked for is "
                    f"{ {name: ours[name] for name in other} }: give the same again to go on, or another --out"
                )


def _variants_of(arguments: argparse.Namespace, model: str) -> list[str]:
    """The default first: the others are held against it."""
    manifest = read_manifest(arguments.checkpoints / model)
    heads = set(manifest.heads)
    names = [BASE, *(name for name in arguments.variants if name != BASE)]
    return [name for name in names if _wanted_heads(VARIANTS[name]) <= heads]


def _wanted_heads(variant: Variant) -> set[str]:
    """Heads without which the variant would be another one or impossible."""
    left_out = {variant.without} if variant.without else set()
    return left_out | ({"inverse_dynamics"} if variant.planner.preset in WANT_INVERSE_DYNAMICS else set())


def measure(arguments: argparse.Namespace, model: str, name: str, commit: str) -> dict[str, Any]:
    """Every episode's success at any step, and at the last one."""
    torch.set_num_threads(1)
    variant, protocol = VARIANTS[name], PROTOCOLS[arguments.protocol]
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = _without(arguments, model, variant.without, scratch) if variant.without else arguments.checkpoints
        planner = LocalPlanner(Settings(checkpoints=checkpoints))
    info = planner.model(model)
    env = simulation(info)
    stream = PairStream(env_id=info.task, protocol=protocol, seed=arguments.seed)
    rows = []
    for index, pair in enumerate(itertools.islice(stream.pairs(env), arguments.episodes)):
        agent = functools.partial(VariantAgent, planner, model, variant, plan_seed(arguments.seed, index))
        episode = run_episode(env, pair, protocol.budget_steps, agent)
        rows.append([episode.success, episode.success_at_end])
    env.close()
    planner.close()
    reached, at_end = (sum(column) for column in zip(*rows, strict=True))
    return {
        "rate": round(reached / len(rows), 4),
        "ci95": ci95(reached, len(rows)),
        "at_end": round(at_end / len(rows), 4),
        "episodes": len(rows),
        "protocol": protocol.name,
        "seed": arguments.seed,
        "variant": dataclasses.asdict(variant),
        "commit": commit,
        "dtype": info.dtype,
        "weights_sha256": read_manifest(arguments.checkpoints / model).weights.sha256,
        "rows": rows,
    }


class VariantAgent:
    """The evaluation's agent, with what a variant changes."""

    def __init__(self, planner: Planner, model: str, variant: Variant, seed: int, goal: SensorReadings) -> None:
        self._planner = planner
        self._model = planner.model(model)
        self._goal = Observation.of_readings(goal)
        self._variant = variant
        self._config = dataclasses.replace(variant.planner, seed=seed)
        self._history = History(self._model)
        self._session_id = secrets.token_hex(8)

    def act(self, readings: SensorReadings) -> np.ndarray:
        self._history.observe(Observation.of_readings(readings))
        frames = self._history.frames[-self._variant.context_frames :]
        reply = self._planner.plan(
            self._model.name,
            frames,
            self._goal,
            PlanOptions(config=self._config, cost=self._variant.cost),
            action_history=self._history.actions[len(self._history.actions) - len(frames) + 1 :],
            session=self._session_id,
        )
        actions = reply.actions[: self._variant.executed * self._model.required_action.control_steps]
        self._history.executed(actions)
        return actions


def _without(arguments: argparse.Namespace, model: str, head: str, scratch: str) -> Path:
    """A folder with the same model, whose goal cost lacks this term."""
    checkpoint = load_checkpoint(arguments.checkpoints / model)
    trained, manifest = checkpoint.trained, checkpoint.manifest
    kept = {name: spec for name, spec in manifest.heads.items() if name != head}
    heads = {name: trained.heads[name] for name in kept}
    save_checkpoint(
        Path(scratch) / model, dataclasses.replace(manifest, heads=kept), TrainedModel(trained.module, heads)
    )
    return Path(scratch)


def against_default(default: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Difference of the rates on the same pairs, other less default."""
    paired = Paired.of([row[0] for row in default["rows"]], [row[0] for row in other["rows"]])
    compared = rate_difference(paired)
    return {name: compared[name] for name in ("difference", "difference_ci95", "mcnemar_p")}


def table(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown."""
    lines = ["| variant | success | at the end | against the default | p |", "|---|---|---|---|---|"]
    for name, case in cases.items():
        line = f"| {name} | {case['rate']:.1%} | {case['at_end']:.1%} |"
        if name != BASE:
            low, high = case["difference_ci95"]
            line += f" {case['difference']:+.1%} ({low:+.1%} to {high:+.1%}) | {case['mcnemar_p']:.3f} |"
        lines.append(line if name != BASE else f"{line} | |")
    return "\n".join(lines) + "\n"


def _write(out: Path, result: Mapping[str, Any]) -> None:
    for cases in result["models"].values():
        for name in set(cases) - {BASE} if BASE in cases else ():
            cases[name] |= against_default(cases[BASE], cases[name])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
