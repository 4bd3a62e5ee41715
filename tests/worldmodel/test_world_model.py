"""A trained recipe as a world model."""

import dataclasses

import pytest
import torch
from torch import Generator

from tests.tiny import tiny_recipe
from worldmodel.inference.world_model import LatentWorldModel
from worldmodel.parts.precision import CLOSE, Precision
from worldmodel.recipes.lewm import LeWM, tiny


@pytest.fixture
def model() -> LatentWorldModel:
    """From a recipe as training leaves it."""
    return LatentWorldModel(tiny_recipe().train())


def images(count: int, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=Generator().manual_seed(0))


def test_one_token_a_frame(model: LatentWorldModel) -> None:
    latents = model.encode(images(3))
    assert latents.shape == (3, 1, 16)
    past = torch.zeros(1, 2, 10)
    assert model.rollout(model.begin(latents[None], past), torch.zeros(1, 4, 5, 10)).shape == (1, 4, 5, 1, 16)
    assert model.surprise(latents[None], past).shape == (1, 2)


def test_actions_that_want_gradients_get_them(model: LatentWorldModel) -> None:
    """Also from what was begun for inference only. The slope is held against a small step in double precision."""
    model = model.double()
    generator = Generator().manual_seed(0)
    with torch.inference_mode():
        state = model.begin(torch.randn(1, 3, 1, 16, generator=generator).double(), torch.zeros(1, 2, 10).double())
        actions = torch.randn(1, 4, 5, 10, generator=generator).double()
    direction = torch.randn(actions.shape, generator=generator).double()
    wanted = actions.clone().requires_grad_()
    latents = model.rollout(state, wanted)
    (slope,) = torch.autograd.grad(latents.square().sum(), wanted)
    step = 1e-5 * direction
    higher, lower = (model.rollout(state, (actions + by).requires_grad_()).square().sum() for by in (step, -step))
    assert float((slope * step).sum()) == pytest.approx(float((higher - lower).detach()) / 2, rel=1e-4)
    assert (slope.abs().amax(-1) > 0).all(), "an action that nothing depends on"


def test_the_plain_way_and_the_fast_way_agree(model: LatentWorldModel) -> None:
    generator = Generator().manual_seed(0)
    state = model.begin(torch.randn(1, 3, 1, 16, generator=generator), torch.zeros(1, 2, 10))
    actions = torch.randn(1, 4, 5, 10, generator=generator)
    plain = model.rollout(state, actions.clone().requires_grad_())
    torch.testing.assert_close(plain.detach(), model.rollout(state, actions), rtol=1e-4, atol=1e-4)


def test_an_image_of_another_size_is_refused(model: LatentWorldModel) -> None:
    with pytest.raises(ValueError, match=r"\(64, 64\) px; wanted \(32, 32\)"):
        model.encode(images(1, side=64))


def test_encoding_leaves_the_image_and_the_model_as_they_were(model: LatentWorldModel) -> None:
    """One BatchNorm left in training mode would make a robot's latent depend on who shares its batch."""
    batch = images(5)
    before = batch.clone()
    together = model.encode(batch)
    assert torch.equal(batch, before)
    torch.testing.assert_close(model.encode(batch[2:3])[0], together[2], rtol=1e-4, atol=1e-5)
    assert not any(module.training for module in model.recipe.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_pixels_are_normalised_as_configured() -> None:
    recipe = tiny_recipe()
    seen: list[torch.Tensor] = []
    recipe.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    recipe.encode(torch.tensor([0, 51, 255], dtype=torch.uint8).expand(1, 32, 32, 3))
    torch.testing.assert_close(seen[0][0, :, 7, 9], torch.tensor([-1.0, -0.6, 1.0]))


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_surprise_is_the_squared_error_of_the_rollout(positions: str) -> None:
    """What is imagined for the action taken, against what came."""
    torch.manual_seed(0)
    config = dataclasses.replace(tiny(), predictor=dataclasses.replace(tiny().predictor, positions=positions, window=3))
    recipe = LeWM(config, 10)
    for block in recipe.predictor.every_block():
        torch.nn.init.normal_(block.modulation.weight, std=0.2)
    model = LatentWorldModel(recipe)
    generator = Generator().manual_seed(0)
    latents = torch.randn(2, 3, 1, 16, generator=generator)
    actions = torch.randn(2, 2, 10, generator=generator)
    for step in range(2):
        state = model.begin(latents[:, : step + 1], actions[:, :step])
        imagined = model.rollout(state, actions[:, None, step : step + 1])[:, 0, 0]
        error = (imagined - latents[:, step + 1]).square().sum((-2, -1))
        torch.testing.assert_close(model.surprise(latents, actions)[:, step], error, rtol=1e-4, atol=1e-5)


def test_a_frame_that_obeys_the_model_does_not_surprise_and_a_teleport_does(model: LatentWorldModel) -> None:
    start = model.encode(images(1))[:, None]
    action = torch.zeros(1, 1, 10)
    foreseen = model.rollout(model.begin(start, action[:, :0]), action[:, None])[:, 0]
    assert float(model.surprise(torch.cat([start, foreseen], 1), action)) < 1e-9
    teleported = torch.cat([start, foreseen + 1], 1)
    assert float(model.surprise(teleported, action)) == pytest.approx(16, rel=1e-4)


def test_device_is_where_the_weights_are(model: LatentWorldModel) -> None:
    assert model.device == torch.device("cpu")
    moved = model.to("meta")
    assert moved.device == torch.device("meta")
    assert moved.rollout(
        moved.begin(torch.zeros(1, 1, 1, 16, device="meta"), torch.zeros(1, 0, 10, device="meta")),
        torch.zeros(1, 2, 3, 10, device="meta"),
    ).device == torch.device("meta")


def test_the_stored_weights_are_the_trained_ones() -> None:
    """Folding is for imagining only: a checkpoint that is saved again has its BatchNorms."""
    recipe = tiny_recipe()
    before = {key: value.clone() for key, value in recipe.state_dict().items()}
    after = LatentWorldModel(recipe).recipe.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_encoding_is_the_recipes(model: LatentWorldModel) -> None:
    """BatchNorm statistics away from 0 and 1, so that folding them wrongly shows."""
    recipe = tiny_recipe().train()
    recipe.encode(images(8))
    recipe.eval()
    torch.testing.assert_close(LatentWorldModel(recipe).encode(images(3))[:, 0], recipe.encode(images(3)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_is_what_imagining_computes_in(precision: Precision) -> None:
    """Latents are float32 whatever it is, and frames are encoded alike: their latents can be shared."""
    model, full = LatentWorldModel(tiny_recipe(), precision), LatentWorldModel(tiny_recipe())
    assert str(model.dtype) == f"torch.{precision}" and model.precision == precision
    latents = model.encode(images(3))
    assert torch.equal(latents, full.encode(images(3)))
    past, actions = torch.zeros(1, 2, 10), torch.rand(1, 4, 5, 10, generator=Generator().manual_seed(0))
    imagined, wanted = (m.rollout(m.begin(latents[None], past), actions) for m in (model, full))
    assert imagined.dtype == torch.float32
    assert float((imagined - wanted).norm() / wanted.norm()) < CLOSE
