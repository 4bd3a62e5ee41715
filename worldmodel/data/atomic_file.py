"""Files that are replaced as a whole."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replaced_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write the new content of `path` to. A reader sees the old content or all of the new one, also after a
    power cut; where the block raises, `path` stays as it was."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the content of `path` by `data`, as a whole."""
    with replaced_atomically(path) as file:
        file.write(data)
