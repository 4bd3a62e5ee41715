"""Laws of what recipes offer: encoders, world models and policies, as trained and as served."""

import copy

import pytest
import torch

from tests.contracts.recipes import (
    ACTING,
    ENTRIES,
    FRAMES,
    IMAGINING,
    SENSORS,
    begun,
    every_recipe,
    frames_seen,
    future,
    make,
    past,
    relative_error,
    tensors_of,
    unsettled,
)
from tests.readings import random_observation
from tests.tiny import ACTION
from worldmodel.inference.world_model import fast_encoder, fast_world_model
from worldmodel.observation import ObservationBatch, SensorSpec
from worldmodel.recipe import Encoder, LatentPolicy, Latents, WorldModel


@pytest.fixture(params=SENSORS)
def sensors(request: pytest.FixtureRequest) -> tuple[SensorSpec, ...]:
    return SENSORS[request.param]


def test_every_capability_is_offered_by_some_recipe() -> None:
    """Without one, a capability's laws would be tried on nothing."""
    assert {"lewm", "pldm", "random-encoder"} <= set(IMAGINING) and "gcbc" in ACTING
    assert all(entry.encoder is not None for entry in ENTRIES.values())


class TestEncoders:
    """Every entry offers one; both as trained and as served."""

    @pytest.fixture(params=[f"{name}, {way}" for name in ENTRIES for way in ("plain", "fast")])
    def encoder(self, request: pytest.FixtureRequest, sensors: tuple[SensorSpec, ...]) -> Encoder:
        name, way = request.param.split(", ")
        make_encoder = ENTRIES[name].encoder
        assert make_encoder is not None
        plain = make_encoder(unsettled(name, sensors))
        return plain if way == "plain" else fast_encoder(plain)

    def test_latents_have_the_shape_that_is_said(self, encoder: Encoder, sensors: tuple[SensorSpec, ...]) -> None:
        latents = encoder.encode(random_observation(sensors, 5)).tokens
        assert isinstance(encoder, Encoder)
        assert latents.shape == (5, *encoder.latent_shape)
        assert latents.dtype == torch.float32 and latents.isfinite().all()

    def test_same_readings_same_latents_and_the_readings_stay(
        self, encoder: Encoder, sensors: tuple[SensorSpec, ...]
    ) -> None:
        observation = random_observation(sensors, 3)
        before = copy.deepcopy(observation)
        one, same = (encoder.encode(observation).tokens for _ in range(2))
        assert torch.equal(one, same)
        assert all(map(torch.equal, tensors_of(observation), tensors_of(before)))

    def test_each_sensor_changes_the_latents(self, encoder: Encoder, sensors: tuple[SensorSpec, ...]) -> None:
        observation, other = random_observation(sensors, 3), random_observation(sensors, 3, seed=1)
        plain = encoder.encode(observation).tokens
        for spec in sensors:
            changed = ObservationBatch({**observation.values, spec.name: other.values[spec.name]})
            moved = (encoder.encode(changed).tokens - plain).abs().amax((1, 2))
            assert (moved > 1e-4).all(), f"{spec.name} is not seen"

    def test_robots_do_not_mix(self, encoder: Encoder, sensors: tuple[SensorSpec, ...]) -> None:
        observation = random_observation(sensors, 4)
        together = encoder.encode(observation).tokens
        alone = encoder.encode(ObservationBatch({name: v[2:3] for name, v in observation.values.items()})).tokens
        torch.testing.assert_close(alone[0], together[2], rtol=1e-4, atol=1e-5)

    @every_recipe
    def test_the_tokens_called_learned_are_those_that_weights_change(
        self, name: str, sensors: tuple[SensorSpec, ...]
    ) -> None:
        make_encoder, observation = ENTRIES[name].encoder, random_observation(sensors, 3)
        assert make_encoder is not None
        one, other = (fast_encoder(make_encoder(make(name, sensors, seed).eval())) for seed in (0, 1))
        moved = (one.encode(observation).tokens - other.encode(observation).tokens).abs().amax((0, 2))
        assert moved.nonzero().flatten().tolist() == one.learned
        assert make_encoder(make(name, sensors)).learned == one.learned

    @every_recipe
    def test_fast_equals_plain(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        make_encoder = ENTRIES[name].encoder
        assert make_encoder is not None
        plain = make_encoder(unsettled(name, sensors))
        observation = random_observation(sensors, 6)
        wanted = plain.encode(observation).tokens.detach()
        fast = fast_encoder(plain)
        assert relative_error(fast.encode(observation).tokens, wanted) < 1e-4
        assert fast.latent_shape == plain.latent_shape


class TestWorldModels:
    """As trained and as served."""

    @pytest.fixture(params=[f"{name}, {way}" for name in IMAGINING for way in ("plain", "fast")])
    def model(self, request: pytest.FixtureRequest, sensors: tuple[SensorSpec, ...]) -> WorldModel:
        name, way = request.param.split(", ")
        plain = plain_world_model(name, sensors)
        return plain if way == "plain" else fast_world_model(plain, "float32")

    def test_shapes(self, model: WorldModel, sensors: tuple[SensorSpec, ...]) -> None:
        seen = frames_seen(sensors)
        imagined, predicted = model.rollout(begun(model, sensors), future()), model.predictions(seen, past())
        assert isinstance(model, WorldModel)
        assert imagined.shape == (2, 4, 5, *seen.shape[2:]) and predicted.shape == seen[:, 1:].shape
        assert imagined.dtype == torch.float32 and imagined.isfinite().all() and predicted.isfinite().all()

    def test_a_rollout_leaves_the_state_as_it_was(self, model: WorldModel, sensors: tuple[SensorSpec, ...]) -> None:
        state = begun(model, sensors)
        before = copy.deepcopy(state)
        first = model.rollout(state, future())
        model.rollout(state, -future())
        assert torch.equal(model.rollout(state, future()), first)
        assert all(map(torch.equal, tensors_of(state), tensors_of(before))) and list(tensors_of(state))

    def test_stacked_equals_alone(self, model: WorldModel, sensors: tuple[SensorSpec, ...]) -> None:
        """In the order given."""
        seen = frames_seen(sensors)
        alone = [model.begin(Latents(seen[robot : robot + 1]), past()[robot : robot + 1]) for robot in (1, 0)]
        stacked = model.rollout(model.stack(alone), future())
        for row, state in enumerate(alone):
            own = model.rollout(state, future()[row : row + 1])
            torch.testing.assert_close(stacked[row : row + 1], own, rtol=1e-4, atol=1e-5)

    def test_an_action_changes_its_candidates_latents_from_then_on(
        self, model: WorldModel, sensors: tuple[SensorSpec, ...]
    ) -> None:
        state, actions = begun(model, sensors), future()
        plain = model.rollout(state, actions)
        for step in range(actions.shape[2]):
            other = actions.clone()
            other[1, 2, step] = -other[1, 2, step]
            moved = (model.rollout(state, other) - plain).abs().amax((-1, -2)) > 1e-5
            assert moved[1, 2].tolist() == [later >= step for later in range(5)]
            moved[1, 2] = False
            assert not moved.any(), "another robot or candidate felt it"

    def test_what_was_seen_and_done_matters(self, model: WorldModel, sensors: tuple[SensorSpec, ...]) -> None:
        plain = model.rollout(begun(model, sensors), future())
        seen, done = Latents(frames_seen(sensors)), past()
        for changed in (model.begin(Latents(frames_seen(sensors, seed=7)), done), model.begin(seen, -done)):
            assert relative_error(model.rollout(changed, future()), plain) > 1e-3

    def test_predictions_are_rollouts_of_one_step(self, model: WorldModel, sensors: tuple[SensorSpec, ...]) -> None:
        seen, done = frames_seen(sensors), past()
        predicted = model.predictions(seen, done)
        for step in range(FRAMES - 1):
            state = model.begin(Latents(seen[:, : step + 1]), done[:, :step])
            imagined = model.rollout(state, done[:, None, step : step + 1])[:, 0, 0]
            torch.testing.assert_close(predicted[:, step], imagined, rtol=1e-4, atol=1e-5)

    def test_actions_that_want_gradients_get_them(self, model: WorldModel, sensors: tuple[SensorSpec, ...]) -> None:
        actions = future().requires_grad_()
        imagined = model.rollout(begun(model, sensors), actions)
        (slope,) = torch.autograd.grad(imagined.square().sum(), actions)
        assert slope.isfinite().all() and (slope.abs().amax(-1) > 0).all()

    @pytest.mark.parametrize("name", IMAGINING)
    def test_fast_equals_plain(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        plain = plain_world_model(name, sensors)
        fast = fast_world_model(plain, "float32")
        given, wanted = (model.rollout(begun(model, sensors), future()) for model in (fast, plain))
        assert relative_error(given, wanted) < 1e-4
        assert torch.equal(
            fast.predictions(frames_seen(sensors), past()), plain.predictions(frames_seen(sensors), past())
        )


def plain_world_model(name: str, sensors: tuple[SensorSpec, ...]) -> WorldModel:
    entry = ENTRIES[name]
    assert entry.world_model is not None
    return entry.world_model(unsettled(name, sensors).requires_grad_(False))


@pytest.mark.parametrize("name", ACTING)
class TestPolicies:
    def policy(self, name: str, sensors: tuple[SensorSpec, ...]) -> LatentPolicy:
        entry = ENTRIES[name]
        assert entry.policy is not None
        return entry.policy(unsettled(name, sensors).requires_grad_(False))

    @pytest.mark.parametrize("scale", [1.0, 1e3])
    def test_actions_are_unitless_and_in_their_limits(
        self, name: str, sensors: tuple[SensorSpec, ...], scale: float
    ) -> None:
        context, goal = scale * frames_seen(sensors), scale * frames_seen(sensors, seed=1)[:, 0]
        policy = self.policy(name, sensors)
        actions = policy(context, goal)
        assert isinstance(policy, LatentPolicy)
        assert actions.ndim == 3 and actions.shape[0] == 2 and actions.shape[1] >= 1
        assert actions.shape[2] == ACTION.width and (actions.abs() <= 1).all()

    def test_the_goal_and_the_newest_frame_matter(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        policy, context, goal = self.policy(name, sensors), frames_seen(sensors), frames_seen(sensors, seed=1)[:, 0]
        plain = policy(context, goal)
        newest = torch.cat([context[:, :-1], -context[:, -1:]], dim=1)
        for changed in (policy(context, -goal), policy(newest, goal)):
            assert ((changed - plain).abs().amax((1, 2)) > 1e-3).all()

    def test_robots_do_not_mix(self, name: str, sensors: tuple[SensorSpec, ...]) -> None:
        policy, context, goal = self.policy(name, sensors), frames_seen(sensors), frames_seen(sensors, seed=1)[:, 0]
        alone = policy(context[1:], goal[1:])
        torch.testing.assert_close(alone[0], policy(context, goal)[1], rtol=1e-4, atol=1e-6)
