"""LeWorldModel's own laws: nothing is detached, and each time step is judged on its own."""

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tests.readings import random_clips
from tests.tiny import ACTION, SEVERAL, TOP, tiny_body
from worldmodel.clips import Clips
from worldmodel.observation import ObservationBatch, SensorSpec
from worldmodel.recipe import Step
from worldmodel.recipes.lewm import LeWM, paper, tiny

CLIPS = 12


def make(sensors: tuple[SensorSpec, ...] = (TOP,), **changes: Any) -> LeWM:
    torch.manual_seed(0)
    return LeWM(dataclasses.replace(tiny(), **changes), tiny_body(sensors))


def feeling(recipe: LeWM) -> LeWM:
    """Actions matter, as they do not at the start of a training."""
    for block in recipe.predictor.every_block():
        nn.init.normal_(block.modulation.weight, std=0.2)
    return recipe


def clips(sensors: tuple[SensorSpec, ...] = (TOP,), seed: int = 0) -> Clips:
    return random_clips(sensors, CLIPS, tiny().clip_frames, action_width=ACTION.width, seed=seed)


def actions_of(batch: Clips) -> Tensor:
    assert batch.actions is not None
    return batch.actions


def losses(recipe: LeWM, batch: Clips, seed: int = 0) -> dict[str, Tensor]:
    return recipe.losses(batch, Step(0, 1, Generator().manual_seed(seed)))


def latents_of(recipe: LeWM, batch: Clips) -> Tensor:
    """[b t n d]"""
    return recipe.tokens(batch.frames).unflatten(0, batch.shape)


def with_frames(batch: Clips, frames: Tensor) -> Clips:
    return dataclasses.replace(batch, sensors={"top": frames})


def gradients_of_latents(term: str) -> Tensor:
    """Gradient of one loss with respect to every latent of the batch [clips frames d]."""
    recipe = feeling(make())
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    recipe.projector.register_forward_hook(keep)
    losses(recipe, clips())[term].backward()
    (latents,) = kept
    assert latents.grad is not None
    return latents.grad.unflatten(0, (CLIPS, -1))


def test_directions_are_drawn_anew_at_each_step() -> None:
    one, other = (losses(make(), clips(), seed)["sigreg"].item() for seed in (5, 6))
    assert one != other


def test_gradient_flows_into_both_sides_of_the_prediction() -> None:
    """The last frame is only ever predicted, the first only ever predicted from: both are moved."""
    gradients = gradients_of_latents("predict").abs().sum((0, 2))
    assert gradients[0] > 0, "no gradient through the prediction"
    assert gradients[-1] > 0, "the target is detached"


def test_gradient_reaches_the_predictor_and_its_actions() -> None:
    recipe = feeling(make())
    losses(recipe, clips())["predict"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in recipe.predictor.parameters())


def test_sigreg_moves_every_frame() -> None:
    assert (gradients_of_latents("sigreg").abs().sum((0, 2)) > 0).all()


def test_sigreg_judges_each_time_step_apart() -> None:
    """Clips that are all the same, with frames that differ: collapsed, though no two frames of a clip agree."""
    recipe, batch = make(), clips()
    frames = batch.sensors["top"]
    same = with_frames(batch, frames[:1].expand_as(frames).contiguous())
    terms = [losses(recipe, each)["sigreg"].item() for each in (batch, same)]
    assert terms[1] > 1.5 * terms[0]


@pytest.mark.parametrize("scaled", ["sigreg", "smoothness", "inverse", "rollout"])
def test_a_weight_scales_its_term_and_nothing_else(scaled: str) -> None:
    terms = []
    for weight in (0.1, 0.2):
        recipe = make(**{f"{scaled}_weight": weight})
        terms.append({term: value.item() for term, value in losses(recipe, clips()).items()})
    assert terms[1].pop(scaled) == pytest.approx(2 * terms[0].pop(scaled))
    assert terms[0] == terms[1]


def test_the_published_losses_are_two() -> None:
    recipe = make(smoothness_weight=0.0, inverse_weight=0.0)
    assert set(losses(recipe, clips())) == {"predict", "sigreg"}
    assert not [name for name, _ in recipe.named_parameters() if name.startswith("inverse")]
    published = paper()
    assert (published.smoothness_weight, published.inverse_weight) == (0.0, 0.0)
    assert (published.rollout_weight, published.twin_weight) == (0.0, 0.0)


