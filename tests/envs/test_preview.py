"""Previews: every sensor of an episode is seen, at the right time."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from envs.collect import collect
from envs.collect_config import CollectConfig
from envs.interchange.charts import HEIGHT_PX, curves, with_cursor
from envs.interchange.preview import animation, contact_sheet, glimpses
from envs.interchange.stored_episodes import StoredEpisodes
from tests.envs.stored import arm_readings, write_counting_store

BLUE_CURVE = (88, 166, 255)
WIDTH_PX = 200


def heights(chart: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """The middle of what has this colour in each column of pixels, NaN where nothing has."""
    rows = (np.asarray(chart) == colour).all(axis=2)
    return np.array([np.flatnonzero(column).mean() if column.any() else np.nan for column in rows.T])


def test_a_curve_rises_with_its_readings() -> None:
    readings = np.linspace(-2, 7, 30)[:, None].astype(np.float32)
    drawn = heights(curves("arm", readings, WIDTH_PX), BLUE_CURVE)[60:]  # beside the words
    assert (np.diff(drawn[np.isfinite(drawn)]) <= 0).all(), "upward is toward row 0"
    assert np.nanmin(drawn) < 4


def test_a_reading_that_never_changes_is_a_level_curve() -> None:
    drawn = heights(curves("arm", np.full((30, 1), 5.0, np.float32), WIDTH_PX), BLUE_CURVE)[60:]
    assert np.abs(drawn - HEIGHT_PX / 2).max() < 3
    assert np.isfinite(heights(curves("arm", np.zeros((1, 1), np.float32), WIDTH_PX), BLUE_CURVE)).any()


def test_the_cursor_is_where_the_time_is() -> None:
    chart = curves("arm", arm_readings(0, 10), WIDTH_PX)
    for share in (0.0, 0.25, 1.0):
        changed = (np.asarray(with_cursor(chart, share)) != np.asarray(chart)).any(axis=(0, 2))
        assert np.flatnonzero(changed).tolist() == [round(share * (WIDTH_PX - 1))]


def test_glimpses_hold_every_sensor_of_their_episode(tmp_path: Path) -> None:
    source = StoredEpisodes(write_counting_store(tmp_path / "store", [9, 4, 6, 12]))
    shown = glimpses(source, 2)
    assert [each.episode for each in shown] == [0, 3]
    for each, length in zip(shown, (10, 13), strict=True):
        assert each.numbers == tuple(range(length)) and each.frames[0].size == (256, 128)
        assert np.array_equal(each.vectors["arm"], arm_readings(each.episode, length))
        for number in each.numbers:
            views = np.asarray(each.frames[number])[60, [60, 190]]
            assert views.tolist() == [[40 * each.episode, number, 0], [40 * each.episode, number, 200]]


def test_a_store_of_one_camera_and_no_vector_is_drawn_without_curves(tmp_path: Path) -> None:
    collect(CollectConfig(env_id="telos/TwoRoom-v0", episodes=2, steps=6, seed=0), tmp_path, progress=False)
    shown = glimpses(StoredEpisodes(tmp_path), 2)
    with Image.open(io.BytesIO(contact_sheet(shown, 0.1))) as sheet:
        assert sheet.size == (4 + 8 * 132, 4 + 2 * 148)
    with Image.open(io.BytesIO(animation(shown, 0.1))) as motion:
        assert getattr(motion, "n_frames", 1) == 7 and motion.size == (4 + 2 * 132, 4 + 148)
