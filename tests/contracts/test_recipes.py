"""Laws that every recipe obeys, at its tiny preset and for every set of sensors. A new recipe is in RECIPES alone.

The laws of encoders, world models and policies are in test_capabilities.py.
"""

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.recipes import (
    CLIPS,
    ENCODER_ALONE,
    ENTRIES,
    FOLLOWING,
    FRAMES,
    FROZEN,
    SENSORS,
    AlikeConfig,
    begun,
    body_for,
    calm_clips_for,
    clips_for,
    every_preset,
    every_recipe,
    frames_seen,
    future,
    losses,
    make,
    step_at,
    tensors_of,
    total,
    unsettled,
)
from tests.readings import random_observation
from tests.tiny import ACTION, SEVERAL, TOP
from worldmodel.checkpoint import Checkpoint, TrainedModel, load_checkpoint, save_checkpoint
from worldmodel.clips import Clips
from worldmodel.errors import CheckpointError
from worldmodel.inference.world_model import fast_encoder, fast_world_model
from worldmodel.manifest import LatentSpec, Manifest, PlanningSpec, WeightsSpec
from worldmodel.observation import SensorSpec
from worldmodel.recipe import Encoder, Entry, LatentPolicy, Recipe, WorldModel
from worldmodel.recipes import RECIPES, config_from_json, config_to_json


@pytest.fixture(autouse=True)
def _the_encoder_alone_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """For these tests only: a checkpoint names its recipe."""
    monkeypatch.setitem(RECIPES, ENCODER_ALONE, ENTRIES[ENCODER_ALONE])


@pytest.fixture(params=SENSORS)
def sensors(request: pytest.FixtureRequest) -> tuple[SensorSpec, ...]:
    return SENSORS[request.param]


