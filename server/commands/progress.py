"""Progress bars on stderr: stdout stays for results."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


class StageProgress:
    """One bar for each named stage, with the newest metrics beside it."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._bar: tqdm | None = None

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
        return tqdm(total=total, desc=stage, initial=done - 1, disable=self._quiet, file=sys.stderr)

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
