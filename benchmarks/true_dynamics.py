"""Is it what the predictor imagines? Plans again where an evaluation failed, with the simulator in its place.

    python benchmarks/true_dynamics.py --evaluation benchmarks/results/pusht-offset25.json \
        --out benchmarks/results/pusht-true-dynamics.json

Encoder, cost and search stay as they are; each candidate is simulated, drawn and encoded. What is reached now was
missed for what the predictor imagined, the rest for the cost or the search. Half a minute to two an episode and core.
Resumes where it was stopped.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from server.engine.cost import cost_to_goal
from torch import Generator, Tensor

from envs import env_class
from envs.mujoco_env import Image, MujocoGoalEnv, State
from planner.presets import PRESETS, build
from planner.search import RobotSearch
from server.engine.actions import bounds
from server.evaluation.episode import run_episode
from server.evaluation.protocols import PROTOCOLS, draw_pairs, plan_seed
from server.evaluation.statistics import ci95
from server.provenance import provenance
from worldmodel.checkpoint import Checkpoint, load_checkpoint


class TrueDynamicsAgent:
    """Plans from where the simulator is, for one model step at a time."""

    def __init__(
        self, env: MujocoGoalEnv, futures: MujocoGoalEnv, checkpoint: Checkpoint, preset: str, seed: int, goal: Image
    ) -> None:
        """`futures` is another such environment, in which candidates are tried."""
        self._env, self._futures = env, futures
        self._checkpoint = checkpoint
        self._preset = dataclasses.replace(PRESETS[preset], horizon=checkpoint.manifest.planning.horizon)
        self._bounds = bounds(checkpoint.manifest.action, None)
        self._seed = seed
        self._warm_start: Tensor | None = None
        self._cost = cost_to_goal(checkpoint, self._encode([goal]))

    @torch.inference_mode()
    def act(self, image: Image) -> np.ndarray:
        low, high = self._bounds.unitless
        control_steps = self._checkpoint.manifest.action.control_steps
        optimiser, space = build(self._preset, low=low, high=high, control_steps=control_steps)
        search = RobotSearch(
            optimiser=optimiser,
            space=space,
            horizon=self._preset.horizon,
            warm_start=self._warm_start,
            generator=Generator().manual_seed(self._seed),
        )
        state = self._env.get_state()
        while not search.is_over:
            asked = search.ask()
            latents = torch.stack([self._future(state, candidate) for candidate in asked])
            search.tell(latents, self._cost(latents[None], asked[None])[0])
        self._warm_start = space.shift(search.plan.variables, 1)
        return self._bounds.to_physical(search.plan.actions[:1])

    def _future(self, state: State, candidate: Float[Tensor, "h a"]) -> Float[Tensor, "h n d"]:
        self._futures.set_state(state)
        control_steps = self._checkpoint.manifest.action.control_steps
        images = []
        for step, action in enumerate(self._bounds.to_physical(candidate).astype(np.float32), start=1):
            self._futures.advance(action)
            if step % control_steps == 0:
                images.append(self._futures.render_state(self._futures.get_state()))
        return self._encode(images)

    def _encode(self, images: list[Image]) -> Float[Tensor, "b n d"]:
        with torch.inference_mode():
            return self._checkpoint.world_model.encode(torch.from_numpy(np.stack(images)))


def missed(evaluation: dict[str, Any], most: int) -> list[int]:
    """Which of its pairs the evaluation did not reach, the first `most` of them.

    Raises ValueError where its preset uses what the model proposes: there is no proposing on true dynamics.
    """
    if (use := PRESETS[evaluation["preset"]].proposal) != "none":
        raise ValueError(
            f"the evaluation is of preset {evaluation['preset']!r}, whose proposal is {use!r}; give one without"
        )
    return [index for index, row in enumerate(evaluation["rows"]) if not row["success"]][:most]


def plan_again(arguments: argparse.Namespace, evaluation: dict[str, Any], index: int) -> dict[str, Any]:
    """One pair of the evaluation, on true dynamics."""
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(arguments.checkpoints / evaluation["model"])
    protocol, task, seed = PROTOCOLS[evaluation["protocol"]], evaluation["task"], evaluation["seed"]
    env, futures = (env_class(task)(image_size=checkpoint.manifest.observation.height_px) for _ in range(2))
    pair = next(itertools.islice(draw_pairs(env, task, protocol, seed), index, None))
    agent = functools.partial(TrueDynamicsAgent, env, futures, checkpoint, evaluation["preset"], plan_seed(seed, index))
    episode = run_episode(env, pair, protocol.budget_steps, agent, stop_at_success=True)
    env.close()
    futures.close()
    return {
        "index": index,
        "episode": pair.episode,
        "success": episode.success,
        "least_distance": round(episode.least_distance, 4),
        "least_distance_imagined": evaluation["rows"][index]["least_distance"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument("--evaluation", type=Path, required=True, help="result of telos evaluate, not of variation")
    parser.add_argument("--most", type=int, default=100, help="missed pairs to plan again, the first ones")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    made_by = {**provenance(), "command": shlex.join(["python", *sys.argv])}
    evaluation = json.loads(arguments.evaluation.read_text())
    rows: list[dict[str, Any]] = json.loads(arguments.out.read_text())["rows"] if arguments.out.exists() else []
    left = sorted(set(missed(evaluation, arguments.most)) - {row["index"] for row in rows})
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        for job in as_completed([pool.submit(plan_again, arguments, evaluation, index) for index in left]):
            rows = sorted([*rows, job.result()], key=lambda row: row["index"])
            arguments.out.write_text(json.dumps(summary(evaluation, rows, made_by), indent=1) + "\n", encoding="utf-8")
    result = summary(evaluation, rows, made_by)
    sys.stdout.write(f"{result['reached']} of {result['planned_again']} missed pairs reached on true dynamics\n")


def summary(evaluation: dict[str, Any], rows: list[dict[str, Any]], made_by: dict[str, Any]) -> dict[str, Any]:
    """How many of the missed pairs true dynamics reach, and what made it."""
    reached = sum(row["success"] for row in rows)
    named = {name: evaluation[name] for name in ("model", "weights_sha256", "protocol", "preset", "seed", "episodes")}
    return {
        **named,
        **made_by,
        "planned_again": len(rows),
        "reached": reached,
        "reached_ci95": ci95(reached, len(rows)),
        "rows": rows,
    }


if __name__ == "__main__":
    main()
