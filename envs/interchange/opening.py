"""Which layout a path holds, by its content."""

from pathlib import Path

import h5py

from envs.interchange.lerobot_layout import INFO
from envs.interchange.lerobot_reader import LeRobotDataset
from envs.interchange.source import Source
from envs.interchange.stored_episodes import StoredEpisodes
from envs.interchange.world_model_hdf5 import WorldModelHdf5


def open_source(
    path: Path, *, camera: str | None = None, state: str | None = None, dt_s: float | None = None
) -> Source:
    """The data set at `path`. Raises ValueError when it is of no layout that can be read.

    Args:
        path: a LeRobotDataset v3 or an episode store (folders), or an HDF5 file of stable-worldmodel.
        camera: whose pictures; None when there is one.
        state: which column is the robot's state, "none" for none; None takes the usual one.
        dt_s: seconds of a control step, for a layout that has no word for it.
    """
    if (path / "dataset.json").is_file():
        return StoredEpisodes(path)
    if (path / INFO).is_file():
        if dt_s is not None:
            raise ValueError(f"{path} says its frame rate itself; leave --dt-s out")
        return LeRobotDataset(path, camera=camera, state=state)
    if path.is_file() and h5py.is_hdf5(path):
        return WorldModelHdf5(path, camera=camera, state=state, dt_s=dt_s)
    what = "is not there" if not path.exists() else "holds none of them"
    raise ValueError(
        f"{path} {what}; wanted a LeRobotDataset v3 (a folder with {INFO}), an HDF5 file of stable-worldmodel, or an "
        "episode store (a folder with dataset.json)"
    )
