"""The HDF5 layout of stable-worldmodel: theirs comes in, ours goes out, and nothing changes on the way."""

import json
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from envs.interchange.opening import open_source
from envs.interchange.stored_episodes import StoredEpisodes
from envs.interchange.world_model_hdf5 import write_world_model_hdf5
from tests.envs.imported import import_all
from tests.envs.stored import SENSORS, check_store, columns, write_counting_store
from worldmodel import EpisodeStore


def theirs(path: Path, lengths: tuple[int, ...] = (6, 9), **changes: np.ndarray) -> Path:
    """A file as their collection writes it: per-step columns, scalars among them, the last action of an episode NaN."""
    count, dice = sum(lengths), np.random.default_rng(0)
    actions = dice.uniform(-1, 1, (count, 2)).astype(np.float32)
    actions[np.cumsum(lengths) - 1] = np.nan
    right = {
        "pixels": dice.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        "action": actions,
        "proprio": dice.normal(size=(count, 3)),
        "reward": dice.normal(size=count).astype(np.float32),
        "ep_len": np.asarray(lengths, np.int32),
        "ep_offset": np.asarray(np.cumsum(lengths) - lengths, np.int64),
    }
    with h5py.File(path, "w", libver="latest") as file:
        for name, values in {**right, **changes}.items():
            if values is not None:
                packed = hdf5plugin.Blosc() if name == "pixels" else {}
                file.create_dataset(name, data=values, **packed)
    return path


def test_a_file_of_theirs_becomes_a_store(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs.h5")
    out = import_all(open_source(path, vectors=["proprio"], dt_s=0.2), tmp_path / "store")
    store = columns(out)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(store["sensors/pixels"], file["pixels"][:])
        np.testing.assert_array_equal(store["sensors/proprio"], file["proprio"][:].astype(np.float32))
        np.testing.assert_array_equal(store["actions"], file["action"][:])
        np.testing.assert_array_equal(store["state"], file["proprio"][:])
        assert store["lengths"].tolist() == [6, 9]
    said = json.loads((out / "dataset.json").read_text())
    assert said["dt_s"] == 0.2 and said["action"]["names"] == ["action_0", "action_1"]
    assert said["origin"]["ranges"] == {"proprio": "recorded, widened by 5% a side"}
    check_store(out)


def test_several_cameras_and_other_columns_of_theirs(tmp_path: Path) -> None:
    """Their wrapper calls the pictures of several views `pixels.<name>`."""
    views = {f"pixels.{name}": np.full((15, 32, 32, 3), shade, np.uint8) for name, shade in (("side", 9), ("top", 5))}
    path = theirs(tmp_path / "theirs.h5", **views, pixels=None)
    assert open_source(path, dt_s=0.2).description.cameras == ["side", "top"]
    source = open_source(path, dt_s=0.2, cameras=["pixels.top", "side"], vectors=["reward"], state="none")
    out = import_all(source, tmp_path / "store")
    check_store(out)
    store = columns(out)
    assert (store["sensors/top"] == 5).all() and (store["sensors/side"] == 9).all()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(store["sensors/reward"][:, 0], file["reward"][:])
    said = json.loads((out / "dataset.json").read_text())
    assert [each["name"] for each in said["sensors"]] == ["top", "side", "reward"]


def test_a_store_knows_the_aspect_ratio_of_squeezed_pictures(tmp_path: Path) -> None:
    """Through an export and a second import, too, whose pictures are square by then."""
    path = theirs(tmp_path / "theirs.h5", pixels=np.full((15, 48, 64, 3), 7, np.uint8))
    out = import_all(open_source(path, dt_s=0.2), tmp_path / "store")
    write_world_model_hdf5(StoredEpisodes(out), tmp_path / "again.h5")
    again = import_all(open_source(tmp_path / "again.h5"), tmp_path / "back")
    for folder in (out, again):
        camera = EpisodeStore(folder).sensors[0]
        assert camera.shape == (32, 32, 3) and camera.aspect_ratio == 4 / 3
        assert camera.aspect_change(640, 480) == 0 and camera.aspect_change(64, 64) > 0.3


def test_out_and_back_is_exact(tmp_path: Path) -> None:
    collected = write_counting_store(tmp_path / "store", [13] * 7)
    write_world_model_hdf5(StoredEpisodes(collected), tmp_path / "dots.h5")
    kept = {"fit": lambda frame: frame, "image_size": 16}
    back = import_all(open_source(tmp_path / "dots.h5"), tmp_path / "back", episodes_per_shard=3, **kept)
    before, after = columns(collected), columns(back)
    for name in before.keys() - {"policy", "task"}:
        np.testing.assert_array_equal(after[name], before[name])
        assert after[name].dtype == before[name].dtype
    words = ("action", "state", "features", "dt_s", "env_id", "sensors", "policy")
    said, says = (json.loads((store / "dataset.json").read_text()) for store in (collected, back))
    assert {word: said[word] for word in words} == {word: says[word] for word in words}


def test_an_export_keeps_the_order_of_the_cameras(tmp_path: Path) -> None:
    """A description says which camera is the main one, and the names of `pixels` and `proprio`."""
    collected = write_counting_store(tmp_path / "store", [4])
    write_world_model_hdf5(StoredEpisodes(collected), tmp_path / "dots.h5")
    source = open_source(tmp_path / "dots.h5")
    assert source.description.cameras == ["front", "wrist"]
    assert [each.sensor() for each in source.description.vectors] == [SENSORS[2]]
    assert open_source(tmp_path / "dots.h5", cameras=["wrist"], vectors=["none"]).origin["cameras"] == ["pixels.wrist"]


def test_an_export_is_laid_out_as_they_read_it(tmp_path: Path) -> None:
    collected = write_counting_store(tmp_path / "store", [13] * 3)
    write_world_model_hdf5(StoredEpisodes(collected), tmp_path / "dots.h5")
    with h5py.File(tmp_path / "dots.h5", "r", swmr=False) as file:
        lengths, offsets = file["ep_len"][:], file["ep_offset"][:]
        assert lengths.tolist() == [14] * 3 and offsets.tolist() == [0, 14, 28]
        per_step = set(file) - {"ep_len", "ep_offset"}
        assert per_step == {"pixels", "pixels.wrist", "proprio", "action", "state", "features", "step_idx"}
        assert all(len(file[name]) == 42 for name in per_step)
        assert np.flatnonzero(np.isnan(file["action"][:]).any(1)).tolist() == [13, 27, 41]
        assert file["pixels"].dtype == np.uint8 and file["action"].dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"action": None}, "has no column 'action'"),
        ({"pixels": None}, "has no camera"),
        ({"pixels.side": np.zeros((14, 32, 32, 3), np.uint8)}, "wanted RGB uint8"),
        ({"ep_len": None}, "has no column 'ep_len'"),
        ({"pixels": np.zeros((15, 3, 32, 32), np.uint8)}, "wanted RGB uint8"),
        ({"pixels": np.zeros((15, 32, 32, 3), np.float32)}, "wanted RGB uint8"),
        ({"action": np.zeros((14, 2), np.float32)}, "one row for each of the 15 frames"),
        ({"action": np.full((15, 2), np.nan, np.float32)}, "action column 0 of frame 0 is not a finite number"),
        ({"action": np.full((15, 2), 1e300)}, "is not a finite number"),
        ({"action": np.zeros((15, 2), np.float32)}, "'action_0' never changes"),
        ({"action": np.zeros((15, 0), np.float32)}, "no action column"),
        ({"action": np.array([b"x"] * 15)}, "wanted numbers"),
        ({"proprio": np.full((15, 3), np.inf)}, "state column 0 of frame 0"),
        ({"proprio": np.full((15, 3), 1e300)}, "proprio column 0 of frame 0"),
        ({"proprio": np.zeros((14, 3))}, "one row for each of the 15 frames"),
        ({"ep_len": np.array([6, 10])}, "lies in rows 6 to 16 of 15"),
        ({"ep_len": np.array([6, -9])}, "lies in rows 6 to -3"),
        ({"ep_len": np.array([6.0, 9.0])}, "whole numbers"),
        ({"ep_len": np.array([], np.int32), "ep_offset": np.array([], np.int64)}, "whole numbers"),
        ({"ep_len": np.array([6])}, "one for each episode"),
        ({"ep_offset": np.array([0, 5])}, "after those of the episode before"),
        ({"ep_offset": np.array([0, 2**62])}, "lies in rows"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value.replace(" ", "-"),
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, changes: dict[str, np.ndarray], says: str) -> None:
    path = theirs(tmp_path / "theirs.h5", **changes)
    with pytest.raises(ValueError, match=says):
        import_all(open_source(path, vectors=["proprio"], dt_s=0.1), tmp_path / "store")
    assert not (tmp_path / "store").exists(), "what is refused before pictures are read leaves nothing"


