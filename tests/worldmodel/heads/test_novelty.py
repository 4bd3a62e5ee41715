"""Input novelty: wrong pictures are seen, normal ones alarm as rarely as is promised."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from tests.episodes import dot_episode
from tests.tiny import PROPRIOCEPTION, TOP
from worldmodel.errors import CheckpointError
from worldmodel.heads.novelty import (
    Calibrated,
    Familiar,
    calibrated_novelty,
    descriptions,
    descriptions_of_pixels,
    novelty_from,
    threshold,
    widths,
)
from worldmodel.observation import ObservationBatch


def dots(first: int, episodes: int) -> Iterator[dict[str, Tensor]]:
    """Five frames of each episode."""
    for seed in range(first, first + episodes):
        yield {"top": torch.from_numpy(dot_episode(seed).frames[::7])}


@pytest.fixture(scope="module")
def calibrated() -> Calibrated:
    return calibrated_novelty((TOP,), dots(0, 60), dots(100, 120))


def novelty(calibrated: Calibrated, pictures: Tensor) -> Tensor:
    return calibrated.novelty.of(ObservationBatch({"top": pictures}))["top"]


@pytest.fixture(scope="module")
def fresh() -> Tensor:
    return torch.cat([each["top"] for each in dots(1000, 20)])


def blurred(pictures: Tensor) -> Tensor:
    pixels = pictures.movedim(-1, 1).float()
    return torch.nn.functional.avg_pool2d(pixels, 9, 1, 4).movedim(1, -1).to(torch.uint8)


def noise(pictures: Tensor) -> Tensor:
    return torch.randint(0, 256, pictures.shape, generator=Generator().manual_seed(0)).to(torch.uint8)


def test_normal_pictures_are_familiar(calibrated: Calibrated, fresh: Tensor) -> None:
    assert (novelty(calibrated, fresh) <= 1).float().mean() > 0.95


@pytest.mark.parametrize(
    "wrong",
    [lambda x: x.flip(-1), torch.zeros_like, lambda x: torch.full_like(x, 255), lambda x: 255 - x, blurred, noise],
    ids=["BGR", "black", "white", "negative", "blur", "noise"],
)
def test_wrong_pictures_are_novel(wrong: object, calibrated: Calibrated, fresh: Tensor) -> None:
    assert callable(wrong)
    assert (novelty(calibrated, wrong(fresh)) > 1).all()


def test_a_calibration_promises_what_its_episodes_can(calibrated: Calibrated) -> None:
    spec = calibrated.spec
    assert (spec.episodes, spec.frames) == (120, 600) and spec.false_alarm_rate == pytest.approx(1 / 121)


def test_a_vector_far_from_its_training_readings_is_novel() -> None:
    generator = Generator().manual_seed(0)

    def arm(episodes: int) -> Iterator[dict[str, Tensor]]:
        for _ in range(episodes):
            yield {"proprioception": 0.1 * torch.randn(4, 7, generator=generator) + torch.tensor([0.0] * 6 + [0.05])}

    found = calibrated_novelty((PROPRIOCEPTION,), arm(30), arm(30)).novelty
    readings = torch.tensor([[0.0] * 6 + [0.05], [2.0] + [0.0] * 5 + [0.05]])
    near, far = found.of(ObservationBatch({"proprioception": readings}))["proprioception"].tolist()
    assert near < 1 < far


def test_the_distance_is_mahalanobis_where_all_directions_are_kept() -> None:
    rows = torch.randn(400, 6, generator=Generator().manual_seed(0)) @ torch.diag(torch.arange(1.0, 7))
    familiar = Familiar.fit(rows, 1e-9)
    away = (rows[:9] - rows.mean(0)).double()
    wanted = (away @ torch.linalg.inv(rows.double().T.cov()) * away).sum(1).div(6).sqrt()
    torch.testing.assert_close(familiar.distance(rows[:9]), wanted.float(), rtol=1e-3, atol=1e-4)


def test_edges_do_not_see_colours_and_channels_do(fresh: Tensor) -> None:
    pixels = fresh.movedim(-1, 1).float() / 255
    seen, swapped = descriptions_of_pixels(pixels), descriptions_of_pixels(pixels.flip(1))
    for name in ("edges", "texture"):
        torch.testing.assert_close(swapped[name][:, 3:], seen[name][:, 3:])
    assert (swapped["channels"] - seen["channels"])[:, 3:].abs().amax() > 0.1
    assert (swapped["layout"] - seen["layout"]).abs().amax() > 0.1


def test_every_description_is_as_wide_as_is_said(fresh: Tensor) -> None:
    assert {name: rows.shape[1] for name, rows in descriptions(TOP, fresh).items()} == widths(TOP)


@pytest.mark.parametrize("episodes", [1, 9, 99, 199])
def test_the_threshold_keeps_its_rate_for_new_episodes(episodes: int) -> None:
    """Readings of one episode are alike, which a count of readings would overlook."""
    rate, rng = max(0.05, 1 / (episodes + 1)), np.random.default_rng(episodes)

    def episode() -> Tensor:
        return torch.from_numpy(rng.normal() + 0.1 * rng.normal(size=rng.integers(1, 9))).float()

    exceeded = [
        float((episode() > threshold([episode() for _ in range(episodes)], rate)).float().mean()) for _ in range(300)
    ]
    assert np.mean(exceeded) < rate + 3 * np.sqrt(rate / 300)


def test_it_survives_its_tensors(calibrated: Calibrated, fresh: Tensor) -> None:
    again = novelty_from(calibrated.novelty.tensors(), (TOP,), "tiny")
    assert torch.equal(again.of(ObservationBatch({"top": fresh}))["top"], novelty(calibrated, fresh))


@pytest.mark.parametrize("name", ["top/layout/mean", "top/edges/directions", "top/texture/scale"])
@pytest.mark.parametrize("change", ["missing", "shape", "type", "nan"])
def test_tensors_of_something_else_are_refused(name: str, change: str, calibrated: Calibrated) -> None:
    tensors = calibrated.novelty.tensors()
    changed = {
        "missing": None,
        "shape": tensors[name][..., :0],
        "type": tensors[name].double(),
        "nan": torch.full_like(tensors[name], torch.nan),
    }[change]
    with pytest.raises(CheckpointError, match="novelty of tiny"):
        novelty_from({k: v for k, v in (tensors | {name: changed}).items() if v is not None}, (TOP,), "tiny")
