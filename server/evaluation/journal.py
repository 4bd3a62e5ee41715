"""Keeps finished episodes on disk, so that a killed evaluation goes on where it was."""

import fcntl
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

Row = dict[str, Any]


class JournalError(ValueError):
    """The file cannot be continued; the message says why and what to do."""


class Journal:
    """JSON lines: the settings, then one episode a line. One evaluation writes it at a time, under the file's lock."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        """Read the episodes that are there; without a path nothing is kept beyond this process.

        Raises JournalError when it belongs to an evaluation with other settings, or another process writes it.
        """
        self.path = path
        self.rows: dict[str, Row] = {}
        self._settings = dict(settings)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile() if path is None else path.open("a+b")
        self._lock()
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, name: str, row: Row) -> None:
        """Write one row; it is on disk when this returns."""
        self.rows[name] = row
        self._write({"name": name, "row": row})

    def remove(self) -> None:
        """Delete the file, once a result holds all rows."""
        if self.path is not None:
            self.path.unlink()

    def _lock(self) -> None:
        """Lock the file until it is closed; the kernel closes it when this process dies."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise JournalError(
                f"another evaluation is writing {self.path}; wait for it, or give another --out"
            ) from error

    def _read(self) -> None:
        self._file.seek(0)
        complete = 0
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):  # the last one, and the machine died while it was written
                break
            try:
                entry = json.loads(line)
            except json.JSONDecodeError as error:
                self._file.close()
                raise JournalError(
                    f"line {number + 1} of {self.path} is not JSON ({error}); remove that file to begin afresh"
                ) from error
            if number == 0:
                self._check(entry["settings"])
            else:
                self.rows[entry["name"]] = entry["row"]
            complete += len(line)
        self._file.truncate(complete)
        if complete == 0:
            self._write({"settings": self._settings})

    def _check(self, theirs: Mapping[str, Any]) -> None:
        for name, ours in self._settings.items():
            if theirs.get(name) != ours:
                self._file.close()
                raise JournalError(
                    f"{self.path} holds episodes of an evaluation with {name} {theirs.get(name)!r}; now it is "
                    f"{ours!r}: give the same again to go on, another --out, or remove that file to begin afresh"
                )

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
