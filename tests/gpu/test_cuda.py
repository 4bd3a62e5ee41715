"""What must hold on a GPU too. Skipped, and said so, where there is none."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from planner.costs import goal_cost
from planner.names import AlgorithmName, SearchSpaceName
from planner.presets import OPTIMISERS, PRESETS
from planner.search import Plan, RobotSearch
from server.benchmark.planning import BenchmarkConfig, benchmark
from tests.episodes import write_dot_store
from tests.planner.linear import build, plan_iterations
from tests.tiny import tiny_recipe
from worldmodel.checkpoint import load_checkpoint
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig
from worldmodel.inference.fast_steps_to_go import FastStepsToGo
from worldmodel.inference.world_model import FastWorldModel
from worldmodel.parts.precision import CLOSE, Precision
from worldmodel.parts.rollout import naive_rollout
from worldmodel.recipe import Latents
from worldmodel.recipes.network import imagining

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def given(device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Context [2 3 1 16], past actions, goals, candidates: the same numbers everywhere."""
    generator = Generator().manual_seed(0)
    shapes = ((2, 3, 1, 16), (2, 2, 10), (2, 1, 16), (2, 40, 5, 10))
    context, past, goal, actions = (torch.randn(shape, generator=generator).to(device) for shape in shapes)
    return context, past, goal, actions.clamp(-1, 1)


@pytest.mark.parametrize(("precision", "allowed"), [("float32", 1e-3), ("bfloat16", CLOSE)])
def test_imagining_on_a_gpu_is_imagining_plainly_on_a_cpu(precision: Precision, allowed: float) -> None:
    context, past, _, actions = given("cpu")
    with torch.inference_mode():
        wanted = naive_rollout(tiny_recipe().predictor, context.squeeze(2), past, actions)
    model = FastWorldModel(imagining(tiny_recipe().to("cuda")), precision)
    context, past, _, actions = given("cuda")
    with torch.inference_mode():
        imagined = model.rollout(model.begin(Latents(context), past), actions)
    assert imagined.is_cuda
    assert float((imagined.squeeze(3).cpu() - wanted).norm() / wanted.norm()) < allowed


def plans(device: str, algorithm: AlgorithmName, search_space: SearchSpaceName) -> tuple[Plan, ...]:
    torch.manual_seed(0)
    head = FastStepsToGo(StepsToGo(StepsToGoConfig(width=16), 1, 16).to(device))
    model = FastWorldModel(imagining(tiny_recipe().to(device)))
    context, past, goal, _ = given(device)
    preset = dataclasses.replace(PRESETS["fast"], algorithm=algorithm, search_space=search_space)
    limit = torch.ones(2, device=device)
    optimiser, space = build(preset, low=-limit, high=limit, control_steps=5)
    searches = [
        RobotSearch(optimiser=optimiser, space=space, horizon=5, generator=Generator().manual_seed(robot))
        for robot in range(2)
    ]
    cost = goal_cost(goal, scale=32.0, learned=[(1.0, head)])
    return list(plan_iterations(model, model.begin(Latents(context), past), cost, searches, (1, 16)))[-1]


@pytest.mark.parametrize("search_space", ["constant", "free", "cubic_spline"])
@pytest.mark.parametrize("algorithm", OPTIMISERS)
def test_a_seed_means_the_same_plan_on_every_device(algorithm: AlgorithmName, search_space: SearchSpaceName) -> None:
    """To rounding: random numbers are drawn on the CPU, products add up in another order."""
    for here, there in zip(*(plans(device, algorithm, search_space) for device in ("cpu", "cuda")), strict=True):
        assert there.actions.is_cuda
        assert there.cost == pytest.approx(here.cost, rel=1e-2)
        assert there.first_cost == pytest.approx(here.first_cost, rel=1e-3)


def test_the_benchmark_says_which_gpu_it_measured() -> None:
    config = BenchmarkConfig(recipes=["small"], presets=["fast"], robots=[1, 2], plans=1, iterations=1, device="cuda")
    result = benchmark(config, lambda case: None)
    assert result["machine_used"]["device"] == torch.cuda.get_device_name("cuda")
    assert all(row["plan_ms"]["p50"] > 0 for row in result["rows"])


def losses_of_a_training(folder: Path, store: Path, device: str, processes: int) -> list[dict[str, float]]:
    """In processes of its own, since what is compiled cannot be watched by the tests' type checker."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    module = ["-m", "tests.worldmodel.training.train_dot", str(store), str(folder / "run"), str(folder / "dot"), device]
    subprocess.run([*torchrun, *module], check=True, timeout=300)
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()[:10]]


def test_a_training_on_a_gpu_has_the_losses_of_one_on_a_cpu(tmp_path: Path) -> None:
    """Compiled, with reading processes."""
    store = write_dot_store(tmp_path / "store")
    here, there = (losses_of_a_training(tmp_path / device, store, device, 1) for device in ("cpu", "cuda"))
    for one, other in zip(here, there, strict=True):
        assert other == pytest.approx(one, rel=1e-2)
    manifest = load_checkpoint(tmp_path / "cuda" / "dot").manifest
    assert manifest.training["devices"] == f"1 x {torch.cuda.get_device_name()}"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device, or none")
def test_two_gpus_train_as_one(tmp_path: Path) -> None:
    store = write_dot_store(tmp_path / "store")
    one, two = (losses_of_a_training(tmp_path / str(count), store, "cuda", count) for count in (1, 2))
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=1e-2)
