"""Records plans without delaying any: plans that cannot be written in time are left out and counted."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from server import schemas
from server.recording.mcap_file import PlanFile
from server.settings import SettingsError
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message

log = logging.getLogger("telos")

PATTERN = "telos-*.mcap"
FLUSH_AFTER_S = 1.0
RETRY_AFTER_S = 10.0
"""Seconds after which a disk that is full or gone is tried again."""


@dataclass(frozen=True, kw_only=True)
class RecordingLimits:
    """Limits of disk and memory for a recording."""

    file_bytes: int
    """Size of a file after which the next one is begun."""
    folder_bytes: int
    """Most bytes of the folder; the oldest recordings are deleted to stay below."""
    waiting_bytes: int
    """Most bytes of readings that wait to be written."""


@dataclass(frozen=True)
class _Plan:
    request: schemas.PlanRequest
    response: schemas.PlanResponse
    asked_ns: int
    answered_ns: int

    @property
    def reading_bytes(self) -> int:
        """Bytes of the readings of all sensors."""
        seen = [*self.request.context, *(goal.observation for goal in self.request.goals if goal.observation)]
        pictures = sum(len(image.encoded) for each in seen for image in each.images.values())
        return pictures + sum(array.nbytes for each in seen for array in each.arrays.values())


class Recorder:
    """Writes plans on its own thread until it is closed."""

    def __init__(
        self,
        folder: Path,
        limits: RecordingLimits,
        *,
        written: Callable[[], None] = lambda: None,
        dropped: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """`written` and `dropped` count; a drop's reason is `busy` or `disk`. Raises SettingsError for a bad folder."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"record={folder} is no folder to write to: {error.strerror}; name another") from error
        self._folder, self._limits = folder, limits
        self._written, self._dropped = written, dropped
        self._waiting: deque[_Plan] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._file: PlanFile | None = None
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="telos-recorder", daemon=True)
        self._thread.start()

    def plan(self, request: schemas.PlanRequest, response: schemas.PlanResponse) -> None:
        """Record a plan that is about to leave. Returns at once and never raises."""
        now = time.time_ns()
        plan = _Plan(request, response, now - response.timing.total_us * 1000, now)
        with self._changed:
            if self._waiting_bytes + plan.reading_bytes > self._limits.waiting_bytes:
                self._dropped("busy")
                return
            self._waiting.append(plan)
            self._waiting_bytes += plan.reading_bytes
            self._changed.notify()

    def close(self) -> None:
        """Write all waiting plans and close the file."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (plans := self._next()) is not None:
            try:
                self._write(plans)
            except Exception:
                log.exception(
                    "recording to %s failed; plans are left out of it for %.0f s", self._folder, RETRY_AFTER_S
                )
                self._retry_at = time.monotonic() + RETRY_AFTER_S
                self._finish_file()
        self._finish_file()

    def _next(self) -> list[_Plan] | None:
        """Plans that wait: an empty list after a quiet moment, None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, FLUSH_AFTER_S)
            if not self._waiting and self._closing:
                return None
            plans = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            return plans

    def _write(self, plans: list[_Plan]) -> None:
        left = len(plans)
        try:
            if time.monotonic() < self._retry_at:
                return
            for plan in plans:
                self._open_file().add(
                    to_message(pb.PlanRequest, plan.request.model_dump()),
                    to_message(pb.PlanResponse, plan.response.model_dump()),
                    plan.asked_ns,
                    plan.answered_ns,
                )
                left -= 1
                self._written()
            if not plans and self._file is not None:
                self._file.flush()
        finally:
            for _ in range(left):
                self._dropped("disk")

    def _open_file(self) -> PlanFile:
        if self._file is not None and self._file.size_bytes > self._limits.file_bytes:
            self._finish_file()
        if self._file is None:
            self._make_room()
            self._file = PlanFile(self._folder / f"telos-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.mcap")
        return self._file

    def _make_room(self) -> None:
        """Delete old recordings to make room for one more file."""
        files = sorted(self._folder.glob(PATTERN))
        total = sum(file.stat().st_size for file in files)
        for file in files:
            if total + self._limits.file_bytes <= self._limits.folder_bytes:
                return
            total -= file.stat().st_size
            file.unlink()

    def _finish_file(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except Exception:
            log.exception("the end of a recording in %s could not be written", self._folder)
