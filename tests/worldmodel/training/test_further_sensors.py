"""Training goes on from a checkpoint with the same sensors first, and further ones behind them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator

from tests.episodes import write_dot_store
from tests.tiny import PROPRIOCEPTION, SEVERAL, TOP, WRIST, tiny_body, tiny_manifest, write_tiny_checkpoint
from tests.worldmodel.training.train_dot import CONFIG
from worldmodel.checkpoint import TrainedModel, load_checkpoint, save_checkpoint
from worldmodel.data.episodes import EpisodeStore
from worldmodel.errors import TrainingError
from worldmodel.manifest import LatentSpec, Manifest
from worldmodel.observation import ObservationBatch, SensorSpec
from worldmodel.recipe import Body, Latents
from worldmodel.recipes import config_to_json
from worldmodel.recipes.lewm import LeWM, LeWMConfig, tiny
from worldmodel.training.config import FitConfig
from worldmodel.training.fit import fit
from worldmodel.training.loop import TrainingConfig
from worldmodel.training.origin import Origin

SIDE = dataclasses.replace(TOP, name="side")


def checkpoint(folder: Path, config: LeWMConfig, sensors: tuple[SensorSpec, ...] = (TOP,)) -> Path:
    """Random weights whose actions, context and last layer matter."""
    torch.manual_seed(3)
    module = LeWM(config, tiny_body(sensors)).eval()
    for block in module.predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.2)
    torch.nn.init.normal_(module.predictor.leaving.weight, std=0.2)
    latent = LatentSpec(tokens=len(sensors), width=config.latent_width)
    manifest = tiny_manifest(config=config_to_json(config), sensors=sensors, latent=latent, heads={})
    save_checkpoint(folder, manifest, TrainedModel(module, {}))
    return folder


def begin(origin: Origin, sensors: tuple[SensorSpec, ...], seed: int = 5) -> LeWM:
    module = origin.module(tiny_body(sensors), seed).eval()
    assert isinstance(module, LeWM)
    return module


def seen(sensors: tuple[SensorSpec, ...]) -> ObservationBatch:
    """Four frames of noise."""
    dice = np.random.default_rng(0)
    pixels = {s.name: dice.integers(0, 256, (4, *s.shape), dtype=np.uint8) for s in sensors if s.kind == "camera"}
    vectors = {s.name: dice.normal(size=(4, *s.shape)).astype(np.float32) for s in sensors if s.kind == "vector"}
    return ObservationBatch({name: torch.from_numpy(values) for name, values in {**pixels, **vectors}.items()})


def test_known_encoders_are_taken_over_to_the_bit_and_others_are_drawn(tmp_path: Path) -> None:
    """From two sensors to four, of which the first camera's encoder, and the second's, are the checkpoint's."""
    origin = Origin.of_checkpoint(checkpoint(tmp_path, tiny(), (TOP, WRIST)))
    sensors = (*SEVERAL, SIDE)
    module, random = begin(origin, sensors), origin.untrained(tiny_body(sensors), 5)
    assert origin.weights is not None
    taken = [name for name in module.state_dict() if name.startswith(("encoder.", "projector.", "further.0."))]
    assert len(taken) == 2 * (len(origin.weights.keys() & {*taken}) // 2) > 10
    for name in taken:
        assert torch.equal(module.state_dict()[name], origin.weights[name]), name
    drawn = [name for name in module.state_dict() if name.startswith("further.1.")]
    assert len(drawn) > 10
    for name in (*drawn, "inverse.layers.0.weight"):  # which read other latents
        assert torch.equal(module.state_dict()[name], random.state_dict()[name]), name
    before = load_checkpoint(tmp_path).trained.module
    assert isinstance(before, LeWM)
    with torch.no_grad():
        tokens = module.tokens(seen(sensors))
        assert torch.equal(tokens[:, :2], before.tokens(seen((TOP, WRIST))))
    assert tokens.shape == (4, 4, 16)


CONFIGS: dict[str, LeWMConfig] = {
    "a narrow token": tiny(),
    "a token that enters as it is": dataclasses.replace(tiny(), latent_width=32),
    "residual": dataclasses.replace(tiny(), predictor=dataclasses.replace(tiny().predictor, residual=True)),
    "learned positions": dataclasses.replace(
        tiny(), predictor=dataclasses.replace(tiny().predictor, positions="learned", double_norm=True)
    ),
}


@pytest.mark.parametrize("further", [(WRIST,), (WRIST, PROPRIOCEPTION)], ids=["two tokens", "three tokens"])
@pytest.mark.parametrize("name", CONFIGS)
def test_what_the_predictor_says_of_the_first_token_stays(
    name: str, further: tuple[SensorSpec, ...], tmp_path: Path
) -> None:
    """Whatever the new tokens hold: their weights begin at zero. Two tokens of 16 are as wide as the blocks are."""
    config = CONFIGS[name]
    origin = Origin.of_checkpoint(checkpoint(tmp_path, config))
    before = load_checkpoint(tmp_path).trained.module
    after = begin(origin, (TOP, *further))
    assert isinstance(before, LeWM)
    width, generator = config.latent_width, Generator().manual_seed(1)
    latents = torch.randn(3, 4, (1 + len(further)) * width, generator=generator)
    actions = torch.rand(3, 4, 10, generator=generator) * 2 - 1
    with torch.no_grad():
        wanted = before.predictor(latents[..., :width], actions)
        predicted = after.predictor(latents, actions)
    assert wanted.std() > 0.1, "nothing would be told apart"
    torch.testing.assert_close(predicted[..., :width], wanted, rtol=1e-4, atol=1e-5)


def test_new_tokens_are_learned_from_the_first_step(tmp_path: Path) -> None:
    """Zeros are where it begins, not where it stays: they have gradients."""
    after = begin(Origin.of_checkpoint(checkpoint(tmp_path, tiny())), (TOP, WRIST)).train()
    after.predictor(torch.randn(3, 4, 32), torch.randn(3, 4, 10)).square().sum().backward()
    enter = after.predictor.enter
    assert isinstance(enter, torch.nn.Linear) and enter.weight.grad is not None
    assert (enter.weight[:, 16:] == 0).all() and (enter.weight.grad[:, 16:].abs().sum(0) > 0).all()


def other(sensor: SensorSpec, **changes: Any) -> SensorSpec:
    return dataclasses.replace(sensor, **changes)


DEGREES = other(PROPRIOCEPTION, units=("deg",) * 6 + ("m",))
REFUSED: dict[str, tuple[SensorSpec, ...]] = {
    "another order": (WRIST, TOP, PROPRIOCEPTION),
    "a further sensor before them": (SIDE, *SEVERAL),
    "a further sensor between them": (TOP, SIDE, WRIST, PROPRIOCEPTION),
    "fewer sensors": (TOP, WRIST),
    "another name": (other(TOP, name="front"), WRIST, PROPRIOCEPTION),
    "another size": (other(TOP, shape=(64, 64, 3)), WRIST, PROPRIOCEPTION),
    "other units": (TOP, WRIST, DEGREES),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_sensors_are_refused(name: str, tmp_path: Path) -> None:
    """Two cameras alike that changed places once had each other's encoder, and nothing said so."""
    origin = Origin.of_checkpoint(write_tiny_checkpoint(tmp_path, sensors=SEVERAL, heads={}))
    wanted = r"checkpoint's sensors are top \(camera 32 x 32 x 3\), wrist .*give the checkpoint's first, in its order"
    with pytest.raises(TrainingError, match=wanted):
        origin.module(tiny_body(REFUSED[name]), 0)


def test_limits_and_standardisation_of_a_store_may_be_others(tmp_path: Path) -> None:
    origin = Origin.of_checkpoint(write_tiny_checkpoint(tmp_path, sensors=SEVERAL, heads={}))
    further = other(PROPRIOCEPTION, high=(4.0,) * 6 + (0.2,), mean=(), std=())
    origin.module(tiny_body((TOP, WRIST, further)), 0)


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        ((PROPRIOCEPTION, TOP), "the first sensor, proprioception, is a vector; wanted a camera first"),
        ((other(TOP, shape=(32, 48, 3)),), "camera top gives 32 x 48 px; wanted square images"),
        ((TOP, other(WRIST, shape=(20, 20, 3))), "image side 20 px must be a multiple of 8 px"),
    ],
)
def test_sensors_that_the_recipe_cannot_take_are_refused(sensors: tuple[SensorSpec, ...], message: str) -> None:
    with pytest.raises(
        TrainingError, match=f"{message}.*; reorder --sensors, choose another preset, or collect what it wants"
    ):
        Origin.of_preset(preset="tiny").module(Body(sensors=sensors, action_width=10), 0)


