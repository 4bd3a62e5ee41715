"""Clips are cut from one episode, actions stay with their frames, and what is held out stays out."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tests.episodes import POSITION, camera, counting_episode, describe, write_store
from worldmodel.clips import Clips, StepTiming
from worldmodel.data.episodes import ClipSampler, EpisodeStore
from worldmodel.errors import DatasetError
from worldmodel.observation import SensorSpec

LENGTHS = [30, 16, 40, 9, 22]
"""Control steps of the counting episodes; with clips of 4 frames 5 steps apart, the fourth is too short."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    episodes = [counting_episode(number, steps) for number, steps in enumerate(LENGTHS)]
    return write_store(tmp_path_factory.mktemp("counting") / "store", episodes, per_shard=2)


@pytest.fixture
def store(folder: Path) -> EpisodeStore:
    return EpisodeStore(folder)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras and a vector: the state of the episode."""
    episodes = [counting_episode(number) for number in range(3)]
    return write_store(tmp_path_factory.mktemp("several") / "store", episodes, twins=True, several_sensors=True)


def sampler(store: EpisodeStore, **changes: Any) -> ClipSampler:
    timing = StepTiming(control_steps=5)
    return ClipSampler(store, **{"episodes": store.episodes, "clip_frames": 4, "timing": timing, **changes})


def top(clips: Clips) -> torch.Tensor:
    """Frames of the only camera."""
    return clips.sensors["top"]


def test_episodes_are_found_over_all_shards(store: EpisodeStore) -> None:
    assert [(episode.id, episode.frames) for episode in store.episodes] == [
        (number, steps + 1) for number, steps in enumerate(LENGTHS)
    ]
    assert store.sensors == (SensorSpec(name="top", kind="camera", shape=(16, 16, 3)),)


def test_clips_never_cross_an_episodes_end_and_actions_stay_with_their_frames(store: EpisodeStore) -> None:
    """Frames say their episode and index, actions theirs."""
    batch = sampler(store).sample(500, seed=0, step=0)
    episode, index = top(batch)[:, :, 3, 4, 0].long(), top(batch)[:, :, 3, 4, 1].long()
    assert (episode == episode[:, :1]).all(), "a clip of two episodes"
    assert torch.equal(index, index[:, :1] + 5 * torch.arange(4)), "frames are one model step apart"
    blocks = batch.actions.unflatten(-1, (5, 2))  # [b t-1 control_steps x]
    steps = index[:, :1, None] + torch.arange(15).view(3, 5)
    torch.testing.assert_close(blocks[..., 0], steps / 100, rtol=0, atol=1e-6)
    torch.testing.assert_close(blocks[..., 1], episode[:, :1, None].expand(-1, 3, 5) / 100, rtol=0, atol=1e-6)


def test_every_clip_can_come_and_no_other(store: EpisodeStore) -> None:
    cut = sampler(store)
    starts = {(number, start) for number, steps in enumerate(LENGTHS) for start in range(steps + 1 - 15)}
    assert len(cut) == len(starts)
    batch = cut.sample(3000, seed=0, step=0)
    assert {tuple(place) for place in top(batch)[:, 0, 0, 0, :2].tolist()} == starts


def test_clips_are_drawn_uniformly(store: EpisodeStore) -> None:
    """A long episode is drawn more often than a short one: as often as it has clips."""
    batch = sampler(store).sample(4000, seed=0, step=0)
    counts = np.bincount(top(batch)[:, 0, 0, 0, 0], minlength=5) / 4000
    wanted = np.clip(np.asarray(LENGTHS) - 14, 0, None)
    assert np.abs(counts - wanted / wanted.sum()).max() < 0.03


def test_same_seed_and_step_same_clips(store: EpisodeStore) -> None:
    one, other = sampler(store), sampler(EpisodeStore(*store.folders))
    other.sample(7, seed=1, step=8)  # what was drawn before does not matter
    first, second = one.sample(20, seed=3, step=9), other.sample(20, seed=3, step=9)
    assert torch.equal(top(first), top(second)) and torch.equal(first.actions, second.actions)
    for seed, step in ((3, 10), (4, 9)):
        assert not torch.equal(top(one.sample(20, seed, step)), top(first))


def test_actions_are_scaled_by_the_limits(store: EpisodeStore) -> None:
    low, high = store.action_limits
    assert (low.tolist(), high.tolist()) == ([-2.0, 0.0], [2.0, 4.0])
    np.testing.assert_allclose(store.actions(store.episodes[2], 7, 2), [[0.07, 0.02], [0.08, 0.02]], atol=1e-6)


def test_twins_belong_to_their_frames(tmp_path: Path) -> None:
    twins = EpisodeStore(write_store(tmp_path / "twins", [counting_episode(n) for n in range(3)], twins=True))
    batch = sampler(twins, twins=True).sample(20, seed=0, step=0)
    assert batch.twins is not None and torch.equal(batch.twins["top"], 255 - top(batch))
    assert sampler(twins).sample(20, seed=0, step=0).twins is None, "nobody asked"


def test_twins_that_are_not_there_are_asked_for_in_words(store: EpisodeStore) -> None:
    wanted = "has frames without twins, which twin_weight needs; collect with --twins"
    with pytest.raises(DatasetError, match=wanted):
        sampler(store, twins=True)


def test_only_the_sensors_asked_for_are_read_in_that_order(several: Path) -> None:
    store = EpisodeStore(several, sensors=["side", "position"])
    assert [sensor.name for sensor in store.sensors] == ["side", "position"]
    assert [sensor.name for sensor in EpisodeStore(several).sensors] == ["top", "side", "position"]
    seen, rows = store.observations(store.episodes[2], 3, 4, 5), counting_episode(2)
    assert list(seen) == ["side", "position"]
    np.testing.assert_array_equal(seen["side"], rows.frames[3:19:5, :, ::-1])
    np.testing.assert_array_equal(seen["position"], rows.state[3:19:5])
    assert set(sampler(store).sample(2, 0, 0).sensors) == {"side", "position"}
    assert pickle.loads(pickle.dumps(store)).sensors == store.sensors, "a reading process reads something else"


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        (["top", "lidar"], "the store has no sensor 'lidar'; it has top, side, position"),
        (["top", "top"], r"chosen sensors are \['top', 'top'\]; wanted one or more, each once"),
        ([], r"chosen sensors are \[\]; wanted one or more"),
    ],
)
def test_sensors_that_cannot_be_chosen_are_refused(several: Path, sensors: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        EpisodeStore(several, sensors=sensors)


def test_a_vectors_twin_is_its_own_reading(several: Path) -> None:
    batch = sampler(EpisodeStore(several), twins=True).sample(6, seed=0, step=0)
    assert batch.twins is not None
    assert torch.equal(batch.twins["side"], 255 - batch.sensors["side"])
    assert torch.equal(batch.twins["position"], batch.sensors["position"])


def test_a_vector_is_standardised_by_the_episodes_given(several: Path) -> None:
    """The second entry of `position` is the episode's number: constant in one episode, not in two."""
    store = EpisodeStore(several)
    camera_spec, _, position = store.sensors
    one, two = (store.standardised(position, store.episodes[1:last]) for last in (2, 3))
    index = np.arange(31)
    assert one.mean == pytest.approx((15, 1)) and two.mean == pytest.approx((15, 1.5))
    assert one.std == pytest.approx((index.std(), 0.03)), "a hundredth of the range is the least"
    assert two.std == pytest.approx((index.std(), 0.5))
    readings = torch.from_numpy(store.observations(store.episodes[2], 0, 31, 1)["position"])
    wanted = torch.stack([(readings[:, 0] - 15) / index.std(), torch.ones(31)], dim=1)
    torch.testing.assert_close(two.standardised(readings), wanted.float())
    assert (two.names, two.low, two.shape) == (POSITION.names, POSITION.low, POSITION.shape)
    assert store.standardised(camera_spec, store.episodes) == camera_spec


