"""A robot's loop through real sockets, on both transports."""

from collections.abc import Iterator

import numpy as np
import pytest

from telos import (
    ActionLimits,
    Controller,
    Cost,
    Goal,
    HttpPlanner,
    KeepOut,
    Observation,
    Planner,
    PlannerConfig,
    PlanOptions,
    PlanReply,
    Session,
    TelosError,
    Underway,
)
from telos.grpc_planner import GrpcPlanner
from tests.server.live import MODEL, Live


@pytest.fixture(params=["http", "grpc"])
def planner(live: Live, request: pytest.FixtureRequest) -> Iterator[Planner]:
    running = live.running
    with (
        HttpPlanner(f"http://127.0.0.1:{running.http_port}")
        if request.param == "http"
        else GrpcPlanner(f"127.0.0.1:{running.grpc_port}")
    ) as planner:
        yield planner


class Camera:
    """Noise that differs from one frame to the next."""

    def __init__(self) -> None:
        self.dice = np.random.default_rng(0)

    def read(self) -> np.ndarray:
        return self.dice.integers(0, 256, (48, 48, 3), dtype=np.uint8)


LONG = PlanOptions(config=PlannerConfig(num_samples=64, num_elites=8, max_iterations=40, seed=1))
FAST = PlanOptions(config=PlannerConfig(preset="fast", seed=5))


def drive(planner: Planner, plans: int) -> list[np.ndarray]:
    camera, driven = Camera(), []
    controller = Controller(planner, model=MODEL, goal=camera.read(), options=FAST)
    for index in range(plans):
        plan = controller.plan(camera.read())
        assert plan.warm_started == (index > 0)
        assert (plan.surprise is None) == (index == 0)
        assert plan.next_actions.shape == (5, 2) and plan.valid_for_s == 2.5
        assert len(plan.cost_trace) >= 1 and plan.predicted_cost == plan.cost_trace[-1]
        driven.append(plan.actions)
        controller.executed(plan.next_actions)
    return driven


def test_a_robot_drives(planner: Planner) -> None:
    assert planner.ready()
    assert len(drive(planner, plans=6)) == 6


def test_both_transports_drive_the_same_way(live: Live) -> None:
    with HttpPlanner(f"http://127.0.0.1:{live.running.http_port}") as planner:
        over_http = drive(planner, plans=4)
    with GrpcPlanner(f"127.0.0.1:{live.running.grpc_port}") as planner:
        np.testing.assert_array_equal(drive(planner, plans=4), over_http)


def test_an_encoded_goal_gives_the_plan_of_its_image(planner: Planner) -> None:
    camera = Camera()
    now, goal = camera.read(), camera.read()
    (embedding,) = planner.encode(MODEL, [goal]).embeddings
    options = PlanOptions(config=PlannerConfig(preset="fast", seed=1), include=("latents",))
    with_image = planner.plan(MODEL, [Observation(now)], goal, options)
    again = PlanOptions(config=with_image.planner, include=())
    with_latents = planner.plan(MODEL, [Observation(now)], embedding, again)
    np.testing.assert_array_equal(with_image.actions, with_latents.actions)
    assert with_image.latents is not None and with_image.latents.shape == (5, 1, 16)
    assert with_latents.latents is None and with_image.cost_trace == ()


def test_a_plan_goes_on_from_what_the_robot_runs_while_it_waits(planner: Planner) -> None:
    camera, settled = Camera(), np.array([[0.2, -0.1], [0.25, -0.15]])
    limits = ActionLimits(min=(-0.5, -0.5), max=(0.5, 0.5), max_delta=(0.05, 0.05))
    config = PlannerConfig(preset="fast", algorithm="icem", search_space="cubic_spline", seed=1)
    reply = planner.plan(
        *(MODEL, [Observation(camera.read())], camera.read(), PlanOptions(config=config, limits=limits)),
        underway=Underway(actions=settled),
    )
    np.testing.assert_allclose(reply.actions[:2], settled, atol=1e-6)
    assert np.abs(np.diff(reply.actions, axis=0)).max() <= 0.05 + 1e-6
    assert (reply.planner.algorithm, reply.planner.search_space) == ("icem", "cubic_spline")


def test_a_session_is_made_reset_and_forgotten(planner: Planner) -> None:
    camera = Camera()
    session = planner.create_session(hold_on_surprise=False)
    image = camera.read()

    def plan(of: Session) -> PlanReply:
        return planner.plan(MODEL, [Observation(image, step=0)], image, FAST, session=of)

    assert plan(session).session_epoch == session.epoch
    assert planner.session(session.session_id).committed_step == 0
    later = planner.reset_session(session.session_id)
    assert later.epoch > session.epoch and later.session_id == session.session_id
    with pytest.raises(TelosError, match="epoch-stale"):
        plan(session)
    assert not plan(later).warm_started
    planner.delete_session(session.session_id)
    with pytest.raises(TelosError, match="session-not-found"):
        planner.session(session.session_id)


