"""Mask samplers: the published facts, and laws of every sampler."""

import math

import pytest
import torch
from torch import Generator, Tensor

from worldmodel.parts.masks import (
    Blocks,
    Equalise,
    Grid,
    MultiBlock,
    TokenSet,
    complementary,
    equalised,
    random_share,
)

SHORT = Blocks(count=8, area=(0.15, 0.15))
LONG = Blocks(count=2, area=(0.7, 0.7))
CLIP: Grid = (3, 6, 7)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def hits(tokens: TokenSet, grid: Grid) -> Tensor:
    """How often each place is in the set, [b n], without those that only fill a row up."""
    real = torch.ones(tokens.index.shape) if tokens.real is None else tokens.real.float()
    return torch.zeros(len(tokens.index), math.prod(grid)).scatter_add(1, tokens.index, real)


def published_shares(side: int, batch: int, batches: int) -> tuple[float, float, float, float]:
    """The sampling rule of I-JEPA's code, place by place, with an inclusive bound: shares of the grid that one target,
    all targets, a context, and the smallest context of a batch have."""
    draw, sums, total = seeded(1), torch.zeros(4, dtype=torch.float64), side * side

    def block(least: float, most: float, low: float, high: float) -> tuple[int, int]:
        tokens = int(total * (least + float(torch.rand((), generator=draw)) * (most - least)))
        ratio = low + float(torch.rand((), generator=draw)) * (high - low)
        return tuple(min(round(math.sqrt(tokens * each)), side - 1) for each in (ratio, 1 / ratio))  # type: ignore[return-value]

    def place(size: tuple[int, int]) -> set[tuple[int, int]]:
        top, left = (int(torch.randint(0, side - extent + 1, (), generator=draw)) for extent in size)
        return {(top + row, left + column) for row in range(size[0]) for column in range(size[1])}

    for _ in range(batches):
        target, wide = block(0.15, 0.2, 0.75, 1.5), block(0.85, 1.0, 1.0, 1.0)
        hidden = [set[tuple[int, int]]().union(*(place(target) for _ in range(4))) for _ in range(batch)]
        contexts = [len(place(wide) - taken) for taken in hidden]
        means = [math.prod(target), sum(map(len, hidden)) / batch, sum(contexts) / batch, min(contexts)]
        sums += torch.tensor(means, dtype=torch.float64) / total
    return tuple((sums / batches).tolist())  # type: ignore[return-value]


def test_the_shares_of_i_jepas_masks_on_14_by_14_tokens() -> None:
    """A target has 17 % of the tokens, four have 47 %, a context 41.5 %, and 26 % after the cut to the smallest. (With
    the code's exclusive bound, which never reaches the last row and column, four have 44.5 %.)"""
    masks, found, batches = MultiBlock(equalise="head"), torch.zeros(4), 12
    for seed in range(batches):
        context, targets = masks.sample((1, 14, 14), 128, seeded(seed))
        uncut, _ = MultiBlock(equalise="pad").sample((1, 14, 14), 128, seeded(seed))
        union = (sum(hits(each, (1, 14, 14)) for each in targets) > 0).float()  # type: ignore[union-attr]
        found += torch.tensor(
            [
                targets[0].index.shape[1],
                union.sum(1).mean(),
                hits(uncut, (1, 14, 14)).sum(1).mean(),
                context.index.shape[1],
            ]
        )
    found /= batches * 196
    assert found.tolist() == pytest.approx([0.17, 0.47, 0.415, 0.26], abs=0.02)
    assert found.tolist() == pytest.approx(published_shares(14, 128, 6), abs=0.03)


@pytest.mark.parametrize(("blocks", "alone", "cut"), [(SHORT, 0.37, 0.23), (LONG, 0.19, 0.06)], ids=["short", "long"])
def test_the_visible_shares_of_v_jepas_masks_on_14_by_14_tokens(blocks: Blocks, alone: float, cut: float) -> None:
    grid, each, smallest = (8, 14, 14), [], []
    for seed in range(30):
        uncut, _ = complementary(blocks, grid, 24, "pad", seeded(seed))
        each.append(hits(uncut, grid).sum(1).mean() / 1568)
        smallest.append(complementary(blocks, grid, 24, "head", seeded(seed))[0].index.shape[1] / 1568)
    assert sum(each) / 30 == pytest.approx(alone, abs=0.02)
    assert sum(smallest) / 30 == pytest.approx(cut, abs=0.02)


def test_cutting_the_head_starves_late_frames_and_random_choice_does_not() -> None:
    grid = (8, 14, 14)
    by_slot = {}
    for how in ("head", "random"):
        visible, _ = complementary(LONG, grid, 24, how, seeded(3))
        by_slot[how] = hits(visible, grid).view(24, 8, -1).sum((0, 2))
    assert by_slot["head"][-1] < 0.2 * by_slot["head"][0]
    assert by_slot["random"].min() > 0.7 * by_slot["random"].max()


