"""Rotary positions are relative: that is what lets keys and values be kept."""

import pytest
import torch
from torch import Generator

from worldmodel.parts.rotary import rotate


def heads(seed: int, steps: int = 6, width: int = 8) -> torch.Tensor:
    return torch.randn(2, steps, width, generator=Generator().manual_seed(seed))


@pytest.mark.parametrize("moved", [1, 7, 40])
def test_scores_depend_on_distance_only(moved: int) -> None:
    queries, keys = heads(0), heads(1)
    here = rotate(queries, 0) @ rotate(keys, 0).transpose(-2, -1)
    there = rotate(queries, moved) @ rotate(keys, moved).transpose(-2, -1)
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def test_scores_do_depend_on_distance() -> None:
    query, key = heads(0, steps=1), heads(1, steps=1)
    scores = [float((rotate(query, 0) * rotate(key, distance)).sum()) for distance in range(8)]
    assert len({round(score, 3) for score in scores}) == 8


def test_turning_keeps_the_length_and_position_zero_stays() -> None:
    turned = rotate(heads(0), 0)
    torch.testing.assert_close(turned.norm(dim=-1), heads(0).norm(dim=-1))
    assert torch.equal(turned[:, 0], heads(0)[:, 0])


def test_a_sequence_is_turned_as_its_tokens_one_by_one() -> None:
    whole = rotate(heads(0), 3)
    for step in range(6):
        torch.testing.assert_close(rotate(heads(0)[:, step : step + 1], 3 + step), whole[:, step : step + 1])
