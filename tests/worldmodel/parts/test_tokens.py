"""Tokens of a frame: how heads read them, and how a vector becomes one."""

import pytest
import torch
from torch import Generator, Tensor

from worldmodel.parts.tokens import MOST_CONCATENATED, pool, pooled_width, pooling_of, vector_token


def latents(*leading: int) -> Tensor:
    return torch.randn(*leading, 3, 4, generator=Generator().manual_seed(0))


@pytest.mark.parametrize("leading", [(2,), (2, 5, 7)])
def test_few_tokens_are_read_side_by_side(leading: tuple[int, ...]) -> None:
    given = latents(*leading)
    read = pool(given, "concatenate")
    assert read.shape == (*leading, pooled_width("concatenate", 3, 4)) == (*leading, 12)
    assert torch.equal(read[..., 4:8], given[..., 1, :])


@pytest.mark.parametrize("leading", [(2,), (2, 5, 7)])
def test_many_tokens_are_read_as_their_mean(leading: tuple[int, ...]) -> None:
    given = latents(*leading)
    read = pool(given, "mean")
    assert read.shape == (*leading, pooled_width("mean", 3, 4)) == (*leading, 4)
    torch.testing.assert_close(read, (given[..., 0, :] + given[..., 1, :] + given[..., 2, :]) / 3)


@pytest.mark.parametrize(
    ("tokens", "width", "pooling"),
    [
        (1, 192, "concatenate"),
        (3, 64, "concatenate"),
        (16, MOST_CONCATENATED // 16, "concatenate"),
        (17, MOST_CONCATENATED // 16, "mean"),
        (256, 1408, "mean"),
        (1, 2 * MOST_CONCATENATED, "concatenate"),
    ],
)
def test_the_size_of_a_frame_decides_how_heads_read_it(tokens: int, width: int, pooling: str) -> None:
    """One token is read whole, however wide it is: its mean would be itself."""
    assert pooling_of(tokens, width) == pooling


@pytest.mark.parametrize("entries", [1, 7, 16])
def test_a_vector_weighs_as_much_as_a_token_of_such_entries(entries: int) -> None:
    """Squared distances between tokens are those between readings, times width over entries."""
    readings = torch.randn(2, entries, generator=Generator().manual_seed(0))
    token = vector_token(readings, 16)
    assert token.shape == (2, 16) and not token[:, entries:].any()
    apart = (readings[0] - readings[1]).square().sum()
    torch.testing.assert_close((token[0] - token[1]).square().sum(), apart * 16 / entries)


def test_a_vector_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a vector of 17 entries does not fit into a token of 16; widen the latents"):
        vector_token(torch.zeros(1, 17), 16)
