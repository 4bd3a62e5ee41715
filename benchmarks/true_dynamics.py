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
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from envs import env_class
from envs.mujoco_env import MujocoGoalEnv, SensorReadings, State
from planner.presets import PRESETS
from server.engine.actions import bounds
from server.engine.planning import encode_frame, plan_once
from server.engine.question import action_spec, plain_question, planning_spec
from server.evaluation.episode import run_episode
from server.evaluation.protocols import PROTOCOLS, PairStream, plan_seed
from server.evaluation.statistics import ci95
from server.provenance import provenance
from worldmodel import Checkpoint, Latents, load_checkpoint


class TrueDynamics:
    """The simulator as a world model: each candidate is simulated, drawn and encoded."""

    def __init__(self, env: MujocoGoalEnv, futures: MujocoGoalEnv, checkpoint: Checkpoint) -> None:
        """`env` is where the robot is; `futures` is another such environment, in which candidates are tried."""
        self._env, self._futures, self._checkpoint = env, futures, checkpoint
        self._bounds = bounds(action_spec(checkpoint), None)

    def begin(self, context: Latents, past_actions: Tensor) -> State:
        """The simulator's state, which knows more than any context."""
        return self._env.get_state()

    def stack(self, states: Sequence[State]) -> State:
        """The one robot's state."""
        (state,) = states
        return state

    def rollout(self, state: State, actions: Float[Tensor, "1 s h a"]) -> Float[Tensor, "1 s h n d"]:
        """Latents after each model step of each candidate."""
        return torch.stack([self._future(state, candidate) for candidate in actions[0]])[None]

    def predictions(self, latents: Tensor, actions: Tensor) -> Tensor:
        """Not known: the states that the frames were seen in are gone."""
        raise NotImplementedError("true dynamics start from the simulator's state, and predict no past frame")

    def _future(self, state: State, candidate: Float[Tensor, "h a"]) -> Float[Tensor, "h n d"]:
        self._futures.set_state(state)
        control_steps, latents = action_spec(self._checkpoint).control_steps, []
        for step, action in enumerate(self._bounds.to_physical(candidate).astype(np.float32), start=1):
            self._futures.advance(action)
            if step % control_steps == 0:
                readings = self._futures.observe(self._futures.get_state())
                latents.append(encode_frame(self._checkpoint, readings).tokens[0, 0])
        return torch.stack(latents)


class TrueDynamicsAgent:
    """Plans from where the simulator is, for one model step at a time."""

    def __init__(
        self,
        env: MujocoGoalEnv,
        futures: MujocoGoalEnv,
        checkpoint: Checkpoint,
        preset: str,
        seed: int,
        goal: SensorReadings,
    ) -> None:
        """`futures` is another such environment, in which candidates are tried."""
        self._checkpoint = dataclasses.replace(checkpoint, world_model=TrueDynamics(env, futures, checkpoint))
        self._preset = dataclasses.replace(PRESETS[preset], horizon=planning_spec(checkpoint).horizon)
        self._seed = seed
        self._goal = encode_frame(checkpoint, goal).tokens[0]
        self._space = plain_question(self._checkpoint, self._preset, seed).space
        self._warm_start: Tensor | None = None

    def act(self, readings: SensorReadings) -> np.ndarray:
        seen = encode_frame(self._checkpoint, readings)
        plan = plan_once(self._checkpoint, seen, self._goal, self._preset, self._seed, warm_start=self._warm_start)
        self._warm_start = self._space.shift(plan.variables, 1)
        return bounds(action_spec(self._checkpoint), None).to_physical(plan.actions[:1])


def missed(evaluation: dict[str, Any], most: int) -> list[int]:
    """Which of its pairs the evaluation did not reach, the first `most` of them.

    Raises ValueError where its preset uses the model's policy: it is the world model that is replaced here.
    """
    preset = PRESETS[evaluation["preset"]]
    if preset.proposal or preset.is_policy:
        raise ValueError(f"the evaluation is of preset {evaluation['preset']!r}, which uses a policy; give one without")
    return [index for index, row in enumerate(evaluation["rows"]) if not row["success"]][:most]


def plan_again(arguments: argparse.Namespace, evaluation: dict[str, Any], index: int) -> dict[str, Any]:
    """One pair of the evaluation, on true dynamics."""
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(arguments.checkpoints / evaluation["model"])
    protocol, task = PROTOCOLS[evaluation["protocol"]], evaluation["task"]
    seed = evaluation["rows"][index]["seed"]
    stream = PairStream(env_id=task, protocol=protocol, split=evaluation["split"], seed=seed)
    env, futures = (_simulation(checkpoint, task) for _ in range(2))
    of_seed = index % (evaluation["episodes"] // len(evaluation["seeds"]))  # rows have the seeds one after another
    pair = next(itertools.islice(stream.pairs(env), of_seed, None))
    plans = plan_seed(seed, of_seed)
    agent = functools.partial(TrueDynamicsAgent, env, futures, checkpoint, evaluation["preset"], plans)
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


def _simulation(checkpoint: Checkpoint, task: str) -> MujocoGoalEnv:
    """A simulation with the model's sensors, at the size of its largest camera."""
    sensors = checkpoint.manifest.sensors
    side_px = max(spec.shape[0] for spec in sensors if spec.kind == "camera")
    return env_class(task)(image_size=side_px, sensors=[spec.name for spec in sensors])


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
    """Number of missed pairs that true dynamics reach, and the provenance of the figure."""
    reached = sum(row["success"] for row in rows)
    names = ("model", "weights_sha256", "protocol", "preset", "split", "seeds", "episodes")
    return {
        **{name: evaluation[name] for name in names},
        **made_by,
        "planned_again": len(rows),
        "reached": reached,
        "reached_ci95": ci95(reached, len(rows)),
        "rows": rows,
    }


if __name__ == "__main__":
    main()
