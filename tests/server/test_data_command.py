"""`telos data`: what users type, and what it says to them."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from server.cli import main
from tests.envs.stored import write_counting_store
from tests.lerobot_set import LeRobotSet, recorded_dot


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LeRobotSet([recorded_dot(seed) for seed in range(3)], codec="libx264").write(tmp_path_factory.mktemp("set"))


def telos_data(*arguments: object) -> int:
    return main(["data", *map(str, arguments)])


def test_the_users_words_go_into_the_store(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names, limits = ("--action-names", "pan", "tilt"), ("--action-low", -3, -1, "--action-high", 3, 5)
    units = ("--action-units", "rad", "rad/s")
    assert telos_data("import", recorded, "--out", tmp_path, *names, *units, *limits, "--quiet") == 0
    action = json.loads((tmp_path / "dataset.json").read_text())["action"]
    assert action == {"names": ["pan", "tilt"], "units": ["rad", "rad/s"], "low": [-3, -1], "high": [3, 5]}
    assert "pan (rad): -3 to 3 (given)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--action-low", "-3"], "give both"),
        (["--action-low", "-3", "--action-high", "nan"], "wanted finite ones"),
        (["--action-low", "3", "--action-high", "-3"], "low < high"),
        (["--action-low", "-3", "0", "1", "--action-high", "5"], "give one for each"),
        (["--action-low", "-1", "--action-high", "5"], "beyond the limits -1 to 5 (given)"),
        (["--action-names", "pan"], "--action-names has 1 names for the 2 actions"),
        (["--action-names", "pan", "pan"], "wanted different ones"),
        (["--action-units", "rad"], "1 action units"),
        (["--image-size", "4"], "16..4096"),
        (["--cameras", "wrist"], "no camera 'wrist'"),
        (["--vectors", "force"], "no vector 'force'"),
        (["--deltas", "pan"], "there is no action 'pan'; give some of ['x', 'y'], or all"),
    ],
)
def test_a_users_mistake(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert telos_data("import", recorded, "--out", tmp_path / "store", "--quiet", *options) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "store").exists()


def test_sensors_are_chosen_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = LeRobotSet([recorded_dot(seed, steps=9, wrist=True) for seed in range(2)], codec="libx264")
    folder = recorded.write(tmp_path / "set")
    every = ("--vectors", "observation.state")
    assert telos_data("import", folder, "--out", tmp_path / "all", *every, "--quiet") == 0
    assert "2 episodes, camera 'top', camera 'wrist', vector 'state'" in capsys.readouterr().out
    few = ("--cameras", "wrist", "--vectors", "none", "--state", "none")
    assert telos_data("import", folder, "--out", tmp_path / "few", *few, "--quiet") == 0
    sensors = json.loads((tmp_path / "few" / "dataset.json").read_text())["sensors"]
    assert [each["name"] for each in sensors] == ["wrist"]


def test_a_store_goes_out_and_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_counting_store(tmp_path / "store", [12] * 5)
    for layout, out in (("lerobot", tmp_path / "set"), ("hdf5", tmp_path / "counted.h5")):
        assert telos_data("export", store, "--to", layout, "--out", out) == 0
        assert telos_data("preview", out, "--out", tmp_path / layout, "--episodes", 4) == 0
        assert telos_data("export", store, "--to", layout, "--out", out) == 2
        assert "is there already" in capsys.readouterr().err
        with Image.open(tmp_path / layout / "contact_sheet.png") as sheet:
            assert sheet.size == (4 + 8 * (2 * 128 + 4), 4 + 4 * (16 + 128 + 4 + 48 + 4))
            front, wrist = (sheet.getpixel((x, 60)) for x in (60, 200))
            assert isinstance(front, tuple) and isinstance(wrist, tuple)
            assert front[2] < 40 and wrist[2] > 160, "the cameras stand side by side"
        with Image.open(tmp_path / layout / "episodes.webp") as motion:
            assert getattr(motion, "n_frames", 1) == 13
    assert telos_data("import", store, "--out", tmp_path / "again") == 2
    assert "is an episode store already" in capsys.readouterr().err
    assert telos_data("preview", store, "--out", tmp_path / "drawn", "--cameras", "wrist") == 2
    assert "is read whole" in capsys.readouterr().err


def test_a_frame_rate_that_lerobot_cannot_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_counting_store(tmp_path / "store", [12] * 2)
    said = json.loads((store / "dataset.json").read_text())
    (store / "dataset.json").write_text(json.dumps({**said, "dt_s": 0.03}))
    assert telos_data("export", store, "--to", "lerobot", "--out", tmp_path / "set") == 2
    assert "wants a whole number" in capsys.readouterr().err and not (tmp_path / "set").exists()


def test_without_the_extra(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("envs.interchange")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert telos_data("import", recorded, "--out", tmp_path / "store") == 2
    assert "pip install '.[data]'" in capsys.readouterr().err
