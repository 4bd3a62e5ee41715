"""The beginning of a training: random weights, or a checkpoint's."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.episodes import write_dot_store
from tests.tiny import tiny_body
from tests.worldmodel.training.power_cut import Stopped
from tests.worldmodel.training.train_dot import CONFIG, train_dot
from worldmodel.data.episodes import EpisodeStore
from worldmodel.errors import DatasetError, TrainingError
from worldmodel.manifest import Manifest, Parent, read_manifest
from worldmodel.recipe import Body
from worldmodel.recipes.lewm import LeWM
from worldmodel.training.fit import fit
from worldmodel.training.loop import TrainingConfig
from worldmodel.training.origin import Origin
from worldmodel.training.predictor_stage import PredictorTraining

BODY = tiny_body()
"""The robot of the store of dots."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dot_store(tmp_path_factory.mktemp("dots") / "store")


@pytest.fixture(scope="module")
def trained(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_dot(store, folder / "run", folder / "dot")
    return folder / "dot"


def test_a_training_goes_on_from_a_checkpoint(store: Path, trained: Path, tmp_path: Path) -> None:
    """A step too small to change anything leaves the checkpoint's weights; its manifest says where they come from."""
    origin = Origin.of_checkpoint(trained, {"inverse_weight": 0.25})
    training = TrainingConfig(steps=1, batch=16, held_out=0.25, learning_rate=1e-12, evaluate_every_steps=1)
    config = dataclasses.replace(CONFIG, origin=origin, training=training)
    manifest = fit(EpisodeStore(store), config, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)
    assert manifest is not None
    start = read_manifest(trained)
    assert Manifest.from_json(manifest.to_json()).config == {**start.config, "inverse_weight": 0.25}
    assert manifest.training["start_from"] == {
        "name": "dot",
        "version": "1",
        "weights_sha256": start.weights.sha256,
    }
    assert manifest.parents == (Parent(name="dot", sha256=start.weights.sha256),)
    before, after = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "out"))
    learned = [name for name in before if name.startswith("world_model.") and name.endswith("weight")]
    assert len(learned) > 20 and all(torch.allclose(before[name], after[name], atol=1e-6) for name in learned)
    other = dataclasses.replace(config, origin=dataclasses.replace(origin, weights=None, described={}))
    with pytest.raises(DatasetError, match="other settings"):  # in the same folder, from random weights
        fit(EpisodeStore(store), other, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)


def test_no_steps_leave_the_model_and_learn_its_heads_on_other_data(store: Path, trained: Path, tmp_path: Path) -> None:
    training = TrainingConfig(steps=0, batch=16, held_out=0.25, seed=1)
    config = dataclasses.replace(CONFIG, origin=Origin.of_checkpoint(trained), training=training)
    for _ in range(2):  # the second time there is nothing left to do, and nothing is logged twice
        manifest = fit(EpisodeStore(store), config, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)
    assert manifest is not None
    assert manifest.training["held_out"]["step"] == 0 and manifest.training["held_out"]["predict_mse"] > 0
    assert manifest.training["curves"]["evaluation_step"] == [0] and not manifest.training["curves"]["step"]
    before, after = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "out"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("world_model.")} <= same
    assert any(name.startswith("steps_to_go.") for name in before.keys() - same)


def test_the_predictor_goes_on_alone(store: Path, trained: Path, tmp_path: Path) -> None:
    """The encoder stays, and the figures in the manifest are of the predictor that came out."""
    longer = write_dot_store(tmp_path / "longer", steps=40)
    training = TrainingConfig(steps=0, batch=16, held_out=0.25)
    config = dataclasses.replace(
        CONFIG,
        origin=Origin.of_checkpoint(trained),
        training=training,
        predictor=PredictorTraining(steps=20, batch=64),
    )
    stages: dict[str, int] = {}
    with pytest.raises(DatasetError, match="longest training episode has 31 frames; "):
        fit(EpisodeStore(store), config, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)
    manifest = fit(
        EpisodeStore(longer),
        config,
        tmp_path / "run",
        tmp_path / "out",
        {},
        lambda stage, done, *_: stages.__setitem__(stage, done),
    )
    assert manifest is not None and stages["predictor"] == 20
    before, after = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "out"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    model = {name for name in changed if name.startswith("world_model.")}
    assert model and all(name.startswith("world_model.predictor.") for name in model)
    assert manifest.training["predictor"]["steps"] == 20
    was = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())  # before the predictor's own steps
    curves = manifest.training["curves"]
    assert curves["predict_mse"] == [round(was["predict_mse"], 5)], "the curves end where the first stage does"
    came = manifest.training["held_out"]
    assert came["predict_mse"] != was["predict_mse"] and came["copy_mse"] == pytest.approx(was["copy_mse"])


