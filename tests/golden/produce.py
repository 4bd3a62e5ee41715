"""What the goldens hold, computed anew. Write them: python -m tests.golden.produce

Regenerate only with a change that is meant to change numbers, and say in its commit why they moved.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from planner.presets import PRESETS
from server.engine.local import LocalEngine
from server.engine.planning import encode_frame, plan_once
from server.engine.registry import Registry
from server.schemas import PlanRequest, PlanResponse
from server.service import Service
from server.settings import Settings
from server.validation import validate
from tests.episodes import dot_episode, write_dot_store
from tests.golden.requests import NUMBER, golden_request
from tests.tiny import ACTION, tiny_body, write_tiny_checkpoint
from worldmodel import Latents, load_checkpoint
from worldmodel.clips import StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.recipes.lewm import LeWM, tiny
from worldmodel.training.loop import Run, TrainingConfig

FOLDER = Path(__file__).parent


def plan(scratch: Path) -> dict[str, Any]:
    """One plan of the tiny checkpoint: three frames seen, a later frame as the goal, the fast preset."""
    checkpoint = load_checkpoint(write_tiny_checkpoint(scratch))
    frames = dot_episode(seed=0).frames[[0, 5, 10, 30]]
    *seen, wanted = (encode_frame(checkpoint, {"top": frame}).tokens for frame in frames)
    past = torch.linspace(-1, 1, 2 * ACTION.width).view(1, 2, -1)
    context = Latents(torch.cat(seen, dim=1))
    best = plan_once(checkpoint, context, wanted[0], PRESETS["fast"], seed=7, past_actions=past)
    return {"best_costs": list(best.best_costs), "variables": best.variables.tolist(), "elite_std": best.elite_std}


def loss_curve(scratch: Path) -> dict[str, Any]:
    """The first ten steps of the tiny preset on a deterministic store."""
    store = EpisodeStore(write_dot_store(scratch / "store"))
    torch.manual_seed(0)
    config = TrainingConfig(steps=10, batch=16, precision="float32", metrics_every_steps=1, evaluate_every_steps=100)
    run = Run(scratch / "run", LeWM(tiny(), tiny_body()), config, {})
    run.train(ClipSampler(store, store.episodes, clip_frames=4, timing=StepTiming(control_steps=5)), lambda: {})
    return {name: [row[name] for row in run.metrics()] for name in ("predict", "sigreg", "smoothness", "inverse")}


def answers(scratch: Path) -> dict[str, Any]:
    """What the service answers to every thirteenth golden request: goals, costs, delays and limits of all kinds."""
    write_tiny_checkpoint(scratch)
    settings = Settings(checkpoints=scratch)

    async def ask() -> list[PlanResponse]:
        service = Service(LocalEngine(Registry.load(settings), settings), settings)
        await service.engine.start()
        requests = [validate(PlanRequest, golden_request(number)) for number in range(0, NUMBER, 13)]
        answered = [await service.plan(request) for request in requests]
        await service.engine.stop()
        return answered

    answered = asyncio.run(ask())
    return {
        "predicted_cost": [answer.predicted_cost for answer in answered],
        "goal_distance": [answer.goal_distance for answer in answered],
        "active_goal": [answer.active_goal for answer in answered],
        "first_step": [answer.chunk.first_step for answer in answered],
        "steps": [len(answer.chunk.actions) for answer in answered],
    }


GOLDENS = {"plan": plan, "loss_curve": loss_curve, "answers": answers}


def main() -> None:
    """Overwrite every golden."""
    torch.set_num_threads(1)
    for name, produce in GOLDENS.items():
        with tempfile.TemporaryDirectory() as scratch:
            content = produce(Path(scratch))
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        sys.stdout.write(f"wrote {FOLDER / name}.json\n")


if __name__ == "__main__":
    main()
