from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.live import Live, serving, settings_for
from tests.tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def live(checkpoints: Path) -> Iterator[Live]:
    with serving(settings_for(checkpoints)) as running:
        yield running