def test_features_belong_to_their_frames(store: EpisodeStore) -> None:
    assert store.features(store.episodes[4], 2, 3, 5).tolist() == [[2, 4, 7], [7, 4, 7], [12, 4, 7]]


def test_the_last_frame_has_no_action(store: EpisodeStore) -> None:
    """Its row in the file is NaN; nothing may read it, nor anything beyond an episode's end.

    The encoder that probes are compared with once read a hundred frames too many, over several episodes' ends.
    """
    episode = store.episodes[1]
    assert np.isfinite(store.actions(episode, 0, 16)).all()
    with pytest.raises(IndexError, match=r"frames 0\.\.17 are not all in episode 1 of 17 frames"):
        store.actions(episode, 0, 17)
    with pytest.raises(IndexError, match="episode 1 of 17 frames"):
        store.observations(episode, 0, 5, 5)
    with pytest.raises(IndexError, match="episode 1 of 17 frames"):
        store.features(episode, 3, 15, 1)
    with pytest.raises(IndexError, match="episode 1 of 17 frames"):
        store.observations(episode, -1, 2, 1)


def test_the_split_is_by_episode_disjoint_and_repeatable(store: EpisodeStore) -> None:
    train, held_out = store.split(0.4, seed=1)
    assert len(held_out) == 2 and len(train) == 3
    assert {episode.id for episode in train} | {episode.id for episode in held_out} == set(range(5))
    assert store.split(0.4, seed=1) == (train, held_out)
    assert len({tuple(episode.id for episode in store.split(0.4, seed)[1]) for seed in range(8)}) > 1