def test_the_time_of_a_step_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--dt-s"):
        open_source(theirs(tmp_path / "theirs.h5"))


@pytest.mark.parametrize("way", ["external link", "soft link", "external storage", "virtual"])
def test_a_file_does_not_reach_out_of_itself(tmp_path: Path, way: str) -> None:
    """HDF5 can show any file of the machine as a column."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(15 * 32 * 32 * 3))
    other = theirs(tmp_path / "other.h5")
    path = theirs(tmp_path / "theirs.h5", pixels=None)
    with h5py.File(path, "a") as file:
        if way == "external link":
            file["pixels"] = h5py.ExternalLink(str(other), "pixels")
        elif way == "soft link":
            file["pixels"] = h5py.SoftLink("/action")
        elif way == "external storage":
            file.create_dataset("pixels", (15, 32, 32, 3), np.uint8, external=str(secret))
        else:
            layout = h5py.VirtualLayout((15, 32, 32, 3), np.uint8)
            layout[:] = h5py.VirtualSource(str(other), "pixels", (15, 32, 32, 3))
            file.create_virtual_dataset("pixels", layout)
    with pytest.raises(ValueError, match="in this file"):
        open_source(path, dt_s=0.1)


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs.h5")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="not a readable HDF5 file"):
        open_source(path, dt_s=0.1)


def test_a_description_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    path = theirs(tmp_path / "theirs.h5")
    for said in ("[]", "{", '{"camera": "top"}'):
        with h5py.File(path, "a") as file:
            file.attrs["telos"] = said
        with pytest.raises(ValueError, match="attribute 'telos'"):
            open_source(path, dt_s=0.1)
