"""LeRobotDataset v3: a set of others comes in, a store goes out and comes back, and a kill loses a shard at most."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from envs.collect import collect
from envs.interchange.importing import import_episodes
from envs.interchange.lerobot_reader import LeRobotDataset
from envs.interchange.lerobot_writer import write_lerobot
from envs.interchange.opening import open_source
from envs.interchange.source import Frame, Source
from envs.interchange.stored_episodes import StoredEpisodes
from tests.episodes import counting_episode, write_store
from tests.lerobot_set import CAMERA, LeRobotSet, Recorded, recorded_dot
from worldmodel.data.episodes import EpisodeStore

LENGTHS = (31, 8, 25, 1, 40)
LEAST_PSNR_DB = 35.0
"""Of any exported picture of TwoRoom at 64 px; 37 was measured."""


def fit(frame: Frame) -> Frame:
    return np.asarray(Image.fromarray(frame).resize((32, 32), Image.Resampling.BOX))


def import_all(source: Source, out: Path, **changes: object) -> Path:
    arguments = {"description": source.description, "limits": None, "fit": fit, "image_size": 32, **changes}
    import_episodes(source, out, **arguments)
    return out


def psnr_db(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of each frame."""
    error = ((one.astype(float) - other.astype(float)) ** 2).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-9))


