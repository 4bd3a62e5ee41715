"""Steps to go, learned on a line where the answer is known."""

import copy
import dataclasses

import pytest
import torch
from torch import Generator, Tensor, nn
from worldmodel.data.latent_episodes import LatentEpisodes, StandIns

from worldmodel.data.task_truth import TaskTruth
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig, StepsToGoTraining, fit_steps_to_go
from worldmodel.inference.fast_steps_to_go import FastStepsToGo

CONTROL_STEPS, FRAMES = 5, 41


def line_walks(episodes: int = 20) -> LatentEpisodes:
    """Walks along a line at one speed: 0.05 a control step, so four model steps cover a distance of one."""
    starts = torch.linspace(-1, 1, episodes)
    places = starts[:, None] + 0.05 * torch.arange(FRAMES)
    rows = torch.arange(episodes * FRAMES)
    last_row = (rows // FRAMES + 1) * FRAMES - 1
    return LatentEpisodes(torch.stack([places.flatten(), -places.flatten()], dim=1), last_row)


def learned(steps: int = 400, walks: LatentEpisodes | None = None) -> StepsToGo:
    torch.manual_seed(0)
    training = StepsToGoTraining(steps=steps, batch=128, learning_rate=3e-3, noise=0.02, target_momentum=0.9)
    config = StepsToGoConfig(width=32, longest=16.0)
    return fit_steps_to_go(walks or line_walks(), config, training, CONTROL_STEPS, Generator().manual_seed(0))


@pytest.fixture(scope="module")
def head() -> StepsToGo:
    return learned()


def at(*places: float) -> Tensor:
    line = torch.tensor(places)
    return torch.stack([line, -line], dim=1)


def test_it_learns_how_many_model_steps_are_left(head: StepsToGo) -> None:
    """A distance of 0.25 is one model step."""
    measured = head.between(at(0.0, 0.0, 0.0, 0.0), at(0.0, 0.5, 1.0, 1.5))
    assert (measured - torch.tensor([0.0, 2.0, 4.0, 6.0])).abs().max() < 0.8


def test_it_grows_with_the_way_left(head: StepsToGo) -> None:
    measured = head.between(at(*[0.0] * 8), at(*(0.2 * step for step in range(8))))
    assert (measured.diff() > 0).all()


def test_against_the_stream_is_further_than_along_it(head: StepsToGo) -> None:
    """Nobody ever walked back: the squared distance cannot know that, this one can."""
    there, back = head.between(at(0.0, 1.0), at(1.0, 0.0)).tolist()
    assert back > there + 2


def test_same_seeds_same_weights() -> None:
    one, other = learned(5), learned(5)
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_it_answers_for_every_imagined_latent(head: StepsToGo) -> None:
    latents, goal = torch.randn(2, 3, 4, 1, 2, generator=Generator().manual_seed(0)), at(0.3, 1.0)[:, None]
    answer = head(latents, goal)
    assert answer.shape == (2, 3, 4)
    torch.testing.assert_close(answer[1, 2, 3], head.between(latents[1, 2, 3], goal[1])[0])
    assert ((answer >= 0) & (answer <= 16)).all()
    assert not answer.requires_grad


def test_the_fast_way_gives_what_the_plain_way_gives(head: StepsToGo) -> None:
    """Whatever the norms learned, for every robot's own goal."""
    generator = Generator().manual_seed(1)
    unsettled = copy.deepcopy(head)
    for module in unsettled.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    latents, goal = torch.randn(3, 5, 4, 1, 2, generator=generator), torch.randn(3, 1, 2, generator=generator)
    wanted = unsettled(latents, goal)
    assert wanted.std() > 0.5, "nothing would be told apart"
    torch.testing.assert_close(FastStepsToGo(unsettled)(latents, goal), wanted, rtol=1e-4, atol=1e-4)


def test_what_is_imagined_of_a_frame_is_as_far_from_a_goal_as_the_frame() -> None:
    """A model that imagines everything at four times its place: the head learns that these places are the same."""
    data = line_walks()
    beyond = (data.latents[:, 0].abs() > 0.6).nonzero().squeeze(1)
    doubled = dataclasses.replace(data, stand_ins=StandIns(data.latents[beyond] * 4, beyond))
    start, goal = at(0.7) * 4, at(1.2)
    knows, guesses = (float(learned(400, walks).between(start, goal)) for walks in (doubled, data))
    assert abs(knows - 2) < 1 < abs(guesses - 2), f"{knows} and {guesses} model steps instead of 2"


def test_no_step_is_left_where_the_task_is_done() -> None:
    """A task that wants the walker within 0.5 of its goal: two model steps less to go, and none from there on."""
    data = line_walks()
    head = learned(800, dataclasses.replace(data, task=TaskTruth(data.latents[:, :1] / (0.5 / 0.8), [1])))
    measured = head.between(at(0.0, 0.0, 0.0), at(0.4, 1.0, 1.5))
    assert (measured - torch.tensor([0.0, 2.0, 4.0])).abs().max() < 0.8


def test_each_step_is_told() -> None:
    told: list[tuple[int, float]] = []
    fit_steps_to_go(
        line_walks(2),
        StepsToGoConfig(width=8),
        StepsToGoTraining(steps=3, batch=16),
        CONTROL_STEPS,
        Generator().manual_seed(0),
        lambda step, loss: told.append((step, loss)),
    )
    assert [step for step, _ in told] == [0, 1, 2] and all(loss > 0 for _, loss in told)
