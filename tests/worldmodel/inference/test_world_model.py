"""A trained recipe as it is served: a fast encoder and a fast world model."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from tests.readings import random_observation
from tests.tiny import SEVERAL, TOP, tiny_body, tiny_recipe, write_tiny_checkpoint
from worldmodel.checkpoint import load_checkpoint
from worldmodel.heads.surprise import surprise
from worldmodel.inference.world_model import FastEncoder, FastWorldModel
from worldmodel.observation import ObservationBatch
from worldmodel.parts.precision import CLOSE, Precision
from worldmodel.recipe import Latents
from worldmodel.recipes.lewm import LeWM, tiny
from worldmodel.recipes.network import imagining


@dataclass(frozen=True)
class Served:
    """A recipe's module, and what is made of it to serve it."""

    recipe: LeWM
    encoder: FastEncoder
    world_model: FastWorldModel


def served(recipe: LeWM, precision: Precision = "float32") -> Served:
    return Served(recipe, FastEncoder(recipe), FastWorldModel(imagining(recipe), precision))


@pytest.fixture
def model() -> Served:
    """From a recipe as training leaves it."""
    return served(tiny_recipe().train())


def images(count: int, side: int = 32) -> ObservationBatch:
    shape = (count, side, side, 3)
    return ObservationBatch(
        {"top": torch.randint(0, 256, shape, dtype=torch.uint8, generator=Generator().manual_seed(0))}
    )


def test_one_token_a_frame(model: Served) -> None:
    latents = model.encoder.encode(images(3)).tokens
    assert latents.shape == (3, 1, 16)
    past = torch.zeros(1, 2, 10)
    state = model.world_model.begin(Latents(latents[None]), past)
    assert model.world_model.rollout(state, torch.zeros(1, 4, 5, 10)).shape == (1, 4, 5, 1, 16)
    assert surprise(model.world_model, latents[None], past).shape == (1, 2)


def test_actions_that_want_gradients_get_them() -> None:
    """Also from what was begun for inference only. The slope is compared with a small step in double precision."""
    model = served(tiny_recipe().double()).world_model
    generator = Generator().manual_seed(0)
    with torch.inference_mode():
        context = Latents(torch.randn(1, 3, 1, 16, generator=generator).double())
        state = model.begin(context, torch.zeros(1, 2, 10).double())
        actions = torch.randn(1, 4, 5, 10, generator=generator).double()
    direction = torch.randn(actions.shape, generator=generator).double()
    wanted = actions.clone().requires_grad_()
    latents = model.rollout(state, wanted)
    (slope,) = torch.autograd.grad(latents.square().sum(), wanted)
    step = 1e-5 * direction
    higher, lower = (model.rollout(state, (actions + by).requires_grad_()).square().sum() for by in (step, -step))
    assert float((slope * step).sum()) == pytest.approx(float((higher - lower).detach()) / 2, rel=1e-4)
    assert (slope.abs().amax(-1) > 0).all(), "an action that nothing depends on"


def test_the_plain_way_and_the_fast_way_agree(model: Served) -> None:
    generator = Generator().manual_seed(0)
    state = model.world_model.begin(Latents(torch.randn(1, 3, 1, 16, generator=generator)), torch.zeros(1, 2, 10))
    actions = torch.randn(1, 4, 5, 10, generator=generator)
    plain = model.world_model.rollout(state, actions.clone().requires_grad_())
    torch.testing.assert_close(plain.detach(), model.world_model.rollout(state, actions), rtol=1e-4, atol=1e-4)


def test_readings_of_another_shape_are_refused_by_the_sensors_name(model: Served) -> None:
    with pytest.raises(ValueError, match=r"sensor top is \[64, 64, 3\]; wanted \[32, 32, 3\]"):
        model.encoder.encode(images(1, side=64))
    several, observation = served(tiny_recipe(sensors=SEVERAL)).encoder, random_observation(SEVERAL, 1)
    short = {**observation.values, "proprioception": observation.values["proprioception"][:, :6]}
    with pytest.raises(ValueError, match=r"sensor proprioception is \[6\]; wanted \[7\]"):
        several.encode(ObservationBatch(short))


