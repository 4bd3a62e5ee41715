"""Opens a data set of any layout; the content shows which one it is."""

from collections.abc import Sequence
from pathlib import Path

import h5py

from envs.interchange.lerobot_layout import INFO
from envs.interchange.lerobot_reader import LeRobotDataset
from envs.interchange.source import Source
from envs.interchange.stored_episodes import StoredEpisodes
from envs.interchange.world_model_hdf5 import WorldModelHdf5


def open_source(
    path: Path,
    *,
    cameras: Sequence[str] | None = None,
    vectors: Sequence[str] | None = None,
    state: str | None = None,
    dt_s: float | None = None,
) -> Source:
    """The data set at `path`. Raises ValueError when it is of no layout that can be read.

    Args:
        path: a LeRobotDataset v3 or an episode store (folders), or an HDF5 file of stable-worldmodel.
        cameras: names of the cameras, the main one first; None is every camera.
        vectors: columns that are vector sensors, ["none"] for none; None takes those that an export of
            Telos describes.
        state: which column is the state, "none" for none; None takes the usual one.
        dt_s: seconds of a control step, for a layout that does not say.
    """
    if (path / "dataset.json").is_file():
        if (cameras, vectors, state, dt_s) != (None, None, None, None):
            raise ValueError(
                f"{path} is an episode store, which is read whole; leave out --cameras, --vectors, --state and --dt-s"
            )
        return StoredEpisodes(path)
    if (path / INFO).is_file():
        if dt_s is not None:
            raise ValueError(f"{path} gives its own frame rate; leave --dt-s out")
        return LeRobotDataset(path, cameras=cameras, vectors=vectors, state=state)
    if path.is_file() and h5py.is_hdf5(path):
        return WorldModelHdf5(path, cameras=cameras, vectors=vectors, state=state, dt_s=dt_s)
    problem = "does not exist" if not path.exists() else "is no data set that can be read"
    raise ValueError(
        f"{path} {problem}; wanted a LeRobotDataset v3 (a folder with {INFO}), an HDF5 file of stable-worldmodel, or "
        "an episode store (a folder with dataset.json)"
    )