def test_goals_in_order_and_what_else_a_plan_is_judged_by(planner: Planner) -> None:
    camera = Camera()
    now, first, last, away = (camera.read() for _ in range(4))
    (place,) = planner.encode(MODEL, [away]).embeddings
    cost = Cost(over="closest", smoothness=0.1, effort=0.1, keep_out=(KeepOut(embeddings=(place,), radius=0.5),))
    goals = [Goal(first, tolerance=1e-6), Goal(last, weight=2.0)]
    config = PlannerConfig(preset="fast", seed=1)
    plain = planner.plan(MODEL, [Observation(now)], goals, PlanOptions(config=config))
    judged = planner.plan(MODEL, [Observation(now)], goals, PlanOptions(config=config, cost=cost))
    assert (plain.active_goal, plain.goal_reached, len(plain.goal_distances)) == (0, False, 2)
    assert plain.goal_distance == plain.goal_distances[0]
    assert judged.predicted_cost != plain.predicted_cost


def test_a_chunk_begins_when_the_plan_is_there(planner: Planner) -> None:
    camera, settled = Camera(), np.array([[0.2, -0.1], [0.25, -0.15]])
    reply = planner.plan(
        *(MODEL, [Observation(camera.read(), step=10)], camera.read(), FAST),
        underway=Underway(actions=settled, delay_steps=2),
    )
    assert reply.first_step == 12 and len(reply.actions) < 25


def test_better_plans_come_while_the_search_goes_on(planner: Planner) -> None:
    camera = Camera()
    frame, goal = [Observation(camera.read(), step=0)], camera.read()
    incumbents: list[PlanReply] = []
    final = planner.plan(MODEL, frame, goal, LONG, on_incumbent=incumbents.append)
    costs = [reply.predicted_cost for reply in [*incumbents, final] if reply.predicted_cost is not None]
    assert len(incumbents) >= 1 and costs == sorted(costs, reverse=True)
    assert {reply.request_id for reply in incumbents} == {final.request_id}
    np.testing.assert_allclose(planner.plan(MODEL, frame, goal, LONG).actions, final.actions, atol=1e-6)


def test_who_has_seen_enough_leaves_the_search(planner: Planner) -> None:
    camera = Camera()

    class EnoughError(Exception):
        pass

    def enough(reply: PlanReply) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        planner.plan(MODEL, [Observation(camera.read(), step=0)], camera.read(), LONG, on_incumbent=enough)
    assert len(planner.models()) == 1  # the connection carries no rest of it


def test_a_refused_search_says_why(planner: Planner) -> None:
    camera = Camera()
    options = PlanOptions(config=PlannerConfig(preset="nothing"))
    with pytest.raises(TelosError, match="preset"):
        planner.plan(MODEL, [Observation(camera.read(), step=0)], camera.read(), options, on_incumbent=print)


def test_a_clip_is_scored(planner: Planner) -> None:
    camera = Camera()
    clip = [Observation(camera.read(), step=5 * k) for k in range(3)]
    reply = planner.anomaly(MODEL, clip, [np.zeros((5, 2))] * 2)
    assert len(reply.surprise) == len(reply.p_value) == 2
    assert reply.is_anomalous == (max(reply.surprise) > reply.threshold)


def test_models_are_described(planner: Planner) -> None:
    (model,) = planner.models()
    assert model == planner.model(MODEL)
    assert model.required_action.names == ("x", "y") and model.required_action.control_steps == 5
    assert [(sensor.name, sensor.kind, sensor.shape) for sensor in model.sensors] == [("top", "camera", (32, 32, 3))]
    assert model.cameras == model.sensors and model.latent_shape == (1, 16)
    with pytest.raises(TelosError, match=f"no model 'nobody'; the server has .*{MODEL}"):
        planner.model("nobody")


def test_a_refusal_says_which_field(planner: Planner) -> None:
    goal = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(TelosError) as caught:
        planner.plan(MODEL, [Observation(np.zeros((8, 8, 3), np.uint8))], goal)
    error = caught.value
    assert (error.code, error.retryable, len(error.request_id)) == ("image-rejected", False, 16)
    assert error.status in (422, "INVALID_ARGUMENT")
    assert error.errors[0].pointer == "/context/0/images/top"
    assert "8 x 8 px" in error.errors[0].reason
