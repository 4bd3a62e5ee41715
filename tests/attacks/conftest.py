"""After every attack the server must answer the next robot as if nothing had been."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.server.live import Live, actions_of, plan_payload, serving, settings_for
from tests.tiny import write_tiny_checkpoint


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("checkpoints")
    write_tiny_checkpoint(folder)
    with serving(settings_for(folder, receive_timeout_s=1.0)) as running:
        yield running


@pytest.fixture(scope="session")
def good_plan(live: Live) -> np.ndarray:
    return actions_of(live.json("plan", plan_payload()).body)


@pytest.fixture(autouse=True)
def the_next_robot_is_served(live: Live, good_plan: np.ndarray) -> Iterator[None]:
    yield
    for answer in (live.json("plan", plan_payload()), live.grpc("plan", plan_payload())):
        np.testing.assert_array_equal(actions_of(answer.body), good_plan)
