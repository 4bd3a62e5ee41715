"""Progress bars on stderr: stdout stays for results."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

WORTH_NAMING = 0.1
"""Share of the whole duration from which a stage is named in the estimate."""


class StageProgress:
    """One bar for each named stage, with the newest metrics beside it."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._bar: tqdm | None = None
        self._expected: Mapping[str, float] = {}
        self._began = 0.0

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Say how long all stages will take, given the expected seconds of each in order; bars then say what is left
        after theirs."""
        self._expected = seconds
        self._began = time.monotonic()
        if not self._quiet:
            total = sum(seconds.values())
            named = [f"{name} {duration(s)}" for name, s in seconds.items() if s >= WORTH_NAMING * total]
            sys.stderr.write(
                f"about {duration(total)} in all, measured on a few steps of each stage ({', '.join(named)})\n"
            )

    def __call__(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        """`done` of `total` steps of `stage` are done; a new stage begins a new bar."""
        if stage != self._stage or self._bar is None:
            self._bar = self._begin(stage, done, total)
        if metrics:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in metrics.items()}, refresh=False)
        self._bar.update(done - self._bar.n)

    def _begin(self, stage: str, done: int, total: int) -> "tqdm":
        from tqdm import tqdm  # the client alone has no tqdm, and `telos --help` works there too

        self.close()
        self._stage = stage
        return tqdm(total=total, desc=self._described(stage), initial=done - 1, disable=self._quiet, file=sys.stderr)

    def _described(self, stage: str) -> str:
        """The stage, and the time that is expected after it: as first estimated, corrected by what the stages before
        took."""
        stages = list(self._expected)
        if stage not in stages:
            return stage
        index = stages.index(stage)
        before = sum(self._expected[name] for name in stages[:index])
        pace = (time.monotonic() - self._began) / before if before else 1.0
        left = pace * sum(self._expected[name] for name in stages[index + 1 :])
        return f"{stage} (later stages: about {duration(left)})" if left else stage

    def close(self) -> None:
        """Leave the last bar as it is."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> "StageProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def duration(seconds: float) -> str:
    """A rough duration in the unit that suits it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
