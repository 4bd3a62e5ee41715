"""Task distance, learned where latents show a block on a table, turned, and a robot that does not matter."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from tests.worldmodel.latent_store import latent_episodes, stored
from worldmodel.clips import StepTiming
from worldmodel.data.latents import LatentEpisodes, StandIns
from worldmodel.data.task_truth import apart
from worldmodel.errors import DatasetError
from worldmodel.heads.task_distance import (
    TaskDistance,
    TaskDistanceConfig,
    TaskDistanceTraining,
    Tolerance,
    fit_task_distance,
    task_truth,
)

NAMES = ["robot", "x", "y", "sin", "cos"]
CONFIG = TaskDistanceConfig(
    tolerances=(Tolerance(features=("x", "y"), within=0.5), Tolerance(features=("sin", "cos"), within=0.25)), width=64
)
TRAINING = TaskDistanceTraining(steps=600, batch=256, learning_rate=3e-3, noise=0.01)


def scene(robot: Tensor, x: Tensor, y: Tensor, angle: Tensor) -> Tensor:
    """Features, in the order of NAMES."""
    return torch.stack([robot, x, y, torch.sin(angle), torch.cos(angle)], dim=1)


def random_scenes(count: int, seed: int) -> Tensor:
    robot, x, y, turn = torch.rand(4, count, generator=Generator().manual_seed(seed)) * 2 - 1
    return scene(robot, x, y, turn * torch.pi)


def seen(features: Tensor) -> Tensor:
    """Latents [b 1 5]: the features, mixed."""
    return (features @ torch.linalg.qr(torch.randn(5, 5, generator=Generator().manual_seed(9)))[0])[:, None]


def shown(folder: Path, features: Tensor) -> LatentEpisodes:
    data = latent_episodes(folder, seen(features)[None], torch.zeros(1, len(features), 2), StepTiming())
    return dataclasses.replace(data, task=task_truth(CONFIG, NAMES, features))


def learned(data: LatentEpisodes) -> TaskDistance:
    torch.manual_seed(0)
    head = TaskDistance(CONFIG, 1, 5)
    fit_task_distance(head, data, TRAINING, 0, lambda step, loss: None)
    return head


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> TaskDistance:
    return learned(shown(tmp_path_factory.mktemp("scenes"), random_scenes(4000, seed=0)))


def between(head: TaskDistance, here: Tensor, goal: Tensor) -> Tensor:
    return head(seen(here)[:, None, None], seen(goal)).flatten()


def test_it_measures_what_the_task_is_about(head: TaskDistance) -> None:
    """A distance of 0.6 is 1.2 tolerances; half a turn is 2 / 0.25 = 8 of them; the robot's place is none."""
    half, none, turn = torch.tensor([0.3]), torch.tensor([0.0]), torch.tensor([torch.pi / 2])
    here = scene(none, half, none, turn)
    for goal, wanted in [
        (here, 0.0),
        (scene(none, -half, none, turn), 1.2),
        (scene(none, half, none, -turn), 8.0),
        (scene(none, -half, none, -turn), 9.2),
        (scene(half * 3, half, none, turn), 0.0),
    ]:
        assert float(between(head, here, goal)) == pytest.approx(wanted, abs=0.25)


def test_it_is_right_about_frames_it_never_saw(head: TaskDistance) -> None:
    here, goal = random_scenes(500, seed=1), random_scenes(500, seed=2)
    true = apart(*(task_truth(CONFIG, NAMES, each).quantities for each in (here, goal)), CONFIG.sizes).sum(-1)
    error = (between(head, here, goal) - true).abs()
    assert error.median() < 0.15 < true.std() / 5


def test_it_answers_for_every_imagined_latent(head: TaskDistance) -> None:
    latents = torch.randn(2, 3, 4, 1, 5, generator=Generator().manual_seed(0))
    goal = torch.randn(2, 1, 5, generator=Generator().manual_seed(1))
    answer = head(latents, goal)
    assert answer.shape == (2, 3, 4) and (answer >= 0).all() and not answer.requires_grad
    torch.testing.assert_close(answer[1, 2, 3], head(latents[1:, 2:, 3:], goal[1:])[0, 0, 0])


def test_what_is_imagined_wrongly_is_read_as_what_really_was(tmp_path: Path) -> None:
    """A model that imagines everything one to the side: the head learns where that is."""
    features = random_scenes(4000, seed=0)
    far = (features[:, 1] > 0.5).nonzero().squeeze(1)
    right = shown(tmp_path, features)
    wrong = dataclasses.replace(right, stand_ins=(StandIns(stored(tmp_path, seen(features)[far] + 1), far),))
    probe = random_scenes(500, seed=3)
    probe = probe[probe[:, 1] > 0.5]
    wanted = task_truth(CONFIG, NAMES, probe).quantities
    knows, guesses = (
        float(apart(head.quantities(seen(probe) + 1), wanted, CONFIG.sizes).median())
        for head in (learned(wrong), learned(right))
    )
    assert knows < 0.3 < 1 < guesses


def test_a_feature_that_nobody_recorded_is_refused() -> None:
    with pytest.raises(DatasetError, match="the goal wants a feature 'sin', which was not recorded; these were: x, y"):
        task_truth(CONFIG, ["x", "y"], torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("features", "within", "message"),
    [
        (("x",), 0.0, "tolerance of x is 0.0; wanted a finite number above 0"),
        (("x", "y"), float("nan"), "tolerance of x,y is nan"),
        ((), 1.0, "a tolerance wants one feature or more"),
    ],
)
def test_a_tolerance_that_means_nothing_is_refused(features: tuple[str, ...], within: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tolerance(features=features, within=within)
    with pytest.raises(ValueError, match="tolerances is empty"):
        TaskDistanceConfig(tolerances=())


def test_the_task_is_done_when_every_tolerance_is_kept_with_a_little_to_spare() -> None:
    place, turn, none = torch.tensor([0.0, 0.39, 0.41, 0.0]), torch.tensor([0.0, 0.0, 0.0, 0.21]), torch.zeros(4)
    truth = task_truth(CONFIG, NAMES, scene(torch.tensor([0.0, 1.0, 0.0, 0.0]), place, none, turn))
    reached = truth.reached(torch.arange(4), torch.zeros(4, dtype=torch.int64))
    assert reached.tolist() == [True, True, False, False]


def test_each_step_is_reported(tmp_path: Path) -> None:
    data, told = shown(tmp_path, random_scenes(50, seed=0)), list[tuple[int, float]]()
    training = TaskDistanceTraining(steps=3, batch=16)
    fit_task_distance(TaskDistance(CONFIG, 1, 5), data, training, 0, lambda step, loss: told.append((step, loss)))
    assert [step for step, _ in told] == [0, 1, 2] and all(loss > 0 for _, loss in told)
