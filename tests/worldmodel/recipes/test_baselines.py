"""The recipes that LeWorldModel is compared with."""

import dataclasses
import math

import pytest
import torch
from torch import Generator, Tensor, nn

from tests.episodes import write_dot_store
from tests.readings import random_clips, random_observation
from tests.tiny import ACTION, SEVERAL, tiny_body
from worldmodel.clips import Clips, StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.observation import SensorSpec
from worldmodel.parts.frames import FrameConfig
from worldmodel.parts.regularizers import covariance, variance_hinge
from worldmodel.recipe import Step
from worldmodel.recipes import RECIPES, gcbc, pldm, random_encoder
from worldmodel.recipes.gcbc import GCBC
from worldmodel.recipes.network import NetworkConfig
from worldmodel.recipes.pldm import PLDM, PLDMConfig
from worldmodel.recipes.random_encoder import RandomEncoder

TIMING = StepTiming(control_steps=5)
DOT = (SensorSpec(name="top", kind="camera", shape=(32, 32, 3)),)
"""The sensor of a store of dots."""


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    store = EpisodeStore(write_dot_store(tmp_path_factory.mktemp("dots") / "store", episodes=8))
    return ClipSampler(store, store.episodes, clip_frames=4, timing=TIMING).sample(32, 0, 0)


def at_first() -> Step:
    return Step(0, 1, Generator().manual_seed(0))


def actions_of(batch: Clips) -> Tensor:
    assert batch.actions is not None
    return batch.actions


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


@pytest.mark.parametrize(
    ("name", "network"), [("pldm", NetworkConfig), ("random-encoder", NetworkConfig), ("gcbc", FrameConfig)]
)
@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
def test_a_baseline_has_the_network_of_lewm(name: str, network: type, preset: str) -> None:
    """Behaviour cloning has no predictor: of its network, the encoder."""
    config, wanted = (RECIPES[recipe].presets[preset]() for recipe in (name, "lewm"))
    fields = [field.name for field in dataclasses.fields(network)]
    assert {field: getattr(config, field) for field in fields} == {field: getattr(wanted, field) for field in fields}


def make_pldm(sensors: tuple[SensorSpec, ...], **changes: float) -> PLDM:
    torch.manual_seed(0)
    config = pldm.PRESETS["tiny"]()
    return PLDM(PLDMConfig(**{**vars(config), **changes}), tiny_body(sensors))


def pldm_terms(batch: Clips, **changes: float) -> dict[str, float]:
    recipe = make_pldm(DOT, **changes)
    return {name: value.item() for name, value in recipe.losses(batch, at_first()).items()}


def test_each_weight_of_pldm_scales_its_own_term(batch: Clips) -> None:
    plain = pldm_terms(batch)
    assert set(plain) == {"predict", "variance", "covariance", "time_variance", "smoothness", "inverse"}
    for term in plain.keys() - {"predict"}:
        doubled = pldm_terms(batch, **{f"{term}_weight": 2 * getattr(pldm.PRESETS["tiny"](), f"{term}_weight")})
        assert doubled == pytest.approx({**plain, term: 2 * plain[term]}, rel=1e-5)


def test_pldm_regularises_each_camera_and_no_vector() -> None:
    """A vector's token is its readings: it is predicted, and cannot collapse."""
    recipe = make_pldm(SEVERAL).eval()
    plain, other = (random_clips(SEVERAL, 12, 4, action_width=ACTION.width, seed=seed) for seed in (0, 1))
    changed = {}
    for sensor in ("top", "wrist", "proprioception"):
        mixed = Clips({**plain.sensors, sensor: other.sensors[sensor]}, plain.actions)
        one, two = (recipe.losses(each, at_first()) for each in (plain, mixed))
        changed[sensor] = {term for term in one if one[term].item() != two[term].item()}
    assert changed["proprioception"] == {"predict", "inverse"}
    assert changed["top"] == changed["wrist"] == set(recipe.losses(plain, at_first()))


def spread_after(batch: Clips, **changes: float) -> tuple[float, float]:
    """Standard deviation of the latents, and error of the actions read against that of always reading their mean."""
    recipe = make_pldm(DOT, **changes)
    optimiser = torch.optim.AdamW(recipe.parameters(), lr=4e-3)
    for _ in range(80):
        optimiser.zero_grad()
        terms = recipe.losses(batch, at_first())
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
    latents = recipe.tokens(batch.frames)
    error = terms["inverse"] / recipe.config.inverse_weight / actions_of(batch).var()
    return float(latents.detach().std(0).mean()), float(error.detach())


def test_pldm_does_not_collapse_and_its_latents_tell_the_action(batch: Clips) -> None:
    std, error = spread_after(batch)
    assert 0.7 < std < 1.5
    assert error < 0.5


def test_without_its_variances_pldm_collapses(batch: Clips) -> None:
    std, _ = spread_after(batch, variance_weight=0.0, time_variance_weight=0.0, inverse_weight=1e-6)
    assert std < 0.3


