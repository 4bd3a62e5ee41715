"""Number of CPU threads for a batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

ROWS_PER_THREAD = 64
"""Rows below which another thread costs more in waiting than it saves: an iteration is hundreds of matrix products of
that many rows. Measured on two cores with the `small` recipe, which has one token and so one row for each candidate: 48
candidates gain 8 % from a second thread that is otherwise idle, and take twice as long when that thread has other work
or went to sleep; 128 candidates gain 65 %."""


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """Use one of torch's threads for every ROWS_PER_THREAD `rows` (candidates x tokens), and all of them afterwards.

    Costs less than a microsecond.
    """
    given = torch.get_num_threads()
    torch.set_num_threads(min(given, max(1, rows // ROWS_PER_THREAD)))
    try:
        yield
    finally:
        torch.set_num_threads(given)