def test_clips_of_one_part_hold_nothing_of_the_other(store: EpisodeStore) -> None:
    train, held_out = store.split(0.4, seed=1)
    batch = sampler(store, episodes=train).sample(200, seed=0, step=0)
    assert not set(top(batch)[..., 0].flatten().tolist()) & {episode.id for episode in held_out}


def test_at_least_one_episode_is_held_out(store: EpisodeStore) -> None:
    assert len(store.split(0.0, seed=0)[1]) == 1


def test_one_episode_cannot_be_split(tmp_path: Path) -> None:
    store = EpisodeStore(write_store(tmp_path / "store", [counting_episode(0)]))
    with pytest.raises(DatasetError, match="holds 1 episode"):
        store.split(0.5, seed=0)


def test_clips_longer_than_every_episode_are_refused(store: EpisodeStore) -> None:
    with pytest.raises(DatasetError, match="no episode has 96 frames, the length of one clip of 20 model steps"):
        sampler(store, clip_frames=20)


def test_unfinished_shards_are_invisible(folder: Path, tmp_path: Path) -> None:
    copy = write_store(tmp_path / "store", [counting_episode(number) for number in range(3)], per_shard=2)
    (copy / ".shard-00002.h5.4711.tmp").write_bytes(b"half a shard")
    (copy / ".dataset.json.4711.tmp").write_text("{")
    assert len(EpisodeStore(copy).episodes) == 3


def test_a_missing_shard_costs_its_episodes_only(tmp_path: Path) -> None:
    copy = write_store(tmp_path / "store", [counting_episode(number) for number in range(6)], per_shard=2)
    (copy / "shard-00001.h5").unlink()
    assert [episode.id for episode in EpisodeStore(copy).episodes] == [0, 1, 4, 5]


def test_several_stores_are_read_as_one(tmp_path: Path) -> None:
    """The episodes of the second follow those of the first, and each is found where it lies."""
    parts = [[counting_episode(number) for number in numbers] for numbers in ((0, 1, 2), (3, 4))]
    both = EpisodeStore(*(write_store(tmp_path / str(k), part, per_shard=2) for k, part in enumerate(parts)))
    one = EpisodeStore(write_store(tmp_path / "one", parts[0] + parts[1]))
    assert len(both.episodes) == 5 and len(both.descriptions) == 2
    for here, there in zip(both.episodes, one.episodes, strict=True):
        assert np.array_equal(both.observations(here, 0, 3, 5)["top"], one.observations(there, 0, 3, 5)["top"])
        assert np.array_equal(both.actions(here, 2, 4), one.actions(there, 2, 4))
    assert pickle.loads(pickle.dumps(both)).episodes == both.episodes


def test_stores_have_twins_together_when_each_has(tmp_path: Path) -> None:
    plain, one, two = (
        write_store(tmp_path / name, [counting_episode(0), counting_episode(1)], twins=name != "plain")
        for name in ("plain", "one", "two")
    )
    assert EpisodeStore(one, two).has_twins
    assert not EpisodeStore(one, plain).has_twins


@pytest.mark.parametrize(
    ("key", "value"),
    [("env_id", "telos/Another-v0"), ("dt_s", 0.5), ("sensors", [camera(16, "other").to_json()])],
)
def test_stores_of_different_robots_are_refused_together(key: str, value: object, tmp_path: Path) -> None:
    one, two = (write_store(tmp_path / name, [counting_episode(0)]) for name in ("one", "two"))
    description(lambda data: data.update({key: value}))(two)
    with pytest.raises(DatasetError, match=f"two has {key} .* give stores of the same robot"):
        EpisodeStore(one, two)


def test_a_shard_without_episodes_is_no_trouble(tmp_path: Path) -> None:
    copy = write_store(tmp_path / "store", [counting_episode(number) for number in range(2)])
    write_store(tmp_path / "other", [counting_episode(0, steps=0)])
    with h5py.File(tmp_path / "other" / "shard-00000.h5", "a") as file:
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            if isinstance(found := file[name], h5py.Dataset):
                found.resize(0, axis=0)
    (tmp_path / "other" / "shard-00000.h5").rename(copy / "shard-00001.h5")
    assert len(EpisodeStore(copy).episodes) == 2


