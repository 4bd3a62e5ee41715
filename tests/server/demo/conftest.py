import os
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import pytest

from tests.server.demo.checkpoint import write_task_checkpoint


@pytest.fixture(scope="session")
def task_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task-checkpoints")
    write_task_checkpoint(folder)
    return folder