def test_encoding_leaves_the_image_and_the_model_as_they_were(model: Served) -> None:
    """One BatchNorm left in training mode would make a robot's latent depend on who shares its batch."""
    batch = images(5)
    before = batch.values["top"].clone()
    together = model.encoder.encode(batch).tokens
    assert torch.equal(batch.values["top"], before)
    alone = model.encoder.encode(ObservationBatch({"top": before[2:3]})).tokens
    torch.testing.assert_close(alone[0], together[2], rtol=1e-4, atol=1e-5)
    assert not any(module.training for module in model.recipe.modules())
    assert not any(parameter.requires_grad for parameter in model.recipe.parameters())


def test_a_world_model_alone_leaves_training_mode_too() -> None:
    """A recipe may have dropout, which a rollout with gradients must not draw."""
    recipe = tiny_recipe().train()
    FastWorldModel(imagining(recipe))
    assert not any(module.training for module in recipe.predictor.modules())
    assert not any(parameter.requires_grad for parameter in recipe.predictor.parameters())


def test_pixels_are_normalised_as_configured() -> None:
    recipe = tiny_recipe()
    seen: list[Tensor] = []
    recipe.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    recipe.encode(ObservationBatch({"top": torch.tensor([0, 51, 255], dtype=torch.uint8).expand(1, 32, 32, 3)}))
    torch.testing.assert_close(seen[0][0, :, 7, 9], torch.tensor([-1.0, -0.6, 1.0]))


@pytest.mark.parametrize("way", ["plain", "fast"])
def test_a_vectors_token_is_its_standardised_readings(way: str) -> None:
    """Padded with zeros, and scaled so that seven entries weigh as sixteen would."""
    recipe, observation = tiny_recipe(sensors=SEVERAL), random_observation(SEVERAL, 3)
    token = (recipe if way == "plain" else FastEncoder(recipe)).encode(observation).tokens[:, 2]
    mean, std = torch.tensor(SEVERAL[2].mean), torch.tensor(SEVERAL[2].std)
    wanted = (observation.values["proprioception"] - mean) / std * (16 / 7) ** 0.5
    torch.testing.assert_close(token[:, :7], wanted)
    assert not token[:, 7:].any()


def test_each_camera_has_weights_of_its_own() -> None:
    """Two cameras that see the same give two latents."""
    recipe = tiny_recipe(sensors=SEVERAL)
    observation = random_observation(SEVERAL, 3)
    same = ObservationBatch({**observation.values, "wrist": observation.values["top"]})
    tokens = FastEncoder(recipe).encode(same).tokens
    assert (tokens[:, 0] - tokens[:, 1]).abs().amax() > 1e-2


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_surprise_is_the_squared_error_of_the_rollout(positions: str) -> None:
    """The latents imagined for the action taken, against those that came."""
    torch.manual_seed(0)
    config = dataclasses.replace(tiny(), predictor=dataclasses.replace(tiny().predictor, positions=positions, window=3))
    recipe = LeWM(config, tiny_body())
    for block in recipe.predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.2)
    model = served(recipe).world_model
    generator = Generator().manual_seed(0)
    latents = torch.randn(2, 3, 1, 16, generator=generator)
    actions = torch.randn(2, 2, 10, generator=generator)
    for step in range(2):
        state = model.begin(Latents(latents[:, : step + 1]), actions[:, :step])
        imagined = model.rollout(state, actions[:, None, step : step + 1])[:, 0, 0]
        error = (imagined - latents[:, step + 1]).square().sum((-2, -1))
        torch.testing.assert_close(surprise(model, latents, actions)[:, step], error, rtol=1e-4, atol=1e-5)


