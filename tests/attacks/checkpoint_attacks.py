"""Attacks on checkpoints, each of which changes the files of a folder."""

import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from tests.tiny import TOP, tiny_novelty

BOMB_WENT_OFF = "bomb-went-off"

Attack = Callable[[Path], None]


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def weights_with_right_hash(folder: Path, data: bytes) -> None:
    """Change the manifest to agree with the changed file, as an attacker or a broken export would."""
    (folder / "model.safetensors").write_bytes(data)
    digest = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "file": "model.safetensors"}
    change_manifest(folder, lambda manifest: manifest.update(weights=digest))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load((folder / "model.safetensors").read_bytes())
    change(tensors)
    weights_with_right_hash(folder, save(tensors))


def novelty_with_right_hash(data: bytes) -> "Attack":
    """The manifest agrees with this novelty.safetensors."""

    def attack(folder: Path) -> None:
        (folder / "novelty.safetensors").write_bytes(data)
        spec = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "false_alarm_rate": 0.1}
        change_manifest(folder, lambda manifest: manifest.update(novelty={**spec, "episodes": 9, "frames": 9}))

    return attack


def novelty(change: Callable[[dict[str, torch.Tensor]], Any]) -> "Attack":
    """Change what `tiny_novelty` holds."""
    tensors = tiny_novelty((TOP,)).novelty.tensors()
    change(tensors)
    return novelty_with_right_hash(save(tensors))


def tear_novelty(folder: Path) -> None:
    novelty(lambda _: None)(folder)
    path = folder / "novelty.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def flip_a_bit_of_novelty(folder: Path) -> None:
    novelty(lambda _: None)(folder)
    path = folder / "novelty.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


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


def overflow_a_number(folder: Path) -> None:
    """JSON readers make infinity of it."""
    path = folder / "manifest.json"
    changed = path.read_text().replace('"goal_distance_scale": 32.0', '"goal_distance_scale": 1e999')
    assert "1e999" in changed
    path.write_text(changed)


def set_at(*path: str | int, to: Any) -> Attack:
    """Change one value in the manifest."""

    def attack(folder: Path) -> None:
        def change(manifest: dict[str, Any]) -> None:
            part: Any = manifest
            for key in path[:-1]:
                part = part[key]
            part[path[-1]] = to

        change_manifest(folder, change)

    return attack


def head_config(**changes: Any) -> Attack:
    """Change the configuration of the learned distance."""
    return lambda folder: change_manifest(folder, lambda m: m["heads"]["steps_to_go"]["config"].update(changes))


def task_head(config: dict[str, Any]) -> Attack:
    """Add a head with this configuration, whose weights are not in the file."""
    return set_at("heads", "task_distance", to={"type": "task_distance", "config": config})


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Attack:
    return lambda folder: change_weights(folder, change)


def right_hash(data: bytes) -> Attack:
    return lambda folder: weights_with_right_hash(folder, data)


def manifest_text(text: bytes) -> Attack:
    return lambda folder: void((folder / "manifest.json").write_bytes(text))


def void(_: object) -> None:
    pass


