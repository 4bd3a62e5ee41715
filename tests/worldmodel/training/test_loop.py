"""The training loop, without what comes after it. A run that is really killed is in test_fit.py."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.episodes import write_dot_store
from tests.tiny import tiny_body
from tests.worldmodel.training.power_cut import Stopped
from worldmodel.clips import Clips, StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.errors import DatasetError, TrainingError
from worldmodel.recipe import ParameterGroup, Step
from worldmodel.recipes.lewm import LeWM, tiny
from worldmodel.training.loop import Row, Run, TrainingConfig, claimed_precision, learning_rate_share
from worldmodel.training.precision import faster_precision

CONFIG = TrainingConfig(
    steps=8, batch=4, precision="float32", metrics_every_steps=1, evaluate_every_steps=4, save_every_s=1e9
)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> ClipSampler:
    store = EpisodeStore(write_dot_store(tmp_path_factory.mktemp("dots") / "store", episodes=3, steps=20))
    return ClipSampler(store, store.episodes, clip_frames=4, timing=StepTiming(control_steps=5))


def run_in(folder: Path, config: TrainingConfig = CONFIG, **identity: Any) -> Run:
    torch.manual_seed(0)
    return Run(folder, LeWM(tiny(), tiny_body()), config, {"recipe": "lewm", **identity})


def train(run: Run, sampler: ClipSampler, stop_at: int | None = None) -> list[Row]:
    def on_step(step: int, metrics: dict[str, float]) -> None:
        if step == stop_at:
            raise Stopped

    run.train(sampler, lambda: {"evaluated": 1.0}, on_step)
    return run.metrics()


def weights(run: Run) -> list[torch.Tensor]:
    return list(run.recipe.state_dict().values())


def test_stopped_before_the_first_save_it_starts_over(sampler: ClipSampler, tmp_path: Path) -> None:
    whole = train(run_in(tmp_path / "whole"), sampler)
    with pytest.raises(Stopped):
        train(run_in(tmp_path / "cut"), sampler, stop_at=5)
    again = run_in(tmp_path / "cut")
    assert again.step == 0 and again.metrics() == []
    assert train(again, sampler) == whole


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_stopped_after_a_save_it_goes_on_to_the_same_weights(
    precision: Any, sampler: ClipSampler, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, precision=precision, save_every_s=0.0)
    uninterrupted = run_in(tmp_path / "whole", config)
    whole = train(uninterrupted, sampler)
    with pytest.raises(Stopped):
        train(run_in(tmp_path / "cut", config), sampler, stop_at=5)
    again = run_in(tmp_path / "cut", config)
    assert again.step == 4  # the plug was pulled between the fifth step and its save
    assert train(again, sampler) == whole
    assert all(map(torch.equal, weights(again), weights(uninterrupted)))


def test_a_line_cut_by_a_kill_is_dropped(sampler: ClipSampler, tmp_path: Path) -> None:
    whole = train(run_in(tmp_path), sampler)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "predi')
    assert run_in(tmp_path).metrics() == whole


def test_rows_say_their_step_and_when_they_were_evaluated(sampler: ClipSampler, tmp_path: Path) -> None:
    rows = train(run_in(tmp_path, dataclasses.replace(CONFIG, metrics_every_steps=3)), sampler)
    assert [row["step"] for row in rows] == [3, 4, 6, 8]
    assert [row["step"] for row in rows if "evaluated" in row] == [4, 8]
    assert [row["step"] for row in rows if "predict" in row] == [3, 6, 8]


@pytest.mark.parametrize("change", [{"seed": 1}, {"batch": 5}, {"learning_rate": 1e-4}, {"steps": 9}])
def test_changed_settings_in_the_same_folder_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    run_in(tmp_path)
    before = (tmp_path / "run.json").read_text()
    with pytest.raises(DatasetError, match="other settings"):
        run_in(tmp_path, dataclasses.replace(CONFIG, **change))
    with pytest.raises(DatasetError, match="other settings"):
        run_in(tmp_path, preset="small")
    assert (tmp_path / "run.json").read_text() == before


def test_another_seed_is_another_training(sampler: ClipSampler, tmp_path: Path) -> None:
    one = train(run_in(tmp_path / "one"), sampler)
    other = train(run_in(tmp_path / "other", dataclasses.replace(CONFIG, seed=1)), sampler)
    assert one[0]["predict"] != other[0]["predict"]


def test_a_loss_that_is_no_number_stops_the_training(sampler: ClipSampler, tmp_path: Path) -> None:
    run = run_in(tmp_path)
    with torch.no_grad():
        next(run.recipe.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"not finite at step 1.*lower the learning rate"):
        train(run, sampler)
    assert not (tmp_path / "state.safetensors").exists()


def test_weights_that_are_no_numbers_do_not_replace_what_was_saved(sampler: ClipSampler, tmp_path: Path) -> None:
    """Between two looks at the losses: with them saved, the next start would go on with them."""
    config = dataclasses.replace(CONFIG, save_every_s=0.0, metrics_every_steps=100, evaluate_every_steps=100)
    run = run_in(tmp_path, config)

    def broken(step: int, metrics: dict[str, float]) -> None:
        if step == 3:
            with torch.no_grad():
                next(run.recipe.parameters()).fill_(torch.nan)

    with pytest.raises(TrainingError, match="weights are not finite after step 3; lower the learning rate"):
        run.train(sampler, lambda: {}, broken)
    assert run_in(tmp_path, config).step == 2


def test_the_state_is_data(sampler: ClipSampler, tmp_path: Path) -> None:
    train(run_in(tmp_path), sampler)
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "metrics.jsonl", "state.safetensors"}


def test_learning_rate_rises_to_one_and_falls_to_zero() -> None:
    config = TrainingConfig(steps=100, warm_up=0.1)
    shares = [learning_rate_share(step, config) for step in range(100)]
    assert shares[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert max(shares) == shares[10] == 1
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert 0 < shares[-1] < 0.001


class OnlyDecays(nn.Module):
    """Three weights that no loss moves: only weight decay does, by exactly learning rate x weight decay a step."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(2)) for _ in range(3)])

    def groups(self) -> list[ParameterGroup]:
        one, slow, plain = self.weights
        return [
            ParameterGroup([one]),
            ParameterGroup([slow], learning_rate=0.25, weight_decay=2.0),
            ParameterGroup([plain], learning_rate=3.0, weight_decay=0.0),
        ]

    def losses(self, batch: Clips, step: Step) -> dict[str, Tensor]:
        return {"nothing": torch.stack([0 * each.sum() for each in self.weights]).sum()}

    def after_step(self, step: Step) -> None:
        """Nothing moves."""


