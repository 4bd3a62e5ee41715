"""Files that are replaced as a whole."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """A reader sees the old file or the new one, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