class TestEveryRecipe:
    @every_recipe
    def test_it_is_a_recipe_and_a_module(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        recipe = make(name, sensors)
        assert isinstance(recipe, Recipe) and isinstance(recipe, nn.Module)

    @every_recipe
    def test_it_has_a_preset_for_tests(self, name: str) -> None:
        assert sum(parameter.numel() for parameter in make(name, (TOP,)).parameters()) < 200_000

    @every_recipe
    def test_its_configuration_says_what_training_asks(self, name: str) -> None:
        config = ENTRIES[name].presets["tiny"]()
        assert config.clip_frames >= (2 if ENTRIES[name].plans else 1) and config.wants_twins is False
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.clip_frames = 3

    @every_recipe
    def test_losses_are_finite_named_scalars(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        terms = losses(make(name, sensors), name, sensors)
        assert terms
        for term, value in terms.items():
            assert term.isidentifier() and value.shape == () and math.isfinite(value.item())

    @every_recipe
    def test_losses_are_finite_for_black_frames_and_still_actions(
        self, name: str, sensors: tuple[SensorSpec, ...]
    ) -> None:
        """A camera that is covered, and a robot that is off: every sample of the batch is the same."""
        batch = clips_for(name, sensors)
        dark = Clips(
            {sensor: torch.zeros_like(values) for sensor, values in batch.sensors.items()},
            None if batch.actions is None else torch.zeros_like(batch.actions),
        )
        recipe = make(name, sensors)
        terms = recipe.losses(dark, step_at())
        total(terms).backward()
        assert all(math.isfinite(value.item()) for value in terms.values())
        assert all(p.grad is None or p.grad.isfinite().all() for p in recipe.parameters())

    @every_recipe
    def test_gradient_reaches_every_sensors_encoder_unless_it_is_frozen(
        self, name: str, sensors: tuple[SensorSpec, ...]
    ) -> None:
        recipe = make(name, sensors)
        parameters = encoding_parameters(recipe, name, sensors)
        total(losses(recipe, name, sensors)).backward()
        assert bool(parameters) == (name not in FROZEN | FOLLOWING)
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)

    @every_recipe
    def test_training_moves_the_learned_latents_unless_the_encoder_is_frozen(
        self, name: str, sensors: tuple[SensorSpec, ...]
    ) -> None:
        """Whatever is served: a moving average has to follow what is learned."""
        recipe, make_encoder, observation = make(name, sensors), ENTRIES[name].encoder, random_observation(sensors, 3)
        assert make_encoder is not None
        recipe.losses(clips_for(name, sensors), step_at())  # a first batch may settle statistics
        before = make_encoder(recipe.eval()).encode(observation).tokens.detach()
        train(recipe.train(), clips_for(name, sensors), steps=3)
        moved = (make_encoder(recipe.eval()).encode(observation).tokens - before).abs().amax((0, 2)) > 0
        learned = [] if name in FROZEN else make_encoder(recipe).learned
        assert moved.nonzero().flatten().tolist() == learned

    @every_recipe
    def test_every_weight_matrix_that_is_learned_gets_a_gradient(
        self, name: str, sensors: tuple[SensorSpec, ...]
    ) -> None:
        recipe = make(name, sensors)
        train(recipe, clips_for(name, sensors), steps=1)  # away from what starts at zero
        total(losses(recipe, name, sensors)).backward()
        for group in recipe.groups():
            for parameter in group.parameters:
                assert parameter.grad is not None and parameter.grad.abs().sum() > 0

    @every_recipe
    def test_groups_hold_each_learned_parameter_once(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        """The optimiser moves what the losses reach, and nothing else: no target encoder, no frozen part."""
        recipe = make(name, sensors)
        grouped = [id(parameter) for group in recipe.groups() for parameter in group.parameters]
        assert len(set(grouped)) == len(grouped), "a parameter is in two groups"
        total(losses(recipe, name, sensors)).backward()
        assert set(grouped) == {id(p) for p in recipe.parameters() if p.grad is not None}
        assert all(group.learning_rate > 0 and group.weight_decay >= 0 for group in recipe.groups())

    @every_recipe
    def test_same_generator_seed_same_losses(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        one, same = (losses(make(name, sensors), name, sensors, seed=5) for _ in range(2))
        assert {k: value.item() for k, value in one.items()} == {k: value.item() for k, value in same.items()}

    @every_recipe
    def test_the_batch_is_left_as_it_was(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        batch = clips_for(name, sensors)
        before = copy.deepcopy(batch)
        make(name, sensors).losses(batch, step_at())
        assert all(map(torch.equal, tensors_of(batch), tensors_of(before)))

    @every_recipe
    def test_a_few_steps_lower_the_loss(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        curve = train(make(name, sensors), calm_clips_for(name, sensors), steps=30)
        assert curve[-1] < 0.7 * curve[0]

    @every_recipe
    def test_weights_survive_a_state_dict_to_the_bit(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        one, other = (make(name, sensors, seed).eval() for seed in (0, 1))
        observation = random_observation(sensors, 3)
        encode = ENTRIES[name].encoder
        assert encode is not None
        assert not torch.equal(encode(one).encode(observation).tokens, encode(other).encode(observation).tokens)
        other.load_state_dict(one.state_dict())
        assert torch.equal(encode(one).encode(observation).tokens, encode(other).encode(observation).tokens)

    @every_recipe
    def test_bfloat16_autocast_trains(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        recipe = make(name, sensors)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = losses(recipe, name, sensors)
        total(terms).backward()
        full = losses(make(name, sensors), name, sensors)
        for term, value in terms.items():
            assert value.dtype == torch.float32
            assert value.item() == pytest.approx(full[term].item(), rel=0.1), term

    @every_preset
    def test_configurations_survive_json(self, name: str, preset: str) -> None:
        config = ENTRIES[name].presets[preset]()
        assert config_from_json(name, json.loads(json.dumps(config_to_json(config)))) == config

    @every_preset
    def test_configurations_are_of_the_type_in_the_table(self, name: str, preset: str) -> None:
        assert type(ENTRIES[name].presets[preset]()) is ENTRIES[name].config

    @every_recipe
    def test_a_configuration_of_another_type_is_refused(self, name: str) -> None:
        data = config_to_json(ENTRIES[name].presets["tiny"]())
        for key in data:
            with pytest.raises(CheckpointError, match=key):
                config_from_json(name, {**data, key: "ten"})

    @every_recipe
    def test_a_checkpoint_gives_back_what_the_recipe_offers(
        self, name: str, sensors: tuple[SensorSpec, ...], tmp_path: Path
    ) -> None:
        """Encoder, world model and policy, to the bit; none that the recipe lacks."""
        module, entry = unsettled(name, sensors), ENTRIES[name]
        loaded = saved_and_loaded(tmp_path, name, sensors, module)
        assert (loaded.world_model is None) == (entry.world_model is None)
        assert (loaded.policy is None) == (entry.policy is None)
        assert not loaded.distances
        for part, other in zip(offered_by(entry, module), offered(loaded), strict=True):
            assert torch.equal(part(sensors), other(sensors))


def train(recipe: Any, batch: Clips, steps: int) -> list[float]:
    """Losses before each step on one batch."""
    groups = [{"params": list(g.parameters), "lr": 2e-3 * g.learning_rate} for g in recipe.groups()]
    optimiser = torch.optim.AdamW(groups)
    curve = []
    for done in range(steps):
        loss = total(recipe.losses(batch, step_at(done)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        recipe.after_step(step_at(done + 1))
        curve.append(loss.item())
    return curve


def encoding_parameters(module: Any, name: str, sensors: tuple[SensorSpec, ...]) -> list[nn.Parameter]:
    """The parameters that latents depend on and that are not frozen."""
    make_encoder = ENTRIES[name].encoder
    assert make_encoder is not None
    tokens = make_encoder(module).encode(random_observation(sensors, CLIPS)).tokens
    if not tokens.requires_grad:
        return []
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(tokens.sum(), parameters, allow_unused=True)
    return [parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is not None]


def saved_and_loaded(folder: Path, name: str, sensors: tuple[SensorSpec, ...], module: Any) -> Checkpoint:
    entry = ENTRIES[name]
    assert entry.encoder is not None
    tokens, width = entry.encoder(module).latent_shape
    plans = entry.world_model is not None or entry.policy is not None
    manifest = Manifest(
        name="robot",
        version="1",
        recipe=name,
        config=config_to_json(entry.presets["tiny"]()),
        sensors=sensors,
        latent=LatentSpec(tokens=tokens, width=width),
        action=ACTION if plans else None,
        planning=PlanningSpec(context_frames=FRAMES, horizon=5, goal_distance_scale=32.0) if plans else None,
        weights=WeightsSpec(sha256="", bytes=0),
    )
    save_checkpoint(folder / "robot", manifest, TrainedModel(module, {}))
    return load_checkpoint(folder / "robot")


Trial = Callable[[tuple[SensorSpec, ...]], Tensor]


def offered_by(entry: Entry, module: Any) -> Iterator[Trial]:
    """A trial of each capability of a module."""
    assert entry.encoder is not None
    yield encoder_trial(fast_encoder(entry.encoder(module)))
    if entry.world_model is not None:
        yield world_model_trial(fast_world_model(entry.world_model(module), "float32"))
    if entry.policy is not None:
        yield policy_trial(entry.policy(module))


def offered(checkpoint: Checkpoint) -> Iterator[Trial]:
    """The same of a checkpoint."""
    assert checkpoint.encoder is not None
    yield encoder_trial(checkpoint.encoder)
    if checkpoint.world_model is not None:
        yield world_model_trial(checkpoint.world_model)
    if checkpoint.policy is not None:
        yield policy_trial(checkpoint.policy)


def encoder_trial(encoder: Encoder) -> Trial:
    return lambda sensors: encoder.encode(random_observation(sensors, 3)).tokens


def world_model_trial(model: WorldModel) -> Trial:
    return lambda sensors: model.rollout(begun(model, sensors), future())


def policy_trial(policy: LatentPolicy) -> Trial:
    return lambda sensors: policy(frames_seen(sensors), frames_seen(sensors, seed=1)[:, 0])


def test_behaviour_cloning_has_no_predictor_and_no_world_model() -> None:
    assert RECIPES["gcbc"].world_model is None
    assert not hasattr(RECIPES["gcbc"].presets["tiny"](), "predictor")
    assert not [name for name, _ in make("gcbc", (TOP,)).named_modules() if "predictor" in name]


class TestAnEncoderAlone:
    """A recipe that only encodes needs no predictor and no actions. The laws above hold for it as well."""

    def test_it_learns_without_actions(self) -> None:
        assert body_for(ENCODER_ALONE, SEVERAL).action_width == 0
        assert clips_for(ENCODER_ALONE, SEVERAL).actions is None

    def test_its_checkpoint_offers_an_encoder_and_nothing_else(self, tmp_path: Path) -> None:
        loaded = saved_and_loaded(tmp_path, ENCODER_ALONE, SEVERAL, make(ENCODER_ALONE, SEVERAL))
        manifest = loaded.manifest
        assert (manifest.action, manifest.planning, manifest.calibration) == (None, None, None)
        assert loaded.encoder is not None and loaded.encoder.latent_shape == (3, 8)
        assert loaded.world_model is None and loaded.policy is None and not loaded.distances

    def test_it_is_not_among_the_recipes_of_the_product(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(RECIPES, ENCODER_ALONE)
        with pytest.raises(CheckpointError, match=f"wants recipe '{ENCODER_ALONE}'; this build has"):
            config_from_json(ENCODER_ALONE, config_to_json(AlikeConfig()))