@pytest.mark.parametrize("how", ["head", "random", "pad"])
@pytest.mark.parametrize("blocks", [SHORT, LONG, Blocks(count=1, area=(1.0, 1.0))], ids=["short", "long", "everything"])
def test_what_is_visible_is_not_hidden(blocks: Blocks, how: Equalise) -> None:
    """Even where a block as large as the grid is asked for, something is visible."""
    visible, hidden = complementary(blocks, CLIP, 9, how, seeded())
    seen, asked = hits(visible, CLIP), hits(hidden, CLIP)
    assert (seen + asked).max() == 1 and seen.sum(1).min() >= 1 and asked.sum(1).min() >= 1
    if how == "pad":
        assert (seen + asked).min() == 1, "every token is one or the other"


def test_blocks_last_for_their_duration_and_reach_every_border() -> None:
    through = hits(complementary(Blocks(area=(0.15, 0.15)), CLIP, 64, "pad", seeded())[1], CLIP).view(64, *CLIP)
    assert torch.equal(through, through[:, :1].expand_as(through)), "a tube is the same at all times"
    assert (through.sum((0, 1)) > 0).all()
    brief = complementary(Blocks(count=1, area=(0.3, 0.3), duration=(0.4, 0.4)), CLIP, 64, "head", seeded())[1]
    slots = (hits(brief, CLIP).view(64, *CLIP).sum((2, 3)) > 0).sum(1)
    assert (slots == 1).all() and (hits(brief, CLIP).view(64, *CLIP).sum((0, 2, 3)) > 0).all()


def test_targets_are_rectangles_and_the_context_is_apart_from_them() -> None:
    grid, masks = (1, 8, 8), MultiBlock(least_context=5)
    context, targets = masks.sample(grid, 16, seeded(2))
    assert len(targets) == 4
    for target in targets:
        places = hits(target, grid).view(16, 8, 8)
        assert torch.equal(places, places.amax(1, keepdim=True) * places.amax(2, keepdim=True))
        assert not (places * hits(context, grid).view(16, 8, 8)).any()


def test_a_context_that_does_not_fit_may_overlap_the_last_targets() -> None:
    grid, crowded = (
        (1, 6, 6),
        MultiBlock(targets=Blocks(count=2, area=(0.45, 0.45), aspect=(1.0, 1.0)), least_context=8),
    )
    context, targets = crowded.sample(grid, 64, seeded())
    assert context.index.shape[1] >= 8
    first, last = (float((hits(each, grid) * hits(context, grid)).sum()) for each in targets)
    assert first == 0 < last
    with pytest.raises(ValueError, match="least_context=10; give larger images"):
        MultiBlock().sample((1, 3, 3), 2, seeded())


def test_random_shares() -> None:
    visible, hidden = random_share((0.6, 0.6), (1, 5, 8), 7, seeded())
    assert hidden.index.shape == (7, 24) and visible.index.shape == (7, 16)
    assert torch.equal(hits(visible, (1, 5, 8)) + hits(hidden, (1, 5, 8)), torch.ones(7, 40))
    assert (hidden.index.diff(dim=1) > 0).all() and not torch.equal(hidden.index[0], hidden.index[1])
    sizes = {random_share((0.4, 0.6), (1, 5, 8), 2, seeded(seed))[1].index.shape[1] for seed in range(20)}
    assert min(sizes) >= 16 and max(sizes) <= 24 and len(sizes) > 3


@pytest.mark.parametrize("how", ["head", "random", "pad"])
def test_equalised_keeps_chosen_tokens_in_order(how: Equalise) -> None:
    chosen = torch.rand(20, 30, generator=seeded()) < torch.linspace(0.3, 0.9, 20)[:, None]
    tokens = equalised(chosen, how, seeded(1))
    assert (tokens.index.diff(dim=1) > 0).all()
    kept = chosen.gather(1, tokens.index)
    if how == "pad":
        assert tokens.real is not None and torch.equal(tokens.real, kept)
        assert torch.equal(kept.sum(1), chosen.sum(1))
        return
    assert tokens.real is None and kept.all() and tokens.index.shape[1] == chosen.sum(1).min()
    first = torch.stack([row.nonzero()[: tokens.index.shape[1], 0] for row in chosen])
    assert torch.equal(tokens.index, first) == (how == "head")


def test_a_sampler_is_a_function_of_its_seed() -> None:
    def drawn(seed: int) -> list[Tensor]:
        draw = seeded(seed)
        context, targets = MultiBlock(least_context=5).sample((1, 8, 8), 4, draw)
        sets = [
            context,
            *targets,
            *complementary(SHORT, CLIP, 4, "random", draw),
            *random_share((0.4, 0.6), CLIP, 4, draw),
        ]
        return [each.index for each in sets]

    assert all(map(torch.equal, drawn(5), drawn(5)))
    assert not all(
        one.shape == other.shape and torch.equal(one, other) for one, other in zip(drawn(5), drawn(6), strict=True)
    )


def test_tokens_are_picked_and_joined_with_what_is_real() -> None:
    tokens = torch.arange(12.0).view(2, 3, 2)
    one = TokenSet(torch.tensor([[0, 2], [1, 2]]))
    padded = TokenSet(torch.tensor([[1], [0]]), torch.tensor([[True], [False]]))
    assert torch.equal(one.of(tokens), torch.stack([tokens[0, [0, 2]], tokens[1, [1, 2]]]))
    joined = one.before(padded)
    assert joined.index.tolist() == [[0, 2, 1], [1, 2, 0]]
    assert joined.real is not None and joined.real.tolist() == [[True, True, True], [True, True, False]]
    assert one.before(one).real is None
