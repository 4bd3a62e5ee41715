"""Samplers of masks: which tokens of a picture or a clip are seen, and which are to be predicted.

A sampler is a pure function of its generator, which the training loop makes of (seed, step). Tokens are numbered in
raster order: by time slot, then by row, then by column. Size and shape of the blocks are drawn once a batch, their
places once a sample; a block may touch every border of the grid.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from worldmodel.parts.checks import WIDEST, require_range

Grid = tuple[int, int, int]
"""Time slots, rows and columns of tokens."""
Equalise = Literal["head", "random", "pad"]
"""How samples with different numbers of tokens become one batch. `head` keeps as many as the smallest has, the first in
raster order, as the published codes do: in clips it drops late frames. `random` keeps as many, drawn at random. `pad`
keeps all, and fills the others up."""
ATTEMPTS = 20
"""Places that are tried for a context before it may overlap one target more."""


@dataclass(frozen=True)
class TokenSet:
    """Equally many tokens of each sample."""

    index: Int[Tensor, "b k"]
    """Ascending."""
    real: Bool[Tensor, "b k"] | None = None
    """False where an index only fills its row up; None where all are real."""

    def of(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b k d"]:
        """These tokens out of all."""
        return tokens.gather(1, self.index[..., None].expand(-1, -1, tokens.shape[-1]))

    def to(self, device: torch.device) -> "TokenSet":
        """On that device."""
        return TokenSet(self.index.to(device), None if self.real is None else self.real.to(device))

    def before(self, other: "TokenSet") -> "TokenSet":
        """Both sets side by side, these first."""
        index = torch.cat([self.index, other.index], dim=1)
        if self.real is None and other.real is None:
            return TokenSet(index)
        return TokenSet(index, torch.cat([_real(self), _real(other)], dim=1))


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Rectangles on the grid of a frame that last for some time slots, all of the same size within a batch."""

    count: int = 1
    area: tuple[float, float]
    """Least and largest share of a frame's tokens."""
    aspect: tuple[float, float] = (0.75, 1.5)
    """Least and largest ratio of rows to columns."""
    duration: tuple[float, float] = (1.0, 1.0)
    """Least and largest share of the time slots."""

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "count")
        for name, most in (("area", 1.0), ("aspect", 100.0), ("duration", 1.0)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= most:
                raise ValueError(f"Blocks.{name}={getattr(self, name)} must be two ascending numbers in 0..{most:g}")

    def size(self, grid: Grid, generator: Generator) -> Grid:
        """Time slots, rows and columns of each block of a batch, no more than the grid has."""
        slots, rows, columns = grid
        duration, area, aspect = (
            low + float(torch.rand((), generator=generator)) * (high - low)
            for low, high in (self.duration, self.area, self.aspect)
        )
        tokens = math.floor(rows * columns * area)
        high, wide = (max(1, round(math.sqrt(tokens * ratio))) for ratio in (aspect, 1 / aspect))
        return max(1, math.floor(slots * duration)), min(high, rows), min(wide, columns)


@dataclass(frozen=True, kw_only=True)
class MultiBlock:
    """I-JEPA's masks (arXiv:2301.08243, section 3): target blocks, and a large block less the targets as context.

    Targets may overlap each other. The defaults are the published ones, except for `equalise`.
    """

    targets: Blocks = field(default_factory=lambda: Blocks(count=4, area=(0.15, 0.2)))
    context: Blocks = field(default_factory=lambda: Blocks(area=(0.85, 1.0), aspect=(1.0, 1.0)))
    least_context: int = 10
    """Tokens that a context has at least. Where no place leaves as many, the context may overlap the last target, then
    the last but one, and so on."""
    equalise: Equalise = "random"

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "least_context")
        if self.context.count != 1:
            raise ValueError(f"MultiBlock.context has count={self.context.count}; wanted one block")

    def sample(self, grid: Grid, samples: int, generator: Generator) -> tuple[TokenSet, list[TokenSet]]:
        """The context, and each target block, of pictures: `grid` has one time slot.

        Raises ValueError where the grid is too small for a context.
        """
        size, context_size = (
            _smaller_than(grid, blocks.size(grid, generator)) for blocks in (self.targets, self.context)
        )
        targets = _placed(size, grid, (samples, self.targets.count), generator)
        context = self._context(context_size, grid, targets, generator)
        each = [equalised(targets[:, block], "head", generator) for block in range(self.targets.count)]
        return equalised(context, self.equalise, generator), each

    def _context(
        self, size: Grid, grid: Grid, targets: Bool[Tensor, "b blocks n"], generator: Generator
    ) -> Bool[Tensor, "b n"]:
        chosen = torch.zeros_like(targets[:, 0])
        for kept in range(self.targets.count, -1, -1):
            hidden = targets[:, :kept].any(1)
            for _ in range(ATTEMPTS):
                drawn = _placed(size, grid, (len(targets), 1), generator)[:, 0] & ~hidden
                found = ~chosen.any(1) & (drawn.sum(1) >= self.least_context)
                chosen[found] = drawn[found]
                if chosen.any(1).all():
                    return chosen
        raise ValueError(
            f"a context of {size[1]} x {size[2]} tokens has fewer than least_context={self.least_context}; give larger "
            "images, smaller patches or a lower least_context"
        )