def test_the_rollout_error_is_that_of_predictions_from_predictions() -> None:
    """Spelled out: depth by depth, each place imagined from the first latent and from what was imagined before."""
    recipe, batch = make(rollout_weight=0.5).eval(), clips()
    latents, actions = latents_of(recipe, batch).flatten(2), actions_of(batch)
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
            errors.append(torch.stack([(imagined[depth, k] - latents[:, k]).square().mean() for k in reached]).mean())
    wanted = 0.5 * torch.stack(errors).mean().item()
    assert losses(recipe, batch)["rollout"].item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("sensors", [(TOP,), SEVERAL], ids=["one camera", "several sensors"])
def test_twins_are_to_be_where_their_frames_are_and_do_not_move_them(sensors: tuple[SensorSpec, ...]) -> None:
    """In one pass with them: both have the same BatchNorm statistics."""
    recipe, batch = make(sensors, twin_weight=0.5), clips(sensors)
    assert recipe.config.wants_twins
    twins = {name: values for name, values in clips(sensors, seed=1).sensors.items()}
    terms = losses(recipe, dataclasses.replace(batch, twins=twins))
    together = {name: torch.cat([values, twins[name]]).flatten(0, 1) for name, values in batch.sensors.items()}
    both = recipe.tokens(ObservationBatch(together))
    frames, others = both.chunk(2)
    wanted = 0.5 * F.mse_loss(others, frames.detach())
    assert terms["twin"].item() == pytest.approx(wanted.item(), rel=1e-4)
    (moved,) = torch.autograd.grad(wanted, both, retain_graph=True)
    assert not moved[: len(frames)].any() and moved[len(frames) :].flatten(1).any(1).all()
    same = losses(recipe, dataclasses.replace(batch, twins=batch.sensors))
    assert same["twin"].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("term", ["smoothness", "inverse"])
def test_smoothness_and_inverse_dynamics_move_every_frame(term: str) -> None:
    assert (gradients_of_latents(term).abs().sum((0, 2)) > 0).all()


def test_clips_that_stand_still_are_smooth() -> None:
    recipe, batch = make().eval(), clips()
    frames = batch.sensors["top"]
    still = with_frames(batch, frames[:, :1].expand_as(frames).contiguous())
    assert losses(recipe, still)["smoothness"].item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("sensors", [(TOP,), SEVERAL], ids=["one camera", "several sensors"])
def test_inverse_dynamics_are_compared_with_the_actions_between(sensors: tuple[SensorSpec, ...]) -> None:
    recipe, batch = make(sensors).eval(), clips(sensors)
    latents, actions = latents_of(recipe, batch).flatten(2), actions_of(batch)
    read = [recipe.inverse(latents[:, [k]], latents[:, [k + 1]])[:, 0] for k in range(actions.shape[1])]
    wanted = tiny().inverse_weight * F.mse_loss(torch.stack(read, 1), actions)
    assert losses(recipe, batch)["inverse"].item() == pytest.approx(wanted.item(), rel=1e-5)


def test_a_vector_is_predicted_and_neither_regularised_nor_smoothed() -> None:
    """Its token is its readings: nothing of it is learned, so nothing of it can collapse."""
    recipe, batch = feeling(make(SEVERAL)).eval(), clips(SEVERAL)
    vectors = {"proprioception": clips(SEVERAL, seed=1).sensors["proprioception"]}
    one = losses(recipe, batch)
    other = losses(recipe, dataclasses.replace(batch, sensors={**batch.sensors, **vectors}))
    assert {term for term in one if one[term].item() != other[term].item()} == {"predict", "inverse"}


@pytest.mark.parametrize("camera", ["top", "wrist"])
def test_each_camera_is_regularised_and_smoothed(camera: str) -> None:
    recipe, batch = make(SEVERAL).eval(), clips(SEVERAL)
    still = batch.sensors[camera][:, :1].expand_as(batch.sensors[camera]).contiguous()
    one, other = (
        losses(recipe, batch),
        losses(recipe, dataclasses.replace(batch, sensors={**batch.sensors, camera: still})),
    )
    assert one["sigreg"].item() != other["sigreg"].item()
    assert other["smoothness"].item() < 0.9 * one["smoothness"].item()
