"""Positions against formulas written out by hand, token by token and channel by channel."""

import math

import pytest
import torch
from torch import Generator, Tensor

from worldmodel.parts.positions import (
    RotaryPositions,
    Rotation,
    SinCosPositions,
    coordinates,
    rotated,
    sincos_2d,
    sincos_3d,
)


def axis(place: int, width: int) -> list[float]:
    """Sines, then cosines, of one axis."""
    angles = [place * 10000 ** (-j / (width / 2)) for j in range(width // 2)]
    return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]


def test_two_axes() -> None:
    table = sincos_2d(3, 5, 12)
    wanted = [axis(row, 6) + axis(column, 6) for row in range(3) for column in range(5)]
    torch.testing.assert_close(table, torch.tensor(wanted), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="width=10 must be a multiple of 4"):
        sincos_2d(2, 2, 10)


@pytest.mark.parametrize("width", [12, 16])
def test_three_axes_with_a_rest_that_is_cut_off(width: int) -> None:
    part = 2 * math.ceil(width / 6)
    wanted = [
        (axis(slot, part) + axis(row, part) + axis(column, part))[:width]
        for slot in range(2)
        for row in range(3)
        for column in range(4)
    ]
    torch.testing.assert_close(sincos_3d((2, 3, 4), width), torch.tensor(wanted), rtol=0, atol=1e-6)


def heads(width: int = 16, count: int = 24) -> Tensor:
    return torch.randn(2, 3, count, width, generator=Generator().manual_seed(0))


def naive(vector: list[float], place: list[float], tiled: bool) -> list[float]:
    """One head of one token at (slot, row, column)."""
    part, out = 2 * (len(vector) // 3 // 2), list(vector)
    for third in range(3):
        for pair in range(part // 2):
            low, high = third * part + 2 * pair, third * part + 2 * pair + 1
            indices = [(2 * pair + each) % (part // 2) if tiled else pair for each in (0, 1)]
            one, other = (place[third] * 10000 ** (-index / (part / 2)) for index in indices)
            out[low] = vector[low] * math.cos(one) - vector[high] * math.sin(one)
            out[high] = vector[high] * math.cos(other) + vector[low] * math.sin(other)
    return out


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("width", [16, 22])
def test_rotary_positions_of_three_axes(width: int, tiled: bool) -> None:
    given = heads(width)
    turned = rotated(given, RotaryPositions(width, (2, 3, 4), tiled=tiled).rotation(24))
    for token, place in enumerate(coordinates((2, 3, 4)).tolist()):
        wanted = torch.tensor(naive(given[1, 2, token].tolist(), place, tiled))
        torch.testing.assert_close(turned[1, 2, token], wanted, rtol=0, atol=1e-5)


def test_turning_keeps_norms_and_the_published_way_does_not() -> None:
    given = heads()
    for tiled in (False, True):
        turned = rotated(given, RotaryPositions(16, (2, 3, 4), tiled=tiled).rotation(24))
        change = (turned.norm(dim=-1) / given.norm(dim=-1) - 1).abs().max()
        assert change > 1e-2 if tiled else change < 1e-5


def test_scores_depend_on_distance_in_each_axis_only() -> None:
    positions = RotaryPositions(16, (4, 4, 4))
    query, key = (torch.randn(1, 1, 1, 16, generator=Generator().manual_seed(seed)) for seed in (0, 1))

    def score(one: int, other: int) -> float:
        at = [torch.tensor([[place]]) for place in (one, other)]
        return float((rotated(query, positions.rotation(1, at[0])) * rotated(key, positions.rotation(1, at[1]))).sum())

    step = 16 + 4 + 1  # one slot, one row, one column
    assert score(0, step) == pytest.approx(score(step, 2 * step), abs=1e-5)
    assert len({round(score(0, away), 4) for away in (0, 1, 4, 16)}) == 4


@pytest.mark.parametrize("kind", [SinCosPositions, RotaryPositions])
def test_some_places_have_what_they_have_among_all(kind: type[SinCosPositions] | type[RotaryPositions]) -> None:
    positions, index = kind(16, (2, 3, 4)), torch.tensor([[1, 5, 20], [0, 6, 7]])
    tokens = torch.randn(2, 24, 16, generator=Generator().manual_seed(0))
    picked = index[..., None].expand(-1, -1, 16)
    assert torch.equal(positions.added(tokens).gather(1, picked), positions.added(tokens.gather(1, picked), index))
    whole, some = positions.rotation(24), positions.rotation(3, index)
    if whole is None or some is None:
        assert whole is None and some is None and isinstance(positions, SinCosPositions)
        return
    assert isinstance(whole, Rotation)
    for all_places, those in zip(whole, some, strict=True):
        assert torch.equal(all_places[index], those[:, 0])


def test_positions_of_any_grid_reach_over_the_reference_grid() -> None:
    """V-JEPA 2.1: rows and columns are stretched, time is not; a grid of one row stays at 0."""
    positions = RotaryPositions(16, (3, 1, 5), reference=9)
    given = heads(count=15)
    turned = rotated(given, positions.rotation(15))
    for token, (slot, _, column) in enumerate(coordinates((3, 1, 5)).tolist()):
        wanted = torch.tensor(naive(given[0, 0, token].tolist(), [slot, 0.0, column * 2], False))
        torch.testing.assert_close(turned[0, 0, token], wanted, rtol=0, atol=1e-5)


def test_narrow_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="heads are 4 wide; wanted 6 at least"):
        RotaryPositions(4, (1, 2, 2))
