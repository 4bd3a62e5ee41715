"""What goes wrong is said in words, with what to do, and without a traceback."""

from dataclasses import replace
from pathlib import Path

import mujoco
import pytest

from server.cli import main
from tests.server.demo.checkpoint import MODEL, write_task_checkpoint
from tests.tiny import write_tiny_checkpoint
from worldmodel.manifest import read_manifest


def failure(capsys: pytest.CaptureFixture[str], checkpoints: Path, out: Path, *arguments: str) -> str:
    """What a demo that fails says."""
    code = main(["demo", "--checkpoints", str(checkpoints), "--out", str(out), "--quiet", *arguments])
    said = capsys.readouterr()
    assert code == 2 and said.out == ""
    assert said.err.startswith("telos demo: ") and "Traceback" not in said.err
    return said.err


def test_no_checkpoints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = failure(capsys, tmp_path / "none", tmp_path / "out")
    assert "has no checkpoint of a simulated task" in said and "found no checkpoint" in said and "telos train" in said


def test_only_checkpoints_of_real_robots(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path)
    said = failure(capsys, tmp_path, tmp_path / "out")
    assert "tiny-lewm (task none)" in said and "telos/TwoRoom-v0" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"), [(("--episodes", "0"), "episodes=0"), (("--protocol", "near"), "protocol 'near'")]
)
def test_arguments_without_meaning(
    capsys: pytest.CaptureFixture[str],
    task_checkpoints: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    assert complaint in failure(capsys, task_checkpoints, tmp_path, *arguments)


def test_no_opengl(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, task_checkpoints: Path, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'eglQueryString'")

    monkeypatch.setattr(mujoco, "Renderer", broken)
    said = failure(capsys, task_checkpoints, tmp_path)
    assert "no OpenGL context" in said and "apt-get install --yes libegl1" in said


def test_a_folder_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], task_checkpoints: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in failure(capsys, task_checkpoints, tmp_path / "file")


def test_a_server_that_dies_at_start_shows_its_log(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    weights = write_task_checkpoint(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    said = failure(capsys, tmp_path, tmp_path / "out")
    assert "the server stopped with exit code 2 before it was ready; its log ends:" in said
    assert f"  | telos serve: {weights.name} of {MODEL}" in said


def test_a_checkpoint_that_no_longer_fits_its_task(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = write_task_checkpoint(tmp_path)
    manifest = read_manifest(folder)
    other = replace(manifest, action=replace(manifest.action, dt_s=0.2))
    (folder / "manifest.json").write_text(other.to_json())
    assert "train it anew" in failure(capsys, tmp_path, tmp_path / "out")