def test_a_frame_that_obeys_the_model_does_not_surprise_and_a_teleport_does(model: Served) -> None:
    start = model.encoder.encode(images(1)).tokens[:, None]
    action = torch.zeros(1, 1, 10)
    state = model.world_model.begin(Latents(start), action[:, :0])
    foreseen = model.world_model.rollout(state, action[:, None])[:, 0]
    assert float(surprise(model.world_model, torch.cat([start, foreseen], 1), action)) < 1e-9
    teleported = torch.cat([start, foreseen + 1], 1)
    assert float(surprise(model.world_model, teleported, action)) == pytest.approx(16, rel=1e-4)


def test_surprise_counts_every_token() -> None:
    """Three tokens that are each 1 off in 16 channels."""
    model = served(tiny_recipe(sensors=SEVERAL)).world_model
    latents, action = torch.randn(1, 1, 3, 16, generator=Generator().manual_seed(0)), torch.zeros(1, 1, 10)
    foreseen = model.rollout(model.begin(Latents(latents), action[:, :0]), action[:, None])[:, 0]
    assert float(surprise(model, torch.cat([latents, foreseen + 1], 1), action)) == pytest.approx(48, rel=1e-4)


def test_everything_is_on_the_device_that_was_asked_for(tmp_path: Path) -> None:
    """`meta` stands in for a GPU: it computes shapes, and refuses tensors of the CPU."""
    folder = write_tiny_checkpoint(tmp_path)
    assert load_checkpoint(folder).device == torch.device("cpu")
    moved, frames = load_checkpoint(folder, device="meta"), images(1).to(torch.device("meta"))
    assert moved.device == torch.device("meta")
    assert moved.encoder is not None and moved.world_model is not None
    latents = moved.encoder.encode(frames).tokens[None]
    state = moved.world_model.begin(Latents(latents), torch.zeros(1, 0, 10, device="meta"))
    imagined = moved.world_model.rollout(state, torch.zeros(1, 2, 3, 10, device="meta"))
    steps_to_go = moved.distances["steps_to_go"][1](imagined, latents[0])
    assert latents.device == imagined.device == steps_to_go.device == torch.device("meta")


def test_the_stored_weights_are_the_trained_ones() -> None:
    """Folding is for imagining only: a checkpoint that is saved again has its BatchNorms."""
    recipe = tiny_recipe()
    before = {key: value.clone() for key, value in recipe.state_dict().items()}
    after = served(recipe).recipe.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("sensors", [(TOP,), SEVERAL], ids=["one camera", "several sensors"])
def test_encoding_is_the_recipes(sensors) -> None:
    """BatchNorm statistics away from 0 and 1, so that folding them wrongly shows."""
    recipe = tiny_recipe(sensors=sensors).train()
    recipe.encode(random_observation(sensors, 8))
    wanted = recipe.eval().encode(random_observation(sensors, 3, seed=1)).tokens.detach()
    given = FastEncoder(recipe).encode(random_observation(sensors, 3, seed=1)).tokens
    torch.testing.assert_close(given, wanted)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_is_what_imagining_computes_in(precision: Precision) -> None:
    """Latents are float32 whatever it is, and frames are encoded alike: their latents can be shared."""
    model, full = served(tiny_recipe(), precision), served(tiny_recipe())
    latents = model.encoder.encode(images(3)).tokens
    assert torch.equal(latents, full.encoder.encode(images(3)).tokens)
    past, actions = torch.zeros(1, 2, 10), torch.rand(1, 4, 5, 10, generator=Generator().manual_seed(0))
    models = (model.world_model, full.world_model)
    imagined, wanted = (m.rollout(m.begin(Latents(latents[None]), past), actions) for m in models)
    assert imagined.dtype == torch.float32
    assert float((imagined - wanted).norm() / wanted.norm()) < CLOSE
    assert torch.equal(imagined, wanted) == (precision == "float32")
