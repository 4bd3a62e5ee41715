"""The estimate of a training's duration: every stage that will run, and no trace left."""

import dataclasses
from pathlib import Path

import pytest

from tests.episodes import write_dot_store
from tests.worldmodel.training.train_dot import CONFIG
from worldmodel.data.episodes import EpisodeStore
from worldmodel.errors import DatasetError
from worldmodel.heads.task_distance import Tolerance
from worldmodel.training.config import FitConfig
from worldmodel.training.estimate import estimate
from worldmodel.training.fit import fit
from worldmodel.training.loop import TrainingConfig
from worldmodel.training.origin import Origin
from worldmodel.training.predictor_stage import PredictorTraining

SHORT = dataclasses.replace(
    CONFIG,
    training=TrainingConfig(steps=2, batch=4, held_out=0.34, save_every_s=0.0),
    predictor=PredictorTraining(steps=1, batch=4),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    return EpisodeStore(write_dot_store(tmp_path_factory.mktemp("dots") / "store", episodes=3, steps=40, image_px=16))


def trained(store: EpisodeStore, config: FitConfig, folder: Path) -> list[str]:
    """The stages of a training in `folder`, each once, in order."""
    stages: list[str] = []
    fit(store, config, folder / "run", folder / "dot", {}, lambda stage, *_: stages.append(stage))
    return list(dict.fromkeys(stages))


def test_every_stage_of_the_training_is_expected_in_its_order(store: EpisodeStore, tmp_path: Path) -> None:
    expected = estimate(store, SHORT, tmp_path / "run")
    assert not list(tmp_path.iterdir()) and expected.precision == "float32"
    assert list(expected.seconds) == trained(store, SHORT, tmp_path)
    assert all(seconds > 0 for seconds in expected.seconds.values())
    again = estimate(store, SHORT, tmp_path / "run")
    assert again.seconds["world model"] == 0, "its steps are done"


def test_a_policy_alone_is_neither_imagined_with_nor_calibrated(store: EpisodeStore, tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, origin=Origin.of_preset("gcbc", "tiny"), predictor=PredictorTraining())
    assert list(estimate(store, config, tmp_path / "run").seconds) == trained(store, config, tmp_path)


@pytest.mark.parametrize("recipe", ["ijepa", "vjepa2-1"])
def test_an_encoder_alone_is_expected_to_be_probed_without_heads(recipe: str, tmp_path: Path) -> None:
    larger = EpisodeStore(write_dot_store(tmp_path / "store", episodes=3, steps=40))  # masks need several patches
    config = dataclasses.replace(SHORT, origin=Origin.of_preset(recipe, "tiny"), predictor=PredictorTraining())
    expected = estimate(larger, config, tmp_path / "run")
    assert list(expected.seconds) == trained(larger, config, tmp_path) == ["world model", "probe", "calibrate novelty"]
    assert all(seconds > 0 for seconds in expected.seconds.values())


def test_more_steps_take_longer(store: EpisodeStore, tmp_path: Path) -> None:
    """A hundred times, so that the noise of the clock does not decide."""
    longer = dataclasses.replace(SHORT, training=dataclasses.replace(SHORT.training, steps=200))
    one, other = (estimate(store, config, tmp_path).seconds for config in (SHORT, longer))
    assert other["world model"] > 5 * one["world model"]


def test_a_training_that_cannot_begin_is_refused(store: EpisodeStore, tmp_path: Path) -> None:
    heads = dataclasses.replace(CONFIG.heads, goal=(Tolerance(features=("z",), within=1.0),))
    with pytest.raises(DatasetError, match="a feature 'z', which was not recorded"):
        estimate(store, dataclasses.replace(SHORT, heads=heads), tmp_path)