def complementary(
    blocks: Blocks, grid: Grid, samples: int, equalise: Equalise, generator: Generator
) -> tuple[TokenSet, TokenSet]:
    """V-JEPA's masks (arXiv:2404.08471, section 3): what the blocks leave visible, and what they hide."""
    size = blocks.size(grid, generator)
    if size == grid:
        size = (grid[0], grid[1], grid[2] - 1)  # or nothing would ever be visible
    hidden = _placed(size, grid, (samples, blocks.count), generator).any(1)
    while (full := hidden.all(1)).any():
        hidden[full] = _placed(size, grid, (int(full.sum()), blocks.count), generator).any(1)
    return equalised(~hidden, equalise, generator), equalised(hidden, equalise, generator)


def random_share(
    hidden_share: tuple[float, float], grid: Grid, samples: int, generator: Generator
) -> tuple[TokenSet, TokenSet]:
    """Visible and hidden tokens, each drawn alone. The share is drawn once a batch, between its two limits."""
    low, high = hidden_share
    tokens = math.prod(grid)
    share = low + float(torch.rand((), generator=generator)) * (high - low)
    count = min(max(1, round(share * tokens)), tokens - 1)
    order = torch.rand(samples, tokens, generator=generator).argsort(1)
    return TokenSet(order[:, count:].sort(1).values), TokenSet(order[:, :count].sort(1).values)


def equalised(chosen: Bool[Tensor, "b n"], how: Equalise, generator: Generator) -> TokenSet:
    """The chosen tokens, equally many of each sample."""
    counts = chosen.sum(1)
    size = int(counts.max() if how == "pad" else counts.min())
    tokens = chosen.shape[1]
    places = torch.arange(tokens) / tokens
    rank = torch.rand(chosen.shape, generator=generator) if how == "random" else places.expand(chosen.shape)
    index = (rank + ~chosen).argsort(1)[:, :size].sort(1).values
    return TokenSet(index, chosen.gather(1, index) if how == "pad" else None)


def _placed(size: Grid, grid: Grid, leading: tuple[int, int], generator: Generator) -> Bool[Tensor, "b blocks n"]:
    """Blocks of one size at random places."""
    spans = []
    for extent, side in zip(size, grid, strict=True):
        first = torch.randint(0, side - extent + 1, (*leading, 1), generator=generator)
        place = torch.arange(side)
        spans.append((place >= first) & (place < first + extent))  # [b blocks side]
    time, row, column = spans
    return (time[..., :, None, None] & row[..., None, :, None] & column[..., None, None, :]).flatten(2)


def _smaller_than(grid: Grid, size: Grid) -> Grid:
    """The size, with fewer rows and fewer columns than the grid has, as I-JEPA's code has it."""
    _, rows, columns = grid
    slots, high, wide = size
    return slots, max(1, min(high, rows - 1)), max(1, min(wide, columns - 1))


def _real(tokens: TokenSet) -> Bool[Tensor, "b k"]:
    return torch.ones_like(tokens.index, dtype=torch.bool) if tokens.real is None else tokens.real
