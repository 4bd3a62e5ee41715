"""A data set that others recorded, once imported, is read as collected episodes are."""

from pathlib import Path

import numpy as np
import pytest

from envs.interchange.opening import open_source
from tests.envs.imported import import_all
from tests.lerobot_set import LeRobotSet, recorded_dot
from worldmodel.clips import StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore

LENGTHS = (31, 8, 25, 2, 40)
"""Frames of the episodes."""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras, and the state as a vector sensor."""
    folder = tmp_path_factory.mktemp("imported")
    episodes = [recorded_dot(seed, steps=length - 1, wrist=True) for seed, length in enumerate(LENGTHS)]
    recorded = LeRobotSet(episodes, codec="libx264").write(folder / "set")
    source = open_source(recorded, cameras=["wrist", "top"], vectors=["observation.state"])
    return import_all(source, folder / "store", episodes_per_shard=2)


def test_training_reads_it_and_holds_out_whole_episodes(imported: Path) -> None:
    store = EpisodeStore(imported)
    train, held_out = store.split(0.4, seed=0)
    assert len(train) == 3 and len(held_out) == 2
    assert not {episode.id for episode in train} & {episode.id for episode in held_out}
    scaled = store.actions(store.episodes[0], 0, 30)
    assert np.abs(scaled).max() <= 1, "limits are the recorded range, a little widened"
    assert store.observations(store.episodes[4], 0, 40, 1)["wrist"].shape == (40, 32, 32, 3)


def test_its_sensors_are_in_the_order_of_the_import(imported: Path) -> None:
    store = EpisodeStore(imported)
    assert [(sensor.name, sensor.kind, sensor.shape) for sensor in store.sensors] == [
        ("wrist", "camera", (32, 32, 3)),
        ("top", "camera", (32, 32, 3)),
        ("state", "vector", (2,)),
    ]
    clips = ClipSampler(store, store.episodes, clip_frames=3, timing=StepTiming(control_steps=5)).sample(4, 0, 0)
    assert clips.shape == (4, 3) and list(clips.sensors) == ["wrist", "top", "state"]
    state = recorded_dot(2, steps=24, wrist=True).state
    np.testing.assert_allclose(store.observations(store.episodes[2], 4, 3, 5)["state"], state[4:15:5], rtol=1e-6)


def test_an_import_that_was_cut_short_leaves_its_finished_shards_readable(imported: Path, tmp_path: Path) -> None:
    """As a kill does: the second shard of three is under its temporary name."""
    for path in imported.iterdir():
        name = ".shard-00001.h5.tmp" if path.name == "shard-00001.h5" else path.name
        (tmp_path / name).write_bytes(path.read_bytes())
    assert [episode.frames for episode in EpisodeStore(tmp_path).episodes] == [31, 8, 40]