def random_recipe(sensors: tuple[SensorSpec, ...] = ()) -> RandomEncoder:
    torch.manual_seed(0)
    recipe = RandomEncoder(random_encoder.PRESETS["tiny"](), tiny_body(sensors or DOT))
    for block in recipe.predictor.every_block():
        nn.init.normal_(block.modulation.weight, std=0.2)
    return recipe.train()


def test_random_latents_are_standardised_once(batch: Clips) -> None:
    recipe = random_recipe()
    assert float(recipe.tokens(batch.frames).std(0).mean()) < 0.6, "they were of unit variance anyway: no test"
    recipe.losses(batch, at_first())
    latents = recipe.tokens(batch.frames)
    assert latents.mean(0).abs().max() < 1e-3 and (latents.std(0) - 1).abs().max() < 0.01
    recipe.losses(Clips({"top": batch.sensors["top"].flip(0) // 2}, batch.actions), at_first())
    assert torch.equal(recipe.tokens(batch.frames), latents)


def test_random_latents_of_every_camera_are_standardised_and_a_vectors_are_left_alone() -> None:
    recipe = random_recipe(SEVERAL)
    clips = random_clips(SEVERAL, 32, 4, action_width=ACTION.width)
    before = recipe.tokens(clips.frames)
    recipe.losses(clips, at_first())
    after = recipe.tokens(clips.frames)
    cameras = after[:, :2]
    assert cameras.mean(0).abs().max() < 1e-3 and (cameras.std(0) - 1).abs().max() < 0.01
    assert torch.equal(after[:, 2], before[:, 2])


def test_a_random_encoder_stays_what_it_is_while_its_predictor_learns(batch: Clips) -> None:
    recipe = random_recipe()
    recipe.losses(batch, at_first())
    before = {key: value.clone() for key, value in recipe.state_dict().items()}
    optimiser = torch.optim.AdamW(recipe.parameters(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        recipe.losses(batch, at_first())["predict"].backward()
        optimiser.step()
    for key, value in recipe.state_dict().items():
        frozen = key.split(".")[0] != "predictor"
        assert torch.equal(value, before[key]) == frozen or key.endswith("num_batches_tracked"), key


def test_a_random_encoder_sees_in_the_dark(batch: Clips) -> None:
    recipe = random_recipe()
    dark = Clips({"top": torch.zeros_like(batch.sensors["top"])}, torch.zeros_like(actions_of(batch)))
    assert math.isfinite(recipe.losses(dark, at_first())["predict"].item())
    assert recipe.tokens(batch.frames).isfinite().all()


def test_the_standardisation_survives_a_state_dict(batch: Clips) -> None:
    """A run that goes on must not standardise again."""
    one, other = random_recipe(), random_recipe()
    one.losses(batch, at_first())
    other.load_state_dict(one.state_dict())
    assert other.is_standardised
    other.losses(Clips({"top": batch.sensors["top"] // 3}, batch.actions), at_first())
    assert torch.equal(one.tokens(batch.frames), other.tokens(batch.frames))


def cloning_recipe(sensors: tuple[SensorSpec, ...] = ()) -> GCBC:
    torch.manual_seed(0)
    return GCBC(gcbc.PRESETS["tiny"](), tiny_body(sensors or DOT))


def test_cloned_actions_alone_teach_the_encoder(batch: Clips) -> None:
    """There is no other loss, and no predictor that another could come from."""
    recipe = cloning_recipe()
    terms = recipe.losses(batch, at_first())
    assert set(terms) == {"clone"}
    terms["clone"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in recipe.encoder.parameters())
    assert {name.split(".")[0] for name, _ in recipe.named_parameters()} == {"encoder", "projector", "policy"}


def test_the_action_cloned_is_the_one_done_at_the_frame_and_the_goal_comes_later(batch: Clips) -> None:
    """A perfect policy in place of the recipe's has no loss, and is asked for these pairs of frames."""
    recipe = cloning_recipe()
    asked: list[tuple[Tensor, Tensor]] = []

    def perfect(module: nn.Module, inputs: tuple[Tensor, Tensor], output: Tensor) -> Tensor:
        asked.append(inputs)
        now = torch.tensor([0, 0, 0, 1, 1, 2])  # of four frames
        return actions_of(batch)[:, now]

    recipe.policy.register_forward_hook(perfect)
    assert recipe.losses(batch, at_first())["clone"].item() == 0
    (latents, goals), every = asked[0], recipe.tokens(batch.frames).unflatten(0, batch.shape).flatten(2)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert torch.equal(latents, every[:, [now for now, _ in pairs]])
    assert torch.equal(goals, every[:, [goal for _, goal in pairs]])


def test_the_policy_served_is_the_one_that_was_taught() -> None:
    """From the newest frame, all sensors side by side."""
    recipe = cloning_recipe(SEVERAL).eval()
    policy = RECIPES["gcbc"].policy
    assert policy is not None
    frames = recipe.tokens(random_observation(SEVERAL, 6)).unflatten(0, (2, 3))  # [b t n d]
    goal = recipe.tokens(random_observation(SEVERAL, 2, seed=1))
    wanted = recipe.policy(frames[:, -1].flatten(1), goal.flatten(1))
    assert torch.equal(policy(recipe)(frames, goal), wanted[:, None])
