"""`telos check`: pictures held against a model's, without a server."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from server.cli import main
from tests.episodes import dot_episode, write_dot_store, write_store
from tests.tiny import write_tiny_checkpoint

NORMAL = dot_episode(500).frames[3]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose novelty was calibrated by the command itself."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_tiny_checkpoint(folder)
    weights = (folder / "tiny-lewm" / "model.safetensors").read_bytes()
    store = write_dot_store(folder.parent / f"{folder.name}-store", episodes=80)
    assert main([*command(folder), "--calibrate", str(store), "--data", str(store), "--quiet"]) == 0
    assert (folder / "tiny-lewm" / "model.safetensors").read_bytes() == weights
    return folder


def command(folder: Path) -> list[str]:
    return ["check", "--model", "tiny-lewm", "--checkpoints", str(folder)]


def saved(folder: Path, picture: np.ndarray, name: str = "now.png") -> str:
    Image.fromarray(np.ascontiguousarray(picture)).save(folder / name)
    return f"top={folder / name}"


def check(checkpoints: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    code = main([*command(checkpoints), "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def problems(result: dict[str, object]) -> str:
    (reading,) = result["readings"]  # type: ignore[misc]
    return "; ".join(reading["problems"])


def test_a_normal_picture_is_ok(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = check(checkpoints, capsys, "--image", saved(tmp_path, NORMAL))
    assert (code, problems(result), result["goal_distance"]) == (0, "", None)


def test_swapped_channels_are_named(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = check(checkpoints, capsys, "--image", saved(tmp_path, NORMAL[..., ::-1]))
    assert code == 1 and "colour channels look swapped" in problems(result)


def test_a_black_picture_is_blank(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = check(checkpoints, capsys, "--image", saved(tmp_path, np.zeros_like(NORMAL)))
    assert code == 1 and "unlike training" in problems(result) and "it is blank" in problems(result)


def test_a_squeezed_picture_is_told_its_shape(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = np.asarray(Image.fromarray(NORMAL).resize((64, 48)))
    code, result = check(checkpoints, capsys, "--image", saved(tmp_path, wide))
    assert code == 1 and "aspect changed: the model learned from pictures of equal sides" in problems(result)


def test_now_and_goal_have_a_distance(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = saved(tmp_path, NORMAL)
    code, result = check(checkpoints, capsys, "--image", now, "--goal", now)
    assert (code, result["goal_distance"]) == (0, 0.0)


def test_the_share_of_a_store_is_counted(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = check(checkpoints, capsys, "--data", str(write_dot_store(tmp_path / "store", episodes=4)))
    assert code == 0 and result["unlike_shares"] == {"top": 0.0}
    dark = [dataclasses.replace(rows, frames=rows.frames // 4) for rows in map(dot_episode, range(4))]
    code, result = check(checkpoints, capsys, "--data", str(write_store(tmp_path / "dark", dark)))
    assert code == 1 and result["unlike_shares"] == {"top": 1.0}


def test_words_are_for_people(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command(checkpoints), "--image", saved(tmp_path, np.zeros_like(NORMAL))]) == 1
    said = capsys.readouterr().out
    assert said.startswith("image top: 32 x 32 px (model: 32 x 32 px), novelty ") and said.endswith(
        "something is off\n"
    )


def test_a_torn_calibration_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    novelty = write_tiny_checkpoint(tmp_path) / "novelty.safetensors"
    store = str(write_dot_store(tmp_path / "store", episodes=10))
    assert main([*command(tmp_path), "--calibrate", store, "--quiet"]) == 0
    assert "calibrated on 8 episodes: at most 11.11% of normal readings exceed 1" in capsys.readouterr().err
    whole = novelty.read_bytes()
    novelty.write_bytes(whole[:-1])
    assert main([*command(tmp_path), "--image", saved(tmp_path, NORMAL)]) == 2
    assert "novelty.safetensors of tiny-lewm" in capsys.readouterr().err
    assert main([*command(tmp_path), "--calibrate", store, "--quiet"]) == 0 and novelty.read_bytes() == whole


def test_an_uncalibrated_model_checks_sizes_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_checkpoint(tmp_path)
    assert main([*command(tmp_path), "--image", saved(tmp_path, NORMAL)]) == 0
    assert "novelty was not calibrated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to check"),
        (["--image", "front=now.png"], "no sensor 'front'; it has top"),
        (["--image", "now.png"], "give SENSOR=FILE"),
        (["--image", "top=missing.png"], "is not a file; give a PNG, JPEG or WebP picture"),
        (["--data", "missing"], "has no dataset.json"),
    ],
)
def test_mistakes_end_with_one_line(
    arguments: list[str], message: str, checkpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command(checkpoints), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_picture_that_the_server_refuses_is_refused(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [saved(tmp_path, NORMAL, "now.gif"), saved(tmp_path, np.dstack([NORMAL, NORMAL[..., 0]]), "alpha.png")]
    os.mkfifo(tmp_path / "fifo.png")
    for image, reason in zip(
        [*given, f"top={tmp_path / 'fifo.png'}"],
        ["is not a PNG, JPEG or WebP picture", "mode RGBA", "is not a file"],
        strict=True,
    ):
        assert main([*command(checkpoints), "--image", image]) == 2
        assert reason in capsys.readouterr().err


def test_few_episodes_do_not_make_every_store_normal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two episodes promise no more than a false alarm in two, which is no licence for a store of other pictures."""
    folder = write_tiny_checkpoint(tmp_path).parent
    few = write_dot_store(tmp_path / "few", episodes=2)
    negatives = [dataclasses.replace(each, frames=255 - each.frames) for each in map(dot_episode, range(3))]
    others = write_store(tmp_path / "others", negatives)
    code, result = check(folder, capsys, "--calibrate", str(few), "--data", str(others), "--quiet")
    assert code == 1 and result["unlike_shares"] == {"top": 1.0} and result["ok"] is False
