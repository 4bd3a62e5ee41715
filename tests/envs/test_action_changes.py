"""Positions as actions, read as changes: what a robot that adds them up executes is what was recorded."""

from pathlib import Path

import numpy as np
import pytest

from envs.interchange.action_changes import ActionChanges
from envs.interchange.lerobot_reader import LeRobotDataset
from envs.interchange.source import Source
from envs.interchange.stored_episodes import StoredEpisodes
from tests.envs.imported import import_all
from tests.lerobot_set import LeRobotSet, recorded_dot

CAMERA = "top"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    episodes = [recorded_dot(seed, steps=9 + seed) for seed in range(3)]
    return LeRobotSet(episodes, video=False).write(tmp_path_factory.mktemp("set"))


@pytest.fixture
def recorded(folder: Path) -> Source:
    return LeRobotDataset(folder, vectors=["observation.state"])


def test_changes_added_to_the_first_position_are_the_recorded_positions(recorded: Source) -> None:
    for before, after in zip(recorded.rows(), ActionChanges(recorded, ["all"]).rows(), strict=True):
        assert after.actions.dtype == np.float32
        np.testing.assert_allclose(before.actions[0] + after.actions.cumsum(0), before.actions[1:], atol=1e-5)


def test_only_the_named_actions_change(recorded: Source) -> None:
    changes = ActionChanges(recorded, ["y"])
    assert changes.description.action_names == ["x", "delta_y"]
    for before, after in zip(recorded.rows(), changes.rows(), strict=True):
        assert np.array_equal(after.actions[:, 0], before.actions[1:, 0])
        np.testing.assert_allclose(after.actions[:, 1], np.diff(before.actions[:, 1]), atol=1e-6)


def test_frames_and_readings_still_belong_to_the_action_after_them(folder: Path, tmp_path: Path) -> None:
    """The store of changes is the plain one without the first frame of each episode."""
    plain, changed = (
        StoredEpisodes(import_all(source, tmp_path / name))
        for name, source in (
            ("plain", LeRobotDataset(folder, vectors=["observation.state"])),
            ("changed", ActionChanges(LeRobotDataset(folder, vectors=["observation.state"]), ["all"])),
        )
    )
    assert changed.lengths == [length - 1 for length in plain.lengths] and changed.tasks == plain.tasks
    for episode, (before, after) in enumerate(zip(plain.rows(), changed.rows(), strict=True)):
        for name in ("state", "features"):
            assert np.array_equal(getattr(after, name), getattr(before, name)[1:])
        assert np.array_equal(after.vectors["state"], before.vectors["state"][1:])
        pictures = [list(source.frames(episode, CAMERA)) for source in (plain, changed)]
        assert np.array_equal(pictures[1], pictures[0][1:])


def test_limits_are_those_of_the_changes_and_the_store_says_what_was_done(recorded: Source, tmp_path: Path) -> None:
    changes = ActionChanges(recorded, ["all"])
    every = np.concatenate([rows.actions for rows in changes.rows()])
    store = StoredEpisodes(import_all(changes, tmp_path / "store"))
    assert store.description.action_low == every.min(0).tolist()
    assert store.description.action_high == every.max(0).tolist()
    assert '"deltas": [\n      true,\n      true\n    ]' in (tmp_path / "store" / "dataset.json").read_text()


def test_what_has_no_change_is_refused(recorded: Source, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no action 'z'; give some of \['x', 'y'\], or all: --deltas"):
        ActionChanges(recorded, ["z"])
    single = LeRobotSet([recorded_dot(0, steps=5), recorded_dot(1, steps=0)], video=False).write(tmp_path / "single")
    with pytest.raises(ValueError, match="episode 1 has one frame"):
        ActionChanges(LeRobotDataset(single), ["all"])
