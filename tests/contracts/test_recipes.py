"""Laws that every recipe obeys, at its tiny preset. A new recipe is in RECIPES and nowhere else."""

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from worldmodel.clips import Windows
from worldmodel.errors import CheckpointError
from worldmodel.recipes import RECIPES, Recipe, config_from_json, config_to_json
from worldmodel.recipes.lewm import LeWM, paper, tiny

ACTION_WIDTH = 10
CLIPS = 12
FROZEN = {"random-encoder"}
"""Recipes that do not learn their encoder."""
PRESETS = [(name, preset) for name, (_, _, presets) in RECIPES.items() for preset in presets]


@pytest.fixture(params=RECIPES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def make(name: str, seed: int = 0) -> Any:
    module, _, presets = RECIPES[name]
    torch.manual_seed(seed)
    return module(presets["tiny"](), ACTION_WIDTH)


def windows(name: str, seed: int = 0) -> Windows:
    config = RECIPES[name][2]["tiny"]()
    generator = Generator().manual_seed(seed)
    shape = (CLIPS, config.clip_frames, config.image_px, config.image_px, 3)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Windows(frames, torch.rand(CLIPS, config.clip_frames - 1, ACTION_WIDTH, generator=generator) * 2 - 1)


def losses(recipe: Any, name: str, seed: int = 0) -> dict[str, Tensor]:
    return recipe.losses(windows(name), Generator().manual_seed(seed))


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def test_it_is_a_recipe_and_a_module(name: str) -> None:
    recipe = make(name)
    assert isinstance(recipe, Recipe) and isinstance(recipe, nn.Module)


def test_it_has_a_preset_for_tests(name: str) -> None:
    assert "tiny" in RECIPES[name][2]
    assert sum(parameter.numel() for parameter in make(name).parameters()) < 200_000


def test_losses_are_finite_named_scalars(name: str) -> None:
    terms = losses(make(name), name)
    assert terms
    for term, value in terms.items():
        assert term.isidentifier() and value.shape == () and math.isfinite(value.item())


def test_losses_are_finite_for_black_frames_and_still_actions(name: str) -> None:
    """A camera that is covered, and a robot that is off: every sample of the batch is the same."""
    batch = windows(name)
    dark = Windows(torch.zeros_like(batch.frames), torch.zeros_like(batch.actions))
    recipe = make(name)
    terms = recipe.losses(dark, Generator().manual_seed(0))
    total(terms).backward()
    assert all(math.isfinite(value.item()) for value in terms.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in recipe.parameters())


def test_gradient_reaches_the_encoder_unless_it_is_frozen(name: str) -> None:
    recipe = make(name)
    total(losses(recipe, name)).backward()
    gradients = [parameter.grad for parameter in recipe.encoder.parameters()]
    if name in FROZEN:
        assert all(gradient is None for gradient in gradients)
    else:
        assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_same_generator_seed_same_losses(name: str) -> None:
    one, same = (losses(make(name), name, seed=5) for _ in range(2))
    assert {term: value.item() for term, value in one.items()} == {term: value.item() for term, value in same.items()}


def test_the_batch_is_left_as_it_was(name: str) -> None:
    batch = windows(name)
    frames, actions = batch.frames.clone(), batch.actions.clone()
    make(name).losses(batch, Generator().manual_seed(0))
    assert torch.equal(batch.frames, frames) and torch.equal(batch.actions, actions)


def test_a_few_steps_lower_the_loss(name: str) -> None:
    recipe, batch = make(name), windows(name)
    optimiser = torch.optim.AdamW(recipe.parameters(), lr=2e-3)
    curve = []
    for _ in range(30):
        loss = total(recipe.losses(batch, Generator().manual_seed(0)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        recipe.after_step()
        curve.append(loss.item())
    assert curve[-1] < 0.7 * curve[0]


def test_weights_survive_a_state_dict_to_the_bit(name: str) -> None:
    one, other = make(name, seed=0), make(name, seed=1)
    other.load_state_dict(one.state_dict())
    frames = windows(name).frames[:, 0]
    assert torch.equal(one.eval().encode(frames), other.eval().encode(frames))


def test_bfloat16_autocast_trains(name: str) -> None:
    recipe = make(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = losses(recipe, name)
    total(terms).backward()
    full = losses(make(name), name)
    for term, value in terms.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(full[term].item(), rel=0.1), term


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_configurations_survive_json(name: str, preset: str) -> None:
    config = RECIPES[name][2][preset]()
    assert config_from_json(name, json.loads(json.dumps(config_to_json(config)))) == config


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_configurations_are_of_the_type_in_the_table(name: str, preset: str) -> None:
    assert type(RECIPES[name][2][preset]()) is RECIPES[name][1]


def test_a_configuration_of_another_type_is_refused(name: str) -> None:
    data = config_to_json(RECIPES[name][2]["tiny"]())
    for key in data:
        with pytest.raises(CheckpointError, match=key):
            config_from_json(name, {**data, key: "ten"})


class TestLeWorldModel:
    """What makes it LeWorldModel: nothing is detached, and each time step is judged on its own."""

    def latents_and_gradients(self, term: str) -> Tensor:
        """Gradient of one loss with respect to every latent of the batch [clips frames d]."""
        recipe = make("lewm")
        for block in recipe.predictor.every_block():
            nn.init.normal_(block.modulation.weight, std=0.2)
        kept: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            output.retain_grad()
            kept.append(output)

        recipe.projector.register_forward_hook(keep)
        losses(recipe, "lewm")[term].backward()
        (latents,) = kept
        assert latents.grad is not None
        return latents.grad.unflatten(0, (CLIPS, -1))

    def test_directions_are_drawn_anew_at_each_step(self) -> None:
        one, other = (losses(make("lewm"), "lewm", seed)["sigreg"].item() for seed in (5, 6))
        assert one != other

    def test_gradient_flows_into_both_sides_of_the_prediction(self) -> None:
        """The last frame is only ever predicted, the first only ever predicted from: both are moved."""
        gradients = self.latents_and_gradients("predict").abs().sum((0, 2))
        assert gradients[0] > 0, "no gradient through the prediction"
        assert gradients[-1] > 0, "the target is detached"

    def test_gradient_reaches_the_predictor_and_its_actions(self) -> None:
        recipe = make("lewm")
        for block in recipe.predictor.every_block():
            nn.init.normal_(block.modulation.weight, std=0.2)
        losses(recipe, "lewm")["predict"].backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in recipe.predictor.parameters())

    def test_sigreg_moves_every_frame(self) -> None:
        assert (self.latents_and_gradients("sigreg").abs().sum((0, 2)) > 0).all()

    def test_sigreg_judges_each_time_step_apart(self) -> None:
        """Clips that are all the same, with frames that differ: collapsed, though no two frames of a clip agree."""
        recipe = make("lewm")
        batch = windows("lewm")
        same = Windows(batch.frames[:1].expand_as(batch.frames).contiguous(), batch.actions)
        terms = [recipe.losses(b, Generator().manual_seed(0))["sigreg"].item() for b in (batch, same)]
        assert terms[1] > 1.5 * terms[0]

    @pytest.mark.parametrize("scaled", ["sigreg", "smoothness", "inverse", "rollout"])
    def test_a_weight_scales_its_term_and_nothing_else(self, scaled: str) -> None:
        terms = []
        for weight in (0.1, 0.2):
            torch.manual_seed(0)
            recipe = LeWM(dataclasses.replace(tiny(), **{f"{scaled}_weight": weight}), ACTION_WIDTH)
            terms.append({term: value.item() for term, value in losses(recipe, "lewm").items()})
        assert terms[1].pop(scaled) == pytest.approx(2 * terms[0].pop(scaled))
        assert terms[0] == terms[1]

    def test_the_published_losses_are_two(self) -> None:
        two = dataclasses.replace(tiny(), smoothness_weight=0.0, inverse_weight=0.0)
        recipe = LeWM(two, ACTION_WIDTH)
        assert set(losses(recipe, "lewm")) == {"predict", "sigreg"}
        assert not [name for name, _ in recipe.named_parameters() if name.startswith("inverse")]
        published = paper()
        assert (published.smoothness_weight, published.inverse_weight) == (0.0, 0.0)
        assert (published.rollout_weight, published.twin_weight) == (0.0, 0.0)

    def test_the_rollout_error_is_that_of_predictions_from_predictions(self) -> None:
        """Spelled out: depth by depth, each place imagined from the first latent and from what was imagined before."""
        torch.manual_seed(0)
        recipe, batch = LeWM(dataclasses.replace(tiny(), rollout_weight=0.5), ACTION_WIDTH).eval(), windows("lewm")
        latents, actions = recipe.encode_clips(batch), batch.actions
        imagined = {(0, place): latents[:, place] for place in range(latents.shape[1])}
        errors = []
        for depth in range(1, latents.shape[1]):
            for place in range(latents.shape[1]):
                if place == 0:
                    imagined[depth, 0] = latents[:, 0]
                    continue
                before = torch.stack([imagined[depth - 1, earlier] for earlier in range(place)], dim=1)
                imagined[depth, place] = recipe.predictor(before, actions[:, :place])[:, -1]
            if depth > 1:
                reached = range(depth, latents.shape[1])
                errors.append(
                    torch.stack([(imagined[depth, k] - latents[:, k]).square().mean() for k in reached]).mean()
                )
        wanted = 0.5 * torch.stack(errors).mean().item()
        assert losses(recipe, "lewm")["rollout"].item() == pytest.approx(wanted, rel=1e-4)

    def test_twins_are_to_be_where_their_frames_are_and_do_not_move_them(self) -> None:
        """In one pass with them: both have the same BatchNorm statistics."""
        recipe, batch = LeWM(dataclasses.replace(tiny(), twin_weight=0.5), ACTION_WIDTH), windows("lewm")
        twins = windows("lewm", seed=1).frames
        terms = recipe.losses(dataclasses.replace(batch, twins=twins), Generator().manual_seed(0))
        both = recipe.encode(torch.cat([batch.frames, twins]).flatten(0, 1))
        frames, others = both.chunk(2)
        wanted = 0.5 * F.mse_loss(others, frames.detach())
        assert terms["twin"].item() == pytest.approx(wanted.item(), rel=1e-4)
        (moved,) = torch.autograd.grad(wanted, both, retain_graph=True)
        assert not moved[: len(frames)].any() and moved[len(frames) :].any(1).all()
        same = recipe.losses(dataclasses.replace(batch, twins=batch.frames), Generator().manual_seed(0))
        assert same["twin"].item() == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize("term", ["smoothness", "inverse"])
    def test_smoothness_and_inverse_dynamics_move_every_frame(self, term: str) -> None:
        assert (self.latents_and_gradients(term).abs().sum((0, 2)) > 0).all()

    def test_clips_that_stand_still_are_smooth(self) -> None:
        recipe, batch = make("lewm").eval(), windows("lewm")
        still = Windows(batch.frames[:, :1].expand_as(batch.frames).contiguous(), batch.actions)
        assert recipe.losses(still, Generator().manual_seed(0))["smoothness"].item() == pytest.approx(0, abs=1e-9)

    def test_inverse_dynamics_are_held_against_the_actions_between(self) -> None:
        recipe, batch = make("lewm").eval(), windows("lewm")
        latents = recipe.encode_clips(batch)
        told = [recipe.inverse(latents[:, [k]], latents[:, [k + 1]]) for k in range(batch.actions.shape[1])]
        wanted = tiny().inverse_weight * F.mse_loss(torch.stack(told, 1), batch.actions)
        assert recipe.losses(batch, Generator().manual_seed(0))["inverse"].item() == pytest.approx(
            wanted.item(), rel=1e-5
        )