@pytest.mark.parametrize("end", [None, 0.4, 0.0])
def test_each_group_has_its_rates_at_every_step(sampler: ClipSampler, tmp_path: Path, end: float | None) -> None:
    steps, rate, decay = 20, 0.1, 0.04
    config = TrainingConfig(
        steps=steps, batch=2, learning_rate=rate, weight_decay=decay, weight_decay_end=end, warm_up=0.2,
        precision="float32", evaluate_every_steps=1000,
    )  # fmt: skip
    run, rates = Run(tmp_path, OnlyDecays(), config, {}), list[list[tuple[float, float]]]()

    def on_step(step: int, metrics: dict[str, float]) -> None:
        rates.append([(group["lr"], group["weight_decay"]) for group in run.optimiser.param_groups])

    run.train(sampler, lambda: {}, on_step)
    kept = torch.ones(3)
    for step, given in enumerate(rates):
        rising = (step + 1) / 4 if step < 4 else 0.5 * (1 + math.cos(math.pi * (step - 4) / 16))
        last = decay if end is None else end
        decays = last + (decay - last) * 0.5 * (1 + math.cos(math.pi * step / steps))
        wanted = [(rate * rising, decays), (0.25 * rate * rising, 2 * decays), (3 * rate * rising, 0)]
        assert [value for pair in given for value in pair] == pytest.approx([v for pair in wanted for v in pair]), step
        kept *= torch.tensor([1 - learning_rate * weight_decay for learning_rate, weight_decay in wanted])
    assert rates[0][0][1] == pytest.approx(decay) and rates[3][0][0] == rates[4][0][0] == rate
    weights = torch.stack(list(run.recipe.parameters())).detach()
    torch.testing.assert_close(weights, kept[:, None].expand(3, 2))
    assert kept[2] == 1 > kept[1] and kept[0] < 1


def test_the_precision_of_a_run_is_known(tmp_path: Path) -> None:
    """`auto` measures once; a run that goes on keeps what it began with."""
    assert claimed_precision(tmp_path) is None
    run_in(tmp_path, dataclasses.replace(CONFIG, precision="bfloat16"))
    assert claimed_precision(tmp_path) == "bfloat16"
    assert json.loads((tmp_path / "run.json").read_text())["training"]["steps"] == 8


def test_measuring_precision_leaves_the_recipe_as_it_was(sampler: ClipSampler) -> None:
    torch.manual_seed(0)
    recipe = LeWM(tiny(), tiny_body())
    before = {key: value.clone() for key, value in recipe.state_dict().items()}
    assert faster_precision(recipe, sampler.sample(4, 0, 0), repeats=1) in ("float32", "bfloat16")
    assert all(torch.equal(value, before[key]) for key, value in recipe.state_dict().items())
    assert all(parameter.grad is None for parameter in recipe.parameters())
