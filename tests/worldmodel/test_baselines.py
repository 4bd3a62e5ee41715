"""What the recipes are that LeWorldModel is held against."""

import math
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from tests.episodes import write_dot_store
from worldmodel.clips import Windows
from worldmodel.data.episodes import EpisodeStore, WindowSampler
from worldmodel.parts.regularizers import covariance, variance_hinge
from worldmodel.recipes import gcbc, lewm, pldm, random_encoder
from worldmodel.recipes.gcbc import GCBC
from worldmodel.recipes.pldm import PLDM, PLDMConfig
from worldmodel.recipes.random_encoder import RandomEncoder

ACTION_WIDTH = 10


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    store = EpisodeStore(write_dot_store(tmp_path_factory.mktemp("dots") / "store", episodes=8))
    return WindowSampler(store, store.episodes, clip_frames=4, control_steps=5).sample(32, 0, 0)


def points(seed: int = 0) -> Tensor:
    """[groups b d]"""
    return torch.randn(2, 40, 5, generator=Generator().manual_seed(seed)) * torch.linspace(0.2, 2, 5) + 3


def test_variance_hinge_is_the_shortfall_of_each_standard_deviation() -> None:
    wanted = torch.stack([(1 - (group.var(0) + 1e-4).sqrt()).clamp_min(0) for group in points()]).mean()
    assert float(variance_hinge(points())) == pytest.approx(float(wanted), rel=1e-5)
    assert float(variance_hinge(100 * points())) == 0
    assert float(variance_hinge(torch.zeros(3, 4))) == pytest.approx(0.99)


def test_covariance_is_the_mean_square_off_the_diagonal() -> None:
    matrices = [torch.cov(group.T) for group in points()]
    wanted = sum(float((matrix - matrix.diag().diag()).square().sum()) / 20 for matrix in matrices) / 2
    assert float(covariance(points())) == pytest.approx(wanted, rel=1e-4)
    line = torch.randn(500, 1, generator=Generator().manual_seed(0)).expand(500, 4)
    assert float(covariance(line)) == pytest.approx(float(line[:, 0].var()) ** 2, rel=1e-4)


@pytest.mark.parametrize("regulariser", [variance_hinge, covariance])
def test_bfloat16_autocast_changes_no_regulariser(regulariser) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = regulariser(points())
    assert float(cast) == float(regulariser(points()))


@pytest.mark.parametrize("recipe", [pldm, gcbc, random_encoder])
@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
def test_a_baseline_has_the_network_of_lewm(recipe, preset: str) -> None:
    assert recipe.PRESETS[preset]().architecture() == lewm.PRESETS[preset]().architecture()


def pldm_terms(batch: Windows, **changes: float) -> dict[str, float]:
    torch.manual_seed(0)
    recipe = PLDM(PLDMConfig(**{**vars(pldm.tiny()), **changes}), ACTION_WIDTH)
    return {name: value.item() for name, value in recipe.losses(batch, Generator()).items()}


def test_each_weight_of_pldm_scales_its_own_term(batch: Windows) -> None:
    plain = pldm_terms(batch)
    assert set(plain) == {"predict", "variance", "covariance", "time_variance", "smoothness", "inverse"}
    for term in plain.keys() - {"predict"}:
        doubled = pldm_terms(batch, **{f"{term}_weight": 2 * getattr(pldm.tiny(), f"{term}_weight")})
        assert doubled == pytest.approx({**plain, term: 2 * plain[term]}, rel=1e-5)


def spread_after(batch: Windows, **changes: float) -> tuple[float, float]:
    """Standard deviation of the latents, and error of the told actions against always telling their mean."""
    torch.manual_seed(0)
    recipe = PLDM(PLDMConfig(**{**vars(pldm.tiny()), **changes}), ACTION_WIDTH)
    optimiser = torch.optim.AdamW(recipe.parameters(), lr=4e-3)
    for _ in range(80):
        optimiser.zero_grad()
        terms = recipe.losses(batch, Generator())
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
    latents = recipe.encode_clips(batch)
    error = terms["inverse"] / recipe.config.inverse_weight / batch.actions.var()
    return float(latents.detach().flatten(0, 1).std(0).mean()), float(error.detach())


def test_pldm_does_not_collapse_and_its_latents_tell_the_action(batch: Windows) -> None:
    std, error = spread_after(batch)
    assert 0.7 < std < 1.5
    assert error < 0.5


