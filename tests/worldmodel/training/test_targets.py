"""A target encoder in the training loop: no optimiser moves it, its momentum does, and a kill does not lose it."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.episodes import write_dot_store
from tests.worldmodel.training.moving_target import FIRST_MOMENTUM, MovingTarget, momentum_at
from tests.worldmodel.training.power_cut import Stopped
from worldmodel.clips import StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.parts.targets import TargetEncoder
from worldmodel.training.loop import Run, TrainingConfig

STEPS = 6
CONFIG = TrainingConfig(steps=STEPS, batch=8, precision="float32", metrics_every_steps=1, save_every_s=0.0)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> ClipSampler:
    store = EpisodeStore(write_dot_store(tmp_path_factory.mktemp("dots") / "store", episodes=3, steps=20))
    return ClipSampler(store, store.episodes, clip_frames=3, timing=StepTiming(control_steps=5))


class WatchedRun:
    """A run of some steps, or of all; `history` has the module's weights before and after each."""

    def __init__(self, folder: Path, sampler: ClipSampler, config: TrainingConfig = CONFIG, stop_at: int = -1) -> None:
        self.module = MovingTarget()
        self.run = Run(folder, self.module, config, {})
        self.history = [copied(self.module)]
        self.begun_at = self.run.step

        def on_step(step: int, metrics: dict[str, float]) -> None:
            self.history.append(copied(self.module))
            if step == stop_at:
                raise Stopped

        self.run.train(sampler, lambda: {"evaluated": 1.0}, on_step)


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def trained(sampler: ClipSampler, tmp_path_factory: pytest.TempPathFactory) -> WatchedRun:
    return WatchedRun(tmp_path_factory.mktemp("whole"), sampler)


def parameters(module: nn.Module) -> int:
    return len(list(module.parameters()))


def test_the_optimiser_keeps_nothing_of_the_target(trained: WatchedRun) -> None:
    module, optimiser = trained.module, trained.run.optimiser
    learned = parameters(module.encoder) + parameters(module.predictor)
    assert parameters(module) == learned + parameters(module.encoder), "the target is part of the module"
    in_groups = [each for group in optimiser.param_groups for each in group["params"]]
    assert len(in_groups) == len(optimiser.state_dict()["state"]) == learned
    assert not {id(each) for each in in_groups} & {id(each) for each in module.target.parameters()}


def test_it_moves_by_exactly_its_momentum_towards_the_encoder_of_this_step(trained: WatchedRun) -> None:
    names = [name for name, _ in trained.module.target.module.named_parameters()]
    for done, (before, after) in enumerate(zip(trained.history, trained.history[1:], strict=False), start=1):
        momentum = momentum_at(done / STEPS)
        for name in names:
            slow, fast = before[f"target.module.{name}"], after[f"encoder.{name}"]
            assert torch.equal(after[f"target.module.{name}"], slow.lerp(fast, 1 - momentum)), (done, name)
            torch.testing.assert_close(after[f"target.module.{name}"], momentum * slow + (1 - momentum) * fast)
    first, last = trained.history[0], trained.history[-1]
    assert all(not torch.equal(first[f"target.module.{name}"], last[f"target.module.{name}"]) for name in names)
    assert all(not torch.equal(last[f"encoder.{name}"], last[f"target.module.{name}"]) for name in names)


def test_running_statistics_are_taken_over_as_they_are(trained: WatchedRun) -> None:
    for weights in trained.history[1:]:
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.equal(weights[f"target.module.1.{name}"], weights[f"encoder.1.{name}"])


def test_the_loop_says_how_far_it_is(trained: WatchedRun) -> None:
    """Before a step, the steps done without it; after it, with it."""
    module = trained.module
    assert [step.done for step in module.steps_of_losses] == list(range(STEPS))
    assert [step.done for step in module.steps_after] == list(range(1, STEPS + 1))
    assert {step.total for step in module.steps_of_losses + module.steps_after} == {STEPS}
    assert [step.progress for step in module.steps_after] == pytest.approx([k / STEPS for k in range(1, STEPS + 1)])
    assert module.steps_of_losses[0].progress == 0 and FIRST_MOMENTUM < momentum_at(module.steps_after[0].progress)


def test_no_gradient_enters_it(trained: WatchedRun) -> None:
    """Neither its weights nor, through it, what is before it."""
    target = TargetEncoder(trained.module.encoder)
    inputs = torch.randn(4, 3 * 32 * 32, requires_grad=True)
    assert all(not each.requires_grad and each.grad is None for each in trained.module.target.parameters())
    latents = target(inputs)
    assert isinstance(latents, Tensor) and not latents.requires_grad
    assert all(each.requires_grad for each in trained.module.encoder.parameters()), "the encoder still learns"


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_without_momentum_it_is_the_source_and_with_all_of_it_it_rests(momentum: float) -> None:
    one, other = (nn.Linear(3, 2) for _ in range(2))
    target = TargetEncoder(one)
    before = copied(one)
    target.follow(other, momentum)
    wanted = before if momentum else copied(other)
    assert all(torch.equal(value, wanted[name]) for name, value in target.module.state_dict().items())
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items()), "the source is its own"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_and_run_again_it_has_the_same_target(precision: str, sampler: ClipSampler, tmp_path: Path) -> None:
    """The target that is restored is the saved one, not a copy of the encoder."""
    config = dataclasses.replace(CONFIG, precision=precision)  # type: ignore[arg-type]
    whole = WatchedRun(tmp_path / "whole", sampler, config)
    with pytest.raises(Stopped):
        WatchedRun(tmp_path / "cut", sampler, config, stop_at=4)
    saved = load_file(tmp_path / "cut" / "state.safetensors")
    assert not torch.equal(saved["model.target.module.0.weight"], saved["model.encoder.0.weight"])
    again = WatchedRun(tmp_path / "cut", sampler, config)
    assert again.begun_at == 3 and [step.done for step in again.module.steps_after] == [4, 5, 6]
    assert again.run.metrics() == whole.run.metrics()
    for name, value in whole.history[-1].items():
        assert torch.equal(value, again.history[-1][name]), name
