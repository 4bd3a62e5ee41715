"""Where a token stands on its grid: fixed sine-cosine tables that are added, and rotary positions in three axes.

Tokens are numbered in raster order: by time slot, then by row, then by column.
"""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldmodel.parts.masks import Grid

PositionKind = Literal["sincos", "rotary", "tiled"]
"""`tiled` is what V-JEPA 2's published weights were trained with (see `RotaryPositions`)."""
BASE = 10_000.0
"""Slowest wavelength over 2 pi, in tokens."""


class Rotation(NamedTuple):
    """By how much each channel of a head is turned, [b 1 k w] or [k w]."""

    cos: Tensor
    sin: Tensor


class SinCosPositions(nn.Module):
    """Adds a fixed table, before any token is dropped or to tokens of known places."""

    table: Tensor

    def __init__(self, width: int, grid: Grid) -> None:
        super().__init__()
        slots, rows, columns = grid
        table = sincos_2d(rows, columns, width) if slots == 1 else sincos_3d(grid, width)
        self.register_buffer("table", table, persistent=False)

    def added(self, tokens: Float[Tensor, "b k d"], index: Int[Tensor, "b k"] | None = None) -> Float[Tensor, "b k d"]:
        """The tokens of these places, or the first k of the grid, with their positions."""
        return tokens + (self.table[: tokens.shape[1]] if index is None else self.table[index])

    def rotation(self, count: int, index: Int[Tensor, "b k"] | None = None) -> None:
        """No head is turned."""


class RotaryPositions(nn.Module):
    """Turns pairs of channels by time slot, row and column, each in a third of a head (V-JEPA 2, arXiv:2506.09985).

    A third is rounded down to an even number of channels; the rest of a head stays as it is. Channel c of a third is
    turned by the angle of pair c // 2, together with its neighbour. With `tiled`, by that of pair c modulo the number
    of pairs, as in V-JEPA 2's code: neighbours have different angles, which changes norms, but its weights learned so.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_width: int, grid: Grid, *, tiled: bool = False, reference: int | None = None) -> None:
        """With `reference`, rows and columns of any grid are stretched to 0..reference-1 (V-JEPA 2.1)."""
        super().__init__()
        if head_width < 6:
            raise ValueError(f"heads are {head_width} wide; wanted 6 at least for rotary positions in three axes")
        places = coordinates(grid)
        if reference is not None:
            sides = torch.tensor(grid[1:], dtype=torch.float32, device="cpu")
            places[:, 1:] *= (reference - 1) / (sides - 1).clamp_min(1)
        angles = _angles(places, head_width, tiled)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def added(self, tokens: Float[Tensor, "b k d"], index: Int[Tensor, "b k"] | None = None) -> Float[Tensor, "b k d"]:
        """The tokens as they are: positions enter in the attention."""
        return tokens

    def rotation(self, count: int, index: Int[Tensor, "b k"] | None = None) -> Rotation:
        """The rotation of these places, or of the first `count` of the grid."""
        if index is None:
            return Rotation(self.cos[:count], self.sin[:count])
        return Rotation(self.cos[index].unsqueeze(1), self.sin[index].unsqueeze(1))


Positions = SinCosPositions | RotaryPositions


def positions(kind: PositionKind, width: int, heads: int, grid: Grid) -> Positions:
    """The positions of a transformer of this width."""
    if kind == "sincos":
        return SinCosPositions(width, grid)
    return RotaryPositions(width // heads, grid, tiled=kind == "tiled")


def rotated(heads: Float[Tensor, "b heads k w"], rotation: Rotation) -> Float[Tensor, "b heads k w"]:
    """Queries or keys after their rotation; neighbouring channels are a pair."""
    even, odd = heads.unflatten(-1, (-1, 2)).unbind(-1)
    across = torch.stack([-odd, even], dim=-1).flatten(-2)
    return heads * rotation.cos.to(heads.dtype) + across * rotation.sin.to(heads.dtype)


def coordinates(grid: Grid) -> Float[Tensor, "n 3"]:
    """Time slot, row and column of each token."""
    axes = [torch.arange(side, dtype=torch.float32, device="cpu") for side in grid]
    return torch.cartesian_prod(*axes).view(-1, 3)


def sincos_2d(rows: int, columns: int, width: int) -> Float[Tensor, "n d"]:
    """Half of the channels for the row, half for the column, as I-JEPA has them."""
    if width % 4:
        raise ValueError(f"width={width} must be a multiple of 4 for sine-cosine positions of two axes")
    _, row, column = coordinates((1, rows, columns)).unbind(1)
    return torch.cat([_sincos(row, width // 2), _sincos(column, width // 2)], dim=1)


def sincos_3d(grid: Grid, width: int) -> Float[Tensor, "n d"]:
    """A third of the channels for each axis, time first; an odd rest is cut off at the end, as V-JEPA has it."""
    part = 2 * math.ceil(width / 6)
    return torch.cat([_sincos(places, part) for places in coordinates(grid).unbind(1)], dim=1)[:, :width]


def _sincos(places: Float[Tensor, " n"], width: int) -> Float[Tensor, "n w"]:
    angles = places[:, None].double() * _frequencies(width)
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def _frequencies(width: int) -> Float[Tensor, " half"]:
    """From 1 down to nearly 1 / BASE, geometrically."""
    return BASE ** (-torch.arange(width // 2, dtype=torch.float64, device="cpu") / (width // 2))


def _angles(places: Float[Tensor, "n 3"], head_width: int, tiled: bool) -> Float[Tensor, "n w"]:
    """Angles in radians by channel; 0 for those that are not turned."""
    part = 2 * (head_width // 3 // 2)
    angles = places[..., None].double() * _frequencies(part)  # [n 3 pairs]
    by_channel = angles.repeat(1, 1, 2) if tiled else angles.repeat_interleave(2, dim=-1)
    rest = torch.zeros(len(places), head_width - 3 * part, dtype=torch.float64, device="cpu")
    return torch.cat([by_channel.flatten(1), rest], dim=1).float()