def description(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = describe([camera(16)])
        change(data)
        (folder / "dataset.json").write_text(json.dumps(data))

    return damage


def shard(change: Callable[[h5py.File], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with h5py.File(folder / "shard-00000.h5", "a") as file:
            change(file)

    return damage


def replace(file: h5py.File, name: str, rows: np.ndarray) -> None:
    del file[name]
    file[name] = rows


def cut_in_half(folder: Path) -> None:
    path = folder / "shard-00000.h5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no description": (lambda folder: (folder / "dataset.json").unlink(), "has no dataset.json; wanted an episode"),
    "description cut": (lambda folder: (folder / "dataset.json").write_text('{"format"'), "is not JSON"),
    "description not text": (lambda folder: (folder / "dataset.json").write_bytes(b"\xff\xfe"), "is not JSON"),
    "description is a list": (lambda folder: (folder / "dataset.json").write_text("[]"), "says format 'list'"),
    "other format": (description(lambda data: data.update(format=1)), "says format 1; this build reads format 2"),
    "no sensors": (description(lambda data: data.pop("sensors")), "lacks sensors"),
    "sensors are none": (description(lambda data: data.update(sensors=[])), "lacks sensors"),
    "sensor without a name": (description(lambda data: data["sensors"][0].pop("name")), "'name'"),
    "sensor is a word": (description(lambda data: data.update(sensors=["top"])), "sensors.0. is str; wanted an object"),
    "sensor with a secret": (description(lambda data: data["sensors"][0].update(gain=2)), r"unknown keys \['gain'\]"),
    "sensor of another kind": (description(lambda data: data["sensors"][0].update(kind="sonar")), "kind is 'sonar'"),
    "two sensors of a name": (
        description(lambda data: data.update(sensors=2 * data["sensors"])),
        r"sensors are \['top', 'top'\]; wanted one or more, each once",
    ),
    "no limits": (description(lambda data: data["action"].pop("low")), "lacks action.low"),
    "no feature names": (description(lambda data: data.update(features=None)), "lacks features.names"),
    "no control step": (description(lambda data: data.pop("dt_s")), "dt_s"),
    "oblong images": (description(lambda data: data["sensors"][0].update(shape=[16, 20, 3])), "sensors/top is"),
    "limits turned round": (description(lambda data: data["action"].update(low=[2.0, 0.0])), "low < high"),
    "limits infinite": (description(lambda data: data["action"].update(high=[1e999, 4.0])), "finite limits"),
    "limits are words": (description(lambda data: data["action"].update(high=["a", "b"])), "must be numbers"),
    "limit missing": (description(lambda data: data["action"].update(low=[-2.0])), "must be numbers"),
    "another image size": (description(lambda data: data["sensors"][0].update(shape=[32, 32, 3])), "sensors/top is"),
    "another action": (
        description(lambda data: data["action"].update(names=["x"], units=["m"], low=[0.0], high=[1.0])),
        "actions is",
    ),
    "no shard": (lambda folder: (folder / "shard-00000.h5").unlink(), "no finished shard .* collect episodes first"),
    "shard is text": (lambda folder: (folder / "shard-00000.h5").write_text("x"), "not a readable shard"),
    "shard cut": (cut_in_half, "not a readable shard"),
    "shard without a sensor": (shard(lambda file: file["sensors"].pop("top")), "not a readable shard"),
    "a sensor is a group": (
        shard(lambda file: (file["sensors"].pop("top"), file.create_group("sensors/top"))),
        "sensors/top is a group; wanted a dataset",
    ),
    "lengths do not add up": (shard(lambda file: replace(file, "lengths", np.array([99, 31]))), "actions is"),
}


def test_a_store_that_says_nothing_of_its_collection_has_no_twins(tmp_path: Path) -> None:
    folder = write_store(tmp_path / "store", [counting_episode(0)])
    description(lambda data: data.update(collection=None))(folder)
    assert not EpisodeStore(folder).has_twins


def test_a_shard_without_the_twins_that_are_promised_is_refused(tmp_path: Path) -> None:
    folder = write_store(tmp_path / "store", [counting_episode(0)], twins=True)
    shard(lambda file: file.pop("twins"))(folder)
    with pytest.raises(DatasetError, match="not a readable shard"):
        EpisodeStore(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_wrong_folder_is_refused_in_words(damage: str, tmp_path: Path) -> None:
    folder = write_store(tmp_path / "store", [counting_episode(number) for number in range(2)])
    act, match = DAMAGES[damage]
    act(folder)
    with pytest.raises(DatasetError, match=match) as caught:
        EpisodeStore(folder)
    assert "store" in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no dataset\.json"):
        EpisodeStore(tmp_path / "nowhere")