def test_stopped_while_the_predictor_goes_on_alone_it_comes_to_the_same_checkpoint(tmp_path: Path) -> None:
    store = EpisodeStore(write_dot_store(tmp_path / "store", steps=40))
    training = TrainingConfig(steps=4, batch=16, held_out=0.25, evaluate_every_steps=4)
    predictor = PredictorTraining(steps=20, batch=64, save_every_s=0.0)
    config = dataclasses.replace(CONFIG, training=training, predictor=predictor)

    def stop(stage: str, done: int, *_: object) -> None:
        if (stage, done) == ("predictor", 12):
            raise Stopped

    steps: list[int] = []

    def count(stage: str, done: int, *_: object) -> None:
        if stage == "predictor":
            steps.append(done)

    whole = fit(store, config, tmp_path / "whole", tmp_path / "a" / "dot", {}, lambda *_: None)
    with pytest.raises(Stopped):
        fit(store, config, tmp_path / "cut", tmp_path / "b" / "dot", {}, stop)
    again = fit(store, config, tmp_path / "cut", tmp_path / "b" / "dot", {}, count)
    assert steps == list(range(12, 21))  # the twelfth had not been saved
    assert again == whole


def test_what_the_checkpoint_lacks_is_random(store: Path, trained: Path, tmp_path: Path) -> None:
    """A checkpoint trained without inverse dynamics has no head for it."""
    without = Origin.of_checkpoint(trained, {"inverse_weight": 0})
    config = dataclasses.replace(CONFIG, origin=without, training=TrainingConfig(steps=1, batch=16, held_out=0.25))
    fit(EpisodeStore(store), config, tmp_path / "run", tmp_path / "out", {}, lambda *_: None)
    origin = Origin.of_checkpoint(tmp_path / "out", {"inverse_weight": 0.5})
    assert origin.weights is not None and not any(name.startswith("inverse.") for name in origin.weights)
    module, random = origin.module(BODY, 3), origin.untrained(BODY, 3)
    for name, value in module.state_dict().items():
        assert torch.equal(value, origin.weights.get(name, random.state_dict()[name])), name


def test_a_predictor_becomes_residual_and_keeps_all_but_its_head(trained: Path) -> None:
    origin = Origin.of_checkpoint(trained, {"predictor.residual": True})
    module = origin.module(BODY, 3)
    assert isinstance(module, LeWM)
    latents, actions = torch.randn(2, 3, module.config.latent_width), torch.randn(2, 3, BODY.action_width)
    assert torch.equal(module.predictor(latents, actions), latents), "until it has learned, all rests"
    assert origin.weights is not None
    kept = [name for name in module.state_dict() if not name.startswith("predictor.change.")]
    assert all(torch.equal(module.state_dict()[name], origin.weights[name]) for name in kept) and len(kept) > 30


@pytest.mark.parametrize("name", ["depth", "predictor.deep", "predictor.", "decoder.depth", "latent_width.x"])
def test_a_setting_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(TrainingError, match=rf"has no setting '{name}'; it has .*predictor.depth, .*twin_weight"):
        Origin.of_preset("lewm", "tiny", {name: 1})


def test_weights_of_another_shape_are_refused(trained: Path) -> None:
    with pytest.raises(TrainingError, match=r"this training's \[.*as many actions a control step"):
        Origin.of_checkpoint(trained).module(Body(sensors=BODY.sensors, action_width=15), 0)
    with pytest.raises(TrainingError, match="change no widths"):
        Origin.of_checkpoint(trained, {"latent_width": 8}).module(BODY, 0)