SETTINGS = TrainingConfig(steps=1, batch=8, held_out=0.34, learning_rate=1e-12, evaluate_every_steps=1)


def trained(store: EpisodeStore, origin: Origin, folder: Path) -> Manifest:
    config: FitConfig = dataclasses.replace(CONFIG, origin=origin, training=SETTINGS)
    manifest = fit(store, config, folder / "run", folder / "model", {}, lambda *_: None)
    assert manifest is not None
    return manifest


def test_from_one_camera_to_several_sensors_and_on_to_other_episodes(tmp_path: Path) -> None:
    """The vector is standardised by the first store's training episodes, and stays so on the second's."""
    folders = [
        write_dot_store(tmp_path / f"store-{steps}", episodes=3, steps=steps, several_sensors=True)
        for steps in (40, 45)
    ]
    several, others = map(EpisodeStore, folders)
    second = trained(several, Origin.of_checkpoint(checkpoint(tmp_path / "first", tiny())), tmp_path / "second")
    third = trained(others, Origin.of_checkpoint(tmp_path / "second" / "model"), tmp_path / "third")
    assert [sensor.name for sensor in second.sensors] == ["top", "side", "position"]
    position, held_out_too = second.sensors[2], several.standardised(several.sensors[2], several.episodes)
    assert position == several.standardised(several.sensors[2], several.split(0.34, 0)[0])
    assert position.mean != held_out_too.mean and third.sensors == second.sensors
    assert (second.latent.tokens, second.latent.width) == (3, 16)
    assert [parent.sha256 for parent in third.parents] == [second.weights.sha256]
    loaded = load_checkpoint(tmp_path / "third" / "model")
    assert loaded.encoder is not None and loaded.world_model is not None
    latents = loaded.encoder.encode(seen(loaded.manifest.sensors)).tokens[:, None]
    begun = loaded.world_model.begin(Latents(latents), torch.zeros(4, 0, 10))
    future = loaded.world_model.rollout(begun, torch.zeros(4, 2, 5, 10))
    assert future.shape == (4, 2, 5, 3, 16)
    assert all(distance(future, latents[:, 0]).shape == (4, 2, 5) for _, distance in loaded.distances.values())
