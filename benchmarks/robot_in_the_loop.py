"""Success of a robot whose plans take time: one run, one machine, in real time.

    python benchmarks/robot_in_the_loop.py --out benchmarks/results/robot-in-the-loop.json

TwoRoom, protocol offset25, simulated in real time at its 10 Hz: the robot moves on while the server, a process of its
own, plans, and each reply is held back for a while more. Three ways to live with that:

- stopped: the world stands still while a plan is made. No robot can; it is what the others are held against.
- committed: `ControlLoop` tells each plan what the robot does until it comes.
- uncommitted: each plan takes over in mid course, as if its first steps had been executed.

Writes a curve beside the JSON.
"""

import argparse
import itertools
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from envs import env_class
from envs.mujoco_env import MujocoGoalEnv
from server.benchmark.served import served
from server.benchmark.targets import judge
from server.evaluation.agents import PlanningAgent
from server.evaluation.episode import run_episode
from server.evaluation.protocols import PROTOCOLS, PairStream, StartAndGoal, plan_seed
from server.evaluation.statistics import ci95
from server.provenance import provenance
from telos import ControlLoop, Planner, PlannerConfig, PlanOptions
from telos.http_planner import HttpPlanner
from telos.planner import Method

Way = Literal["stopped", "committed", "uncommitted"]

MOVING: tuple[Way, ...] = ("committed", "uncommitted")

PROTOCOL = PROTOCOLS["offset25"]
DELAYS_MS = (0, 100, 200, 300, 400, 500)
TOLERATED_MS = 300
TOLERATED_LOSS = 0.15
"""Most of the success rate that committed plans may cost a robot at the delay above."""


class DelayedPlanner(HttpPlanner):
    """Holds every answer back for `delay_s` of real time."""

    delay_s = 0.0

    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        answer = super()._call(method, payload)
        time.sleep(self.delay_s)
        return answer


@dataclass(frozen=True, kw_only=True)
class Drive:
    """One episode."""

    success: bool
    held_steps: int
    """Control steps without a valid plan."""
    delay_steps: int
    """Delay that the loop gave the last plan to expect."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument("--model", default="tworoom-lewm")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--episodes", type=int, default=40, help="for each way and delay (default %(default)s)")
    parser.add_argument("--delays-ms", type=int, nargs="+", default=list(DELAYS_MS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    arguments = ["serve", "--checkpoints", str(given.checkpoints), "--http-port", "0", "--grpc-port", "0"]
    with tempfile.TemporaryDirectory() as folder:
        with served("server.cli", arguments, log=Path(folder) / "log") as server:
            with DelayedPlanner(f"http://127.0.0.1:{server.http_port}", timeout_s=3.0) as planner:
                curve = measure(planner, given.model, given.preset, given.delays_ms, given.episodes, given.seed)
    result = {
        **provenance(),
        "command": shlex.join(["python", *sys.argv]),
        **{"model": given.model, "preset": given.preset, "protocol": PROTOCOL.name, "episodes": given.episodes},
        "curve": curve,
        "tests": [asdict(row) for row in rows(curve)],
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(curve, given.out.with_suffix(".png"))
    return 0


def measure(
    planner: DelayedPlanner, model: str, preset: str, delays_ms: Sequence[int], episodes: int, seed: int
) -> list[dict[str, Any]]:
    """A point for each way and delay, on the same starts and goals."""
    info = planner.model(model)
    env = env_class(info.task)(image_size=info.cameras[0].shape[0])
    stream = PairStream(env_id=info.task, protocol=PROTOCOL, seed=seed)
    pairs = list(itertools.islice(stream.pairs(env), episodes))
    moving: list[tuple[Way, int]] = [(way, delay_ms) for way in MOVING for delay_ms in delays_ms]
    points: list[tuple[Way, int]] = [("stopped", 0), *moving]
    curve = []
    for way, delay_ms in points:
        planner.delay_s = delay_ms / 1e3
        drives = []
        for index, pair in enumerate(pairs):
            config = PlannerConfig(preset=preset, seed=plan_seed(seed, index))
            drives.append(drive(env, pair, planner, model, config, way))
        curve.append(point(way, delay_ms, drives))
        sys.stderr.write(f"{curve[-1]}\n")
    env.close()
    return curve


def drive(
    env: MujocoGoalEnv, pair: StartAndGoal, planner: Planner, model: str, config: PlannerConfig, way: Way
) -> Drive:
    """One episode, to the first success or the end of the budget."""
    if way == "stopped":
        result = run_episode(
            env,
            pair,
            PROTOCOL.budget_steps,
            lambda goal: PlanningAgent(planner, model, goal, config),
            stop_at_success=True,
        )
        return Drive(success=result.success, held_steps=0, delay_steps=0)
    observation, _ = env.reset(options={"state": pair.start, "goal_state": pair.goal})
    hold = np.zeros(len(env.action_names))
    with ControlLoop(
        planner,
        model=model,
        goal=observation["goal_image"],
        hold=hold,
        commit=way == "committed",
        options=PlanOptions(config=config),
    ) as loop:
        success, held = False, 0
        began = time.monotonic()
        while loop.step < PROTOCOL.budget_steps and not success:
            action = loop.act(env.render_state(env.get_state()) if loop.uses_observation else None)
            held += not action.any()
            state = env.advance(action.astype(np.float32))
            success = env.is_success(state, env.goal_state)
            time.sleep(max(0.0, began + loop.step * env.dt_s - time.monotonic()))
        return Drive(success=success, held_steps=held, delay_steps=loop.inference_delay_steps)


def point(way: Way, delay_ms: int, drives: Sequence[Drive]) -> dict[str, Any]:
    successes = sum(drive.success for drive in drives)
    return {
        "way": way,
        "delay_ms": delay_ms,
        "success_rate": round(successes / len(drives), 4),
        "ci95": ci95(successes, len(drives)),
        "held_steps_mean": round(float(np.mean([drive.held_steps for drive in drives])), 2),
        "delay_steps_mean": round(float(np.mean([drive.delay_steps for drive in drives])), 2),
    }


def rows(curve: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Committed plans against the world that stands still, where a robot may expect them to keep up."""
    still = next(each["success_rate"] for each in curve if each["way"] == "stopped")
    return [
        judge(
            24,
            f"success with plans {each['delay_ms']} ms late, committed ({still:.3g} when the world waits)",
            each["success_rate"],
            at_least=round(still - TOLERATED_LOSS, 4),
        )
        for each in curve
        if each["way"] == "committed" and each["delay_ms"] <= TOLERATED_MS
    ]


def draw(curve: Sequence[Mapping[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for way in MOVING:
        points = [each for each in curve if each["way"] == way]
        rate = np.array([each["success_rate"] for each in points])
        edges = np.abs(np.array([each["ci95"] for each in points]).T - rate)
        axes.errorbar([each["delay_ms"] for each in points], rate, edges, marker="o", capsize=3, label=way)
    still = next(each["success_rate"] for each in curve if each["way"] == "stopped")
    axes.axhline(still, color="grey", linestyle=":", label="the world waits")
    axes.set(xlabel="delay beside planning (ms)", ylabel="success rate", ylim=(0, 1.05), title="TwoRoom in real time")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
