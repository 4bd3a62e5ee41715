"""Steps to go, learned on a line where the answer is known."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from tests.worldmodel.latent_store import latent_episodes, stored
from worldmodel.clips import StepTiming
from worldmodel.data.latents import LatentEpisodes, StandIns
from worldmodel.data.task_truth import TaskTruth
from worldmodel.heads.steps_to_go import StepsToGo, StepsToGoConfig, StepsToGoTraining, fit_steps_to_go
from worldmodel.inference.fast_steps_to_go import FastStepsToGo

CONTROL_STEPS, FRAMES = 5, 41


def line_walks(folder: Path, episodes: int = 20) -> LatentEpisodes:
    """Walks along a line at one speed: 0.05 a control step, so four model steps cover a distance of one."""
    starts = torch.linspace(-1, 1, episodes)
    places = starts[:, None] + 0.05 * torch.arange(FRAMES)
    latents = torch.stack([places, -places], dim=-1)[:, :, None]
    return latent_episodes(folder, latents, torch.zeros(episodes, FRAMES, 2), StepTiming(control_steps=CONTROL_STEPS))


def learned(walks: LatentEpisodes, steps: int = 400) -> StepsToGo:
    torch.manual_seed(0)
    training = StepsToGoTraining(steps=steps, batch=128, learning_rate=3e-3, noise=0.02, target_momentum=0.9)
    head = StepsToGo(StepsToGoConfig(width=32, longest=16.0), 1, 2)
    fit_steps_to_go(head, walks, training, 0, lambda step, loss: None)
    return head


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> StepsToGo:
    return learned(line_walks(tmp_path_factory.mktemp("walks")))


def at(*places: float) -> Tensor:
    """Latents [b 1 2] of these places."""
    line = torch.tensor(places)
    return torch.stack([line, -line], dim=1)[:, None]


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


def test_same_seeds_same_weights(tmp_path: Path) -> None:
    one, other = (learned(line_walks(tmp_path), 5) for _ in range(2))
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def test_it_answers_for_every_imagined_latent(head: StepsToGo) -> None:
    latents, goal = torch.randn(2, 3, 4, 1, 2, generator=Generator().manual_seed(0)), at(0.3, 1.0)
    answer = head(latents, goal)
    assert answer.shape == (2, 3, 4)
    torch.testing.assert_close(answer[1, 2, 3], head.between(latents[1, 2, 3], goal[1]))
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


def test_what_is_imagined_of_a_frame_is_as_far_from_a_goal_as_the_frame(tmp_path: Path) -> None:
    """A model that imagines everything at four times its place: the head learns that these places are the same."""
    data = line_walks(tmp_path)
    beyond = (every(data)[:, 0, 0].abs() > 0.6).nonzero().squeeze(1)
    stand_ins = StandIns(stored(tmp_path, data.latents[beyond] * 4), beyond)
    doubled = dataclasses.replace(data, stand_ins=(stand_ins,))
    start, goal = at(0.7) * 4, at(1.2)
    knows, guesses = (float(learned(walks).between(start, goal)) for walks in (doubled, data))
    assert abs(knows - 2) < 1 < abs(guesses - 2), f"{knows} and {guesses} model steps instead of 2"


def every(data: LatentEpisodes) -> Tensor:
    return data.latents[torch.arange(len(data.latents))]


def test_no_step_is_left_where_the_task_is_done(tmp_path: Path) -> None:
    """A task that wants the walker within 0.5 of its goal: two model steps less to go, and none from there on."""
    data = line_walks(tmp_path)
    head = learned(dataclasses.replace(data, task=TaskTruth(every(data)[:, 0, :1] / (0.5 / 0.8), [1])), 800)
    measured = head.between(at(0.0, 0.0, 0.0), at(0.4, 1.0, 1.5))
    assert (measured - torch.tensor([0.0, 2.0, 4.0])).abs().max() < 0.8


def test_each_step_is_reported(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    head, training = StepsToGo(StepsToGoConfig(width=8), 1, 2), StepsToGoTraining(steps=3, batch=16)
    fit_steps_to_go(head, line_walks(tmp_path, 2), training, 0, lambda step, loss: told.append((step, loss)))
    assert [step for step, _ in told] == [0, 1, 2] and all(loss > 0 for _, loss in told)
