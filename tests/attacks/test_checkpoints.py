"""A checkpoint that somebody changed: refused in one sentence that names the model, and nothing in it ever runs."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.attacks.checkpoint_attacks import ATTACKS, BOMB_WENT_OFF, flip_one_bit, weights_with_right_hash
from tests.tiny import write_tiny_checkpoint
from worldmodel.checkpoint import load_checkpoint, verify_checkpoint
from worldmodel.errors import CheckpointError
from worldmodel.observation import ObservationBatch

NAME = "tiny-lewm"
WAY_OUT = re.compile(r"restore|train|wants?\b|wanted|this build|must|should", re.IGNORECASE)


@pytest.fixture(autouse=True)
def the_next_robot_is_served() -> None:
    """Nothing to serve: what is refused here never gets as far as a server."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("pristine"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(pristine: dict[str, bytes], tmp_path: Path) -> Path:
    return copy_to(tmp_path / NAME, pristine)


def copy_to(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def refusal(folder: Path) -> str:
    """The message that `load_checkpoint` refuses with."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    return str(caught.value)


@pytest.mark.parametrize("attack", ATTACKS)
def test_refused_by_name_with_a_way_out(attack: str, folder: Path) -> None:
    ATTACKS[attack](folder)
    message = refusal(folder)
    assert NAME in message, message
    assert WAY_OUT.search(message), message
    assert message.isprintable(), message
    assert len(message) < 600, message
    assert not (folder.parent / BOMB_WENT_OFF).exists()


def test_refused_in_production_too(tmp_path: Path) -> None:
    """Under pytest every annotation is checked, which could refuse what a server would take: so ask a plain process."""
    answers = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.attacks.test_checkpoints", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert json.loads(answers.stdout) == dict.fromkeys(ATTACKS, "CheckpointError")


def answers_of_a_plain_process(scratch: Path) -> Iterator[tuple[str, str]]:
    """The error of each attack, without pytest's import hook."""
    whole = write_tiny_checkpoint(scratch / "whole", NAME)
    for index, (name, attack) in enumerate(ATTACKS.items()):
        folder = Path(shutil.copytree(whole, scratch / str(index) / NAME))
        attack(folder)
        try:
            load_checkpoint(folder)
            yield name, "loaded"
        except Exception as error:
            yield name, type(error).__name__


@pytest.mark.parametrize("share", [0, 1e-5, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999, 0.99999])
@pytest.mark.parametrize("agrees", [False, True], ids=["file only", "manifest agrees"])
def test_truncated_anywhere(share: float, agrees: bool, folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    cut = data[: int(share * len(data))]
    if agrees:
        weights_with_right_hash(folder, cut)
    else:
        (folder / "model.safetensors").write_bytes(cut)
    message = refusal(folder)
    assert NAME in message and WAY_OUT.search(message), message


def test_verifying_finds_what_a_hash_can_find(folder: Path) -> None:
    assert verify_checkpoint(folder).name == NAME
    flip_one_bit(folder)
    with pytest.raises(CheckpointError, match="SHA-256"):
        verify_checkpoint(folder)


def test_weights_behind_a_link_that_is_swapped(folder: Path, tmp_path: Path) -> None:
    """A file replaced under a running service must neither be used nor bring the process down."""
    weights = folder / "model.safetensors"
    real = weights.rename(tmp_path / "real.safetensors")
    weights.symlink_to(real)
    loaded = load_checkpoint(folder)
    assert loaded.encoder is not None
    frame = ObservationBatch({"top": torch.full((1, 32, 32, 3), 90, dtype=torch.uint8)})
    before = loaded.encoder.encode(frame).tokens
    other = tmp_path / "other.safetensors"
    other.write_bytes(bytes(len(real.read_bytes())))
    weights.unlink()
    weights.symlink_to(other)
    real.write_bytes(b"")
    assert torch.equal(loaded.encoder.encode(frame).tokens, before)
    assert "SHA-256" in refusal(folder)


def test_a_manifest_that_never_ends_is_not_read_to_its_end(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to("/dev/zero")
    assert "no manifest.json" in refusal(folder)


def test_the_hash_served_is_of_the_manifest_that_was_used(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.manifest_sha256 == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dict(answers_of_a_plain_process(Path(sys.argv[1])))))