def test_without_its_variances_pldm_collapses(batch: Windows) -> None:
    std, _ = spread_after(batch, variance_weight=0.0, time_variance_weight=0.0, inverse_weight=1e-6)
    assert std < 0.3


def random_recipe() -> RandomEncoder:
    torch.manual_seed(0)
    recipe = RandomEncoder(random_encoder.tiny(), ACTION_WIDTH)
    for block in recipe.predictor.every_block():
        nn.init.normal_(block.modulation.weight, std=0.2)
    return recipe.train()


def test_random_latents_are_standardised_once(batch: Windows) -> None:
    recipe = random_recipe()
    images = batch.frames.flatten(0, 1)
    assert float(recipe.encode(images).std(0).mean()) < 0.6, "they were of unit variance anyway: no test"
    recipe.losses(batch, Generator())
    latents = recipe.encode(images)
    assert latents.mean(0).abs().max() < 1e-3 and (latents.std(0) - 1).abs().max() < 0.01
    recipe.losses(Windows(batch.frames.flip(0) // 2, batch.actions), Generator())
    assert torch.equal(recipe.encode(images), latents)


def test_a_random_encoder_stays_what_it_is_while_its_predictor_learns(batch: Windows) -> None:
    recipe = random_recipe()
    recipe.losses(batch, Generator())
    before = {key: value.clone() for key, value in recipe.state_dict().items()}
    optimiser = torch.optim.AdamW(recipe.parameters(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        recipe.losses(batch, Generator())["predict"].backward()
        optimiser.step()
    for key, value in recipe.state_dict().items():
        frozen = key.split(".")[0] != "predictor"
        assert torch.equal(value, before[key]) == frozen or key.endswith("num_batches_tracked"), key


def test_a_random_encoder_sees_in_the_dark(batch: Windows) -> None:
    recipe = random_recipe()
    dark = Windows(torch.zeros_like(batch.frames), torch.zeros_like(batch.actions))
    assert math.isfinite(recipe.losses(dark, Generator())["predict"].item())
    assert recipe.encode(batch.frames[:, 0]).isfinite().all()


def test_the_standardisation_survives_a_state_dict(batch: Windows, tmp_path: Path) -> None:
    """A run that goes on must not standardise again."""
    one, other = random_recipe(), random_recipe()
    one.losses(batch, Generator())
    other.load_state_dict(one.state_dict())
    assert other.is_standardised
    other.losses(Windows(batch.frames // 3, batch.actions), Generator())
    assert torch.equal(one.encode(batch.frames[:, 0]), other.encode(batch.frames[:, 0]))


def cloning_recipe() -> GCBC:
    torch.manual_seed(0)
    recipe = GCBC(gcbc.tiny(), ACTION_WIDTH)
    for block in recipe.predictor.every_block():
        nn.init.normal_(block.modulation.weight, std=0.2)
    return recipe


def test_what_clones_actions_teaches_the_encoder_and_what_predicts_does_not(batch: Windows) -> None:
    for term, taught in (("clone", True), ("predict", False)):
        recipe = cloning_recipe()
        recipe.losses(batch, Generator())[term].backward()
        assert all((p.grad is not None and p.grad.abs().sum() > 0) == taught for p in recipe.encoder.parameters())
        assert any(p.grad is not None for p in recipe.predictor.parameters()) != taught


def test_the_action_cloned_is_the_one_done_at_the_frame_and_the_goal_comes_later(batch: Windows) -> None:
    """A policy that is told everything: with latents that say the frame's number, it must be asked for these pairs."""
    recipe = cloning_recipe()
    asked: list[tuple[Tensor, Tensor]] = []

    def perfect(module: nn.Module, inputs: tuple[Tensor, Tensor], output: Tensor) -> Tensor:
        asked.append(inputs)
        now = torch.tensor([0, 0, 0, 1, 1, 2])  # of four frames
        return batch.actions[:, now].flatten(0, 1)

    recipe.policy.register_forward_hook(perfect)
    assert recipe.losses(batch, Generator())["clone"].item() == 0
    (latents, goals), every = asked[0], recipe.encode_clips(batch)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert torch.equal(latents[:6, 0], every[0][[now for now, _ in pairs]])
    assert torch.equal(goals[:6, 0], every[0][[goal for _, goal in pairs]])