BIAS = "world_model.projector.3.bias"
VECTOR = {"name": "q", "kind": "vector", "shape": [1], "names": ["q"], "units": ["rad"], "low": [-1.0], "high": [1.0]}
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
    "weight with control characters in its name": weights(
        lambda tensors: tensors.update({"\x1b[2J" + "x" * 5000: torch.zeros(1)})
    ),
    "weight of another shape": weights(lambda tensors: tensors.update({BIAS: torch.zeros(17)})),
    "weight of another type": weights(lambda tensors: tensors.update({BIAS: torch.zeros(16, dtype=torch.int64)})),
    "weight not a number": weights(put_nan),
    "weight infinite": weights(lambda tensors: tensors[BIAS].fill_(torch.inf)),
    "head not in the weights": weights(
        lambda tensors: [tensors.pop(key) for key in list(tensors) if key.startswith("steps_to_go.")]
    ),
    "head not in the manifest": set_at("heads", to={}),
    "heads are a list": set_at("heads", to=[]),
    "head of an unknown type": set_at("heads", "steps_to_go", "type", to="os:system"),
    "head of a type that never ends": set_at("heads", "steps_to_go", "type", to="x" * 10_000),
    "head without a type": lambda folder: change_manifest(folder, lambda m: m["heads"]["steps_to_go"].pop("type")),
    "head named as the recipe's weights are": lambda folder: change_manifest(
        folder, lambda m: m["heads"].update(world_model=m["heads"].pop("steps_to_go"))
    ),
    "head with control characters in its name": set_at("heads", "a\x1b[2J", to={}),
    "head with a dot in its name": set_at("heads", "steps_to_go.layers", to={}),
    "head with unknown keys": head_config(hook="os.system"),
    "head of another width": head_config(width=32),
    "head of a wordy width": head_config(width="16"),
    "head wider than memory": head_config(width=2**40),
    "head that pools in another way": head_config(pooling="eval"),
    "head without a configuration": set_at("heads", "steps_to_go", "config", to={"width": {}}),
    "task without tolerances": task_head({"width": 16}),
    "task of tolerances that are none": task_head({"width": 16, "tolerances": [3]}),
    "task of no tolerance": task_head({"width": 16, "tolerances": []}),
    "task that is kept when infinitely far": task_head(
        {"width": 16, "tolerances": [{"features": ["x"], "within": 1e300}]}
    ),
    "task of numbered features": task_head({"width": 16, "tolerances": [{"features": [1], "within": 0.1}]}),
    "task not in the weights": task_head({"width": 16, "tolerances": [{"features": ["x"], "within": 0.1}]}),
    "task wider than memory": task_head({"width": 2**40, "tolerances": [{"features": ["x"], "within": 0.1}]}),
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
    "no sensor": set_at("sensors", to=[]),
    "sensors are an object": set_at("sensors", to={}),
    "sensor is a word": set_at("sensors", 0, to="top"),
    "camera of another size": set_at("sensors", 0, "shape", to=[64, 64, 3]),
    "camera that is not square": set_at("sensors", 0, "shape", to=[32, 64, 3]),
    "camera larger than memory": set_at("sensors", 0, "shape", to=[2**40, 2**40, 3]),
    "camera of four colours": set_at("sensors", 0, "shape", to=[32, 32, 4]),
    "camera with control characters in its name": set_at("sensors", 0, "name", to="top\x1b[2J"),
    "camera named as a path": set_at("sensors", 0, "name", to="../top"),
    "sensor of an unknown kind": set_at("sensors", 0, "kind", to="subprocess"),
    "sensor twice": lambda folder: change_manifest(folder, lambda m: m["sensors"].append(m["sensors"][0])),
    "camera that the weights do not know": lambda folder: change_manifest(
        folder, lambda m: m["sensors"].append({**m["sensors"][0], "name": "wrist"})
    ),
    "vector that the latents do not hold": lambda folder: change_manifest(
        folder, lambda m: m["sensors"].append(VECTOR)
    ),
    "vector without a range": lambda folder: change_manifest(
        folder, lambda m: m["sensors"].append({**VECTOR, "low": [], "high": []})
    ),
    "vector with no spread": lambda folder: change_manifest(
        folder, lambda m: m["sensors"].append({**VECTOR, "mean": [0.0], "std": [0.0]})
    ),
    "latents of more tokens": set_at("latent", "tokens", to=2),
    "latents of another width": set_at("latent", "width", to=32),
    "latents wider than memory": set_at("latent", "width", to=2**40),
    "latents missing": lambda folder: change_manifest(folder, lambda m: m.pop("latent")),
    "planning without actions": set_at("action", to=None),
    "action of another width": set_at("action", "control_steps", to=6),
    "action limits turned round": set_at("action", "low", to=[2.0, 2.0]),
    "limit missing": set_at("action", "high", to=[1.0]),
    "distance scale of zero": set_at("planning", "goal_distance_scale", to=0.0),
    "context of nothing": set_at("planning", "context_frames", to=0),
    "quantiles descend": set_at("calibration", "quantiles", to=[2.0, 1.0]),
    "calibrated on nothing": set_at("calibration", "transitions", to=0),
    "novelty missing": set_at(
        "novelty", to={"sha256": "0" * 64, "bytes": 9, "false_alarm_rate": 0.1, "episodes": 9, "frames": 9}
    ),
    "novelty torn": tear_novelty,
    "novelty with one bit flipped": flip_a_bit_of_novelty,
    "novelty is a pickle bomb": lambda folder: novelty_with_right_hash(pickle.dumps(Bomb(folder)))(folder),
    "novelty of a huge header": novelty_with_right_hash(header(b"{}", length=2**62)),
    "novelty of nothing": novelty(lambda tensors: tensors.clear()),
    "novelty of a sensor too many": novelty(lambda tensors: tensors.update({"wrist/layout/mean": torch.zeros(192)})),
    "novelty of another shape": novelty(lambda tensors: tensors.update({"top/layout/mean": torch.zeros(3)})),
    "novelty of a number": novelty(lambda tensors: tensors.update({"top/layout/directions": torch.tensor(1.0)})),
    "novelty not a number": novelty(lambda tensors: tensors["top/edges/mean"].fill_(torch.nan)),
    "novelty that divides by zero": novelty(lambda tensors: tensors["top/texture/variances"].zero_()),
    "novelty of a negative scale": novelty(lambda tensors: tensors["top/layout/scale"].neg_()),
    "novelty that overflows": novelty(lambda tensors: tensors["top/layout/mean"].fill_(3e38)),
    "novelty of a tiny scale": novelty(lambda tensors: tensors["top/layout/scale"].fill_(1e-45)),
    "novelty of long directions": novelty(lambda tensors: tensors["top/layout/directions"].fill_(3e38)),
    "novelty elsewhere": set_at("novelty", to={"file": "../../etc/passwd"}),
    "novelty that alarms always": set_at(
        "novelty", to={"sha256": "0", "bytes": 9, "false_alarm_rate": 2.0, "episodes": 9, "frames": 9}
    ),
    "camera thinner than a hair": set_at("sensors", 0, "aspect_ratio", to=1e-9),
    "not a number in the manifest": set_at("planning", "goal_distance_scale", to=float("nan")),
    "infinity in the manifest": set_at("calibration", "threshold", to=float("inf")),
    "infinity by overflow": overflow_a_number,
    "number of 5000 digits": manifest_text(b'{"format": ' + b"1" * 5000 + b"}"),
    "control characters in the name": set_at("name", to="tiny\x1b[2J\nlewm"),
    "empty name": set_at("name", to=""),
    "name is a number": set_at("name", to=3),
    "format 1": set_at("format", to=1),
    "other format": set_at("format", to=3),
    "format that never ends": set_at("format", to="2" * 10_000),
    "unknown key": set_at("on_load", to="import os"),
    "unknown key that never ends": set_at("x" * 10_000, to=1),
    "recipe that never ends": set_at("recipe", to="x" * 10_000),
    "parents are an object": set_at("parents", to={}),
    "parent is a path": set_at("parents", to=["../../etc"]),
    "manifest missing": lambda folder: (folder / "manifest.json").unlink(),
    "manifest empty": manifest_text(b""),
    "manifest is a list": manifest_text(b"[]"),
    "manifest deep as a well": manifest_text(b"[" * 100_000),
    "manifest not UTF-8": manifest_text(b"\xff\xfe{}"),
    "manifest over 4 MiB": manifest_text(b" " * (4 * 2**20 + 1)),
}