def columns(store: Path) -> dict[str, np.ndarray]:
    """Every dataset of a store, shards one after another."""
    parts = []
    for path in sorted(store.glob("shard-*.h5")):
        with h5py.File(path) as shard:
            parts.append({name: dataset[:] for name, dataset in shard.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture(scope="module")
def episodes() -> list[Recorded]:
    return [recorded_dot(seed, steps=length - 1) for seed, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module", params=["libsvtav1", "libx264", "mpeg4", "image"])
def dataset(request: pytest.FixtureRequest, episodes: list[Recorded], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five episodes in three files, as video of some codecs, and as pictures inside the data."""
    as_images = {"video": False} if request.param == "image" else {"codec": request.param}
    return LeRobotSet(episodes, per_file=2, **as_images).write(tmp_path_factory.mktemp("recorded"))


def test_a_recorded_set_becomes_a_store(dataset: Path, episodes: list[Recorded], tmp_path: Path) -> None:
    store = columns(import_all(open_source(dataset), tmp_path / "store"))
    assert store["lengths"].tolist() == list(LENGTHS) and store["episode_id"].tolist() == [0, 1, 2, 3, 4]
    starts = np.cumsum(LENGTHS) - LENGTHS
    for episode, start, length in zip(episodes, starts, LENGTHS, strict=True):
        span = slice(start, start + length)
        np.testing.assert_array_equal(store["actions"][span][:-1], episode.actions[:-1])
        assert np.isnan(store["actions"][span][-1]).all(), "the last frame leads nowhere"
        np.testing.assert_array_equal(store["state"][span], episode.state.astype(np.float32))
        np.testing.assert_array_equal(store["features"][span], episode.state.astype(np.float32))
        wanted = np.stack([fit(frame) for frame in episode.frames])
        assert psnr_db(store["frames"][span], wanted).min() > 30, "boundaries are exact: a wrong frame is below 20 dB"
    assert {task.decode() for task in store["task"]} == {"push the dot"}


def test_the_store_says_what_its_numbers_mean(dataset: Path, episodes: list[Recorded], tmp_path: Path) -> None:
    out = import_all(open_source(dataset), tmp_path / "store")
    said = json.loads((out / "dataset.json").read_text())
    assert said["dt_s"] == 0.1 and said["env_id"] == ""
    assert said["image"] == {"height_px": 32, "width_px": 32, "camera": "top"}
    assert said["action"]["names"] == ["x", "y"] and said["action"]["units"] == ["unstated"] * 2
    actions = np.concatenate([episode.actions[:-1] for episode in episodes]).astype(float)
    margin = 0.05 * (actions.max(0) - actions.min(0))
    np.testing.assert_allclose(said["action"]["low"], actions.min(0) - margin)
    np.testing.assert_allclose(said["action"]["high"], actions.max(0) + margin)
    assert said["origin"]["limits"] == "recorded, widened by 5% a side" and len(said["origin"]["meta_sha256"]) == 64
    assert said["origin"]["camera"] == CAMERA


def test_training_reads_it_and_holds_out_whole_episodes(dataset: Path, tmp_path: Path) -> None:
    store = EpisodeStore(import_all(open_source(dataset), tmp_path / "store", episodes_per_shard=2))
    train, held_out = store.split(0.4, seed=0)
    assert len(train) == 3 and len(held_out) == 2
    assert not {episode.id for episode in train} & {episode.id for episode in held_out}
    scaled = store.actions(store.episodes[0], 0, 30)
    assert np.abs(scaled).max() <= 1 and store.frames(store.episodes[4], 0, 40, 1).shape == (40, 32, 32, 3)


def test_without_a_state_there_is_nothing_to_probe(episodes: list[Recorded], tmp_path: Path) -> None:
    dataset = LeRobotSet(episodes[:2]).write(tmp_path / "set")
    out = import_all(open_source(dataset, state="none"), tmp_path / "store")
    store = columns(out)
    assert store["state"].shape == (39, 0) and store["features"].shape == (39, 0)
    assert EpisodeStore(out).features(EpisodeStore(out).episodes[0], 0, 3, 1).shape == (3, 0)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven episodes of 24 frames."""
    out = tmp_path_factory.mktemp("collected") / "store"
    return collect("telos/TwoRoom-v0", out, episodes=7, steps=23, seed=2, episodes_per_shard=4, progress=False)


@pytest.fixture(scope="module")
def exported(collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven episodes, three to a file."""
    out = tmp_path_factory.mktemp("exported") / "set"
    write_lerobot(StoredEpisodes(collected), out, episodes_per_file=3)
    return out


def test_out_and_back(collected: Path, exported: Path, tmp_path: Path) -> None:
    kept = {"fit": lambda frame: frame, "image_size": 64}
    back = import_all(open_source(exported), tmp_path / "back", episodes_per_shard=3, **kept)
    before, after = columns(collected), columns(back)
    np.testing.assert_array_equal(after["actions"], before["actions"])
    np.testing.assert_array_equal(after["state"], before["state"].astype(np.float32))
    assert after["lengths"].tolist() == before["lengths"].tolist()
    assert psnr_db(after["frames"], before["frames"]).min() > LEAST_PSNR_DB
    words = ("action", "state", "dt_s", "env_id")
    said, says = (json.loads((store / "dataset.json").read_text()) for store in (collected, back))
    assert {word: said[word] for word in words} == {word: says[word] for word in words}


def test_frames_stay_in_their_places(tmp_path: Path) -> None:
    """Each frame says its number and its episode's: none is early, late, or of a neighbour."""
    store = write_store(tmp_path / "store", [counting_episode(40 * number, steps=9 + number) for number in range(5)])
    write_lerobot(StoredEpisodes(store), tmp_path / "set", episodes_per_file=2)
    source = open_source(tmp_path / "set")
    for number in (0, 1, 3, 4):
        frames = np.stack(list(source.frames(number))).astype(float).mean(axis=(1, 2))
        assert len(frames) == 10 + number
        assert np.abs(frames[:, 0] - 40 * number).max() < 15
        assert np.argsort(frames[:, 1]).tolist() == list(range(10 + number))


def test_an_export_is_laid_out_as_lerobot_wants(collected: Path, exported: Path) -> None:
    """From the format's description, by other means than our reader."""
    info = json.loads((exported / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == 10 and info["total_frames"] == 7 * 24
    assert (
        info["splits"] == {"train": "0:7"}
        and info["features"]["action"]["names"] == StoredEpisodes(collected).description.action_names
    )
    entries = pq.read_table(exported / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [entry["data/file_index"] for entry in entries] == [0, 0, 0, 1, 1, 1, 2]
    assert [entry["dataset_from_index"] for entry in entries] == [24 * number for number in range(7)]
    assert [entry[f"videos/{CAMERA}/from_timestamp"] for entry in entries] == [0, 2.4, 4.8, 0, 2.4, 4.8, 0]
    for entry in entries:
        name = f"chunk-{entry['data/chunk_index']:03d}/file-{entry['data/file_index']:03d}"
        rows = pq.read_table(exported / f"data/{name}.parquet")
        mine = rows.filter(pa.compute.equal(rows["episode_index"], entry["episode_index"]))
        assert mine["frame_index"].to_pylist() == list(range(24))
        assert mine["index"].to_pylist() == list(range(entry["dataset_from_index"], entry["dataset_to_index"]))
        assert np.isfinite(np.stack(mine["action"].to_numpy(zero_copy_only=False))).all()
        assert (exported / f"videos/{CAMERA}/{name}.mp4").is_file()
    tasks = pq.read_table(exported / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.to_pylist() == [{"task_index": 0, "task": "telos/TwoRoom-v0"}]


def test_statistics_are_those_of_the_numbers(collected: Path, exported: Path) -> None:
    statistics = json.loads((exported / "meta/stats.json").read_text())
    source = StoredEpisodes(collected)
    actions = np.concatenate([np.concatenate([r.actions, r.actions[-1:]]) for r in source.rows()]).astype(float)
    pixels = np.concatenate([np.stack(list(source.frames(e))) for e in range(7)]).reshape(-1, 3) / 255
    for key, values, shape in (("action", actions, (2,)), (CAMERA, pixels, (3, 1, 1))):
        for name, wanted in (("mean", values.mean(0)), ("std", values.std(0)), ("min", values.min(0))):
            np.testing.assert_allclose(statistics[key][name], wanted.reshape(shape), rtol=1e-5, atol=1e-7)
        assert statistics[key]["count"] == [len(values)]


@pytest.mark.parametrize("killed_at", [1, 3])
def test_a_killed_import_goes_on(episodes: list[Recorded], tmp_path: Path, killed_at: int) -> None:
    dataset = LeRobotSet(episodes).write(tmp_path / "set")
    whole = columns(import_all(open_source(dataset), tmp_path / "whole", episodes_per_shard=2))
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.envs.test_lerobot import import_all, open_source\n"
        "done = []\n"
        "def report(): done.append(1); len(done) == int(sys.argv[3]) and os.kill(os.getpid(), signal.SIGKILL)\n"
        "import_all(open_source(Path(sys.argv[1])), Path(sys.argv[2]), episodes_per_shard=2, report=report)\n"
    )
    out = tmp_path / "killed"
    command = [sys.executable, "-c", script, str(dataset), str(out), str(killed_at)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], env={**os.environ}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(out.glob("shard-*.h5"))) == killed_at // 2, "finished shards are there, unfinished ones are not"
    if killed_at > 1:
        assert len(EpisodeStore(out).episodes) == 2
    import_all(open_source(dataset), out, episodes_per_shard=2)
    again = columns(out)
    assert not list(out.glob("*.tmp"))
    for name, values in whole.items():
        np.testing.assert_array_equal(again[name], values)


def test_an_import_does_not_go_on_with_another_set(episodes: list[Recorded], tmp_path: Path) -> None:
    one, other = (LeRobotSet(part).write(tmp_path / f"{len(part)}") for part in (episodes[:2], episodes[:3]))
    import_all(open_source(one), tmp_path / "store")
    with pytest.raises(ValueError, match="holds another dataset"):
        import_all(open_source(other), tmp_path / "store")


def test_a_killed_export_leaves_nothing(collected: Path, tmp_path: Path) -> None:
    class Broken(StoredEpisodes):
        def frames(self, episode: int):
            if episode == 4:
                raise KeyboardInterrupt
            return super().frames(episode)

    with pytest.raises(KeyboardInterrupt):
        write_lerobot(Broken(collected), tmp_path / "out", episodes_per_file=2)
    assert list(tmp_path.iterdir()) == []


def test_episodes_may_be_left_out(dataset: Path, episodes: list[Recorded]) -> None:
    """A preview reads the first and the last; what is between is passed over."""
    source = LeRobotDataset(dataset)
    for number in (0, 4):
        frames = np.stack(list(source.frames(number)))
        assert psnr_db(frames, episodes[number].frames).min() > 30
