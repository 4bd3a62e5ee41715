"""A checkpoint that somebody changed: refused in one sentence that names the model, and nothing in it ever runs."""

import hashlib
import json
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from tests.tiny import write_tiny_checkpoint
from worldmodel.checkpoint import load_checkpoint, verify_checkpoint
from worldmodel.errors import CheckpointError

NAME = "tiny-lewm"
WAY_OUT = re.compile(r"restore|train|wants?\b|wanted|this build|must|should", re.IGNORECASE)
BOMB_WENT_OFF = "bomb-went-off"

Attack = Callable[[Path], None]


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def weights_with_right_hash(folder: Path, data: bytes) -> None:
    """What an attacker or a broken export does: the manifest agrees with whatever the file now is."""
    (folder / "model.safetensors").write_bytes(data)
    digest = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "file": "model.safetensors"}
    change_manifest(folder, lambda manifest: manifest.update(weights=digest))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load((folder / "model.safetensors").read_bytes())
    change(tensors)
    weights_with_right_hash(folder, save(tensors))


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def raw_tensor(dtype: str, data: bytes) -> bytes:
    return header(json.dumps({"x": {"dtype": dtype, "shape": [1], "data_offsets": [0, len(data)]}}).encode()) + data


class Bomb:
    """Unpickling it writes a file beside the checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.folder.parent / BOMB_WENT_OFF, "boom")


def flip_one_bit(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def put_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors["world_model.projector.0.weight"][3, 4] = torch.nan


def set_at(*path: str, to: Any) -> Attack:
    """Change one value in the manifest."""

    def attack(folder: Path) -> None:
        def change(manifest: dict[str, Any]) -> None:
            for key in path[:-1]:
                manifest = manifest[key]
            manifest[path[-1]] = to

        change_manifest(folder, change)

    return attack


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Attack:
    return lambda folder: change_weights(folder, change)


def right_hash(data: bytes) -> Attack:
    return lambda folder: weights_with_right_hash(folder, data)


def manifest_text(text: bytes) -> Attack:
    return lambda folder: void((folder / "manifest.json").write_bytes(text))


def void(_: object) -> None:
    pass


BIAS = "world_model.projector.3.bias"
ATTACKS: dict[str, Attack] = {
    "weights missing": lambda folder: (folder / "model.safetensors").unlink(),
    "weights are a folder": lambda folder: (
        (folder / "model.safetensors").unlink(),
        (folder / "model.safetensors").mkdir(),
    )[1],
    "one bit flipped": flip_one_bit,
    "wrong hash in the manifest": set_at("weights", "sha256", to="0" * 64),
    "hash is a number": set_at("weights", "sha256", to=7),
    "wrong size in the manifest": set_at("weights", "bytes", to=3),
    "weights elsewhere": set_at("weights", "file", to="../../etc/passwd"),
    "empty": right_hash(b""),
    "pickle bomb": lambda folder: weights_with_right_hash(folder, pickle.dumps(Bomb(folder))),
    "huge header": right_hash(header(b"{}", length=2**62)),
    "header longer than the file": right_hash(header(b"{}", length=100)),
    "header is no JSON": right_hash(header(b"\xff\xfe{{{{")),
    "header deep as a well": right_hash(header(b'{"a":' * 50_000)),
    "offsets overlap": right_hash(
        header(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        )
        + b"\0" * 4
    ),
    "type that torch does not have": right_hash(raw_tensor("F8_E8M0", b"\0")),
    "type that has no infinity test": right_hash(raw_tensor("F8_E4M3", b"\0")),
    "weight missing": weights(lambda tensors: tensors.pop(BIAS)),
    "weight too many": weights(lambda tensors: tensors.update({"world_model.extra": torch.zeros(1)})),
    "weight of another part": weights(lambda tensors: tensors.update({"__class__": torch.zeros(1)})),
    "weight of another shape": weights(lambda tensors: tensors.update({BIAS: torch.zeros(17)})),
    "weight of another type": weights(lambda tensors: tensors.update({BIAS: torch.zeros(16, dtype=torch.int64)})),
    "weight not a number": weights(put_nan),
    "weight infinite": weights(lambda tensors: tensors[BIAS].fill_(torch.inf)),
    "head not in the weights": weights(
        lambda tensors: [tensors.pop(key) for key in list(tensors) if key.startswith("steps_to_go.")]
    ),
    "head not in the manifest": set_at("steps_to_go", to=None),
    "head with unknown keys": set_at("steps_to_go", to={"width": 16, "longest": 30.0, "hook": "os.system"}),
    "head of another width": set_at("steps_to_go", "width", to=32),
    "head of a wordy width": set_at("steps_to_go", "width", to="16"),
    "head wider than memory": set_at("steps_to_go", "width", to=2**40),
    "task without tolerances": set_at("task_distance", to={"width": 16}),
    "task of tolerances that are none": set_at("task_distance", to={"width": 16, "tolerances": [3]}),
    "task of no tolerance": set_at("task_distance", to={"width": 16, "tolerances": []}),
    "task that is kept when infinitely far": set_at(
        "task_distance", to={"width": 16, "tolerances": [{"features": ["x"], "within": 1e300}]}
    ),
    "task of numbered features": set_at(
        "task_distance", to={"width": 16, "tolerances": [{"features": [1], "within": 0.1}]}
    ),
    "task not in the weights": set_at(
        "task_distance", to={"width": 16, "tolerances": [{"features": ["x"], "within": 0.1}]}
    ),
    "task wider than memory": set_at(
        "task_distance", to={"width": 2**40, "tolerances": [{"features": ["x"], "within": 0.1}]}
    ),
    "unknown recipe": set_at("recipe", to="os:system"),
    "recipe is a list": set_at("recipe", to=["lewm"]),
    "part names code": set_at("config", "encoder", "type", to="subprocess.Popen"),
    "part of another place": set_at("config", "encoder", "type", to="PredictorConfig"),
    "part without a type": lambda folder: change_manifest(folder, lambda m: m["config"]["encoder"].pop("type")),
    "part's type is a list": set_at("config", "encoder", "type", to=[]),
    "part is a number": set_at("config", "predictor", to=5),
    "config is a list": set_at("config", to=[]),
    "config lacks a key": lambda folder: change_manifest(folder, lambda m: m["config"].pop("latent_width")),
    "config has a key too many": set_at("config", "__init__", to=1),
    "model wider than memory": set_at("config", "projector_width", to=10**9),
    "model deeper than patience": set_at("config", "predictor", "depth", to=10**9),
    "negative width": set_at("config", "latent_width", to=-16),
    "width is true": set_at("config", "latent_width", to=True),
    "window of nothing": set_at("config", "predictor", "window", to=0),
    "pixels divided by zero": set_at("config", "pixel_std", to=[0.5, 0.0, 0.5]),
    "pixels of two colours": set_at("config", "pixel_mean", to=[0.5, 0.5]),
    "observation of another size": set_at("observation", "height_px", to=64),
    "action of another width": set_at("action", "control_steps", to=6),
    "action limits turned round": set_at("action", "low", to=[2.0, 2.0]),
    "limit missing": set_at("action", "high", to=[1.0]),
    "distance scale of zero": set_at("planning", "goal_distance_scale", to=0.0),
    "context of nothing": set_at("planning", "context_frames", to=0),
    "quantiles descend": set_at("surprise", "quantiles", to=[2.0, 1.0]),
    "not a number in the manifest": set_at("planning", "goal_distance_scale", to=float("nan")),
    "infinity in the manifest": set_at("surprise", "threshold", to=float("inf")),
    "infinity by overflow": manifest_text(b'{"format": 1, "planning": {"goal_distance_scale": 1e999}}'),
    "number of 5000 digits": manifest_text(b'{"format": ' + b"1" * 5000 + b"}"),
    "control characters in the name": set_at("name", to="tiny\x1b[2J\nlewm"),
    "empty name": set_at("name", to=""),
    "name is a number": set_at("name", to=3),
    "other format": set_at("format", to=2),
    "unknown key": set_at("on_load", to="import os"),
    "manifest missing": lambda folder: (folder / "manifest.json").unlink(),
    "manifest empty": manifest_text(b""),
    "manifest is a list": manifest_text(b"[]"),
    "manifest deep as a well": manifest_text(b"[" * 100_000),
    "manifest not UTF-8": manifest_text(b"\xff\xfe{}"),
    "manifest over 4 MiB": manifest_text(b" " * (4 * 2**20 + 1)),
}


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
    for index, (name, attack) in enumerate(ATTACKS.items()):
        folder = write_tiny_checkpoint(scratch / str(index), NAME)
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
    frame = torch.full((1, 32, 32, 3), 90, dtype=torch.uint8)
    before = loaded.world_model.encode(frame)
    other = tmp_path / "other.safetensors"
    other.write_bytes(bytes(len(real.read_bytes())))
    weights.unlink()
    weights.symlink_to(other)
    real.write_bytes(b"")
    assert torch.equal(loaded.world_model.encode(frame), before)
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
