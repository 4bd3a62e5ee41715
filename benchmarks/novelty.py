"""Detection and false-alarm rates of a model's novelty on wrong and right pictures.

    python benchmarks/novelty.py --model cube-lewm --data data/cube-fresh --other data/pusht-fresh \\
        --out benchmarks/results/novelty.json

`--data` are fresh episodes of the model's task, collected as its training's were, with another seed; `--other` are of
another task. Each model's result goes into the same file, beside the others'.
"""

import argparse
import io
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from server.evaluation.statistics import ci95
from server.provenance import provenance
from worldmodel import Checkpoint, EpisodeStore, ObservationBatch, SensorSpec, load_checkpoint, stored_readings

BLUR_SHARE = 0.05
"""Standard deviation of a strong blur, as a share of a picture's side."""
JPEG_QUALITY = 75
REPEATS = 200

Change = Callable[[np.ndarray], np.ndarray]
"""One picture uint8 [h w 3] to another."""


def squeezed(picture: np.ndarray) -> np.ndarray:
    """The middle three quarters of the height, as if a 4 : 3 picture had been squeezed into a square."""
    side = len(picture)
    middle = Image.fromarray(picture[side // 8 : side - side // 8])
    return np.asarray(middle.resize((side, side), Image.Resampling.BILINEAR))


def blurred(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(BLUR_SHARE * len(picture))))


def as_jpeg(picture: np.ndarray) -> np.ndarray:
    """With half the resolution of colours, as most cameras' JPEG has."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="jpeg", quality=JPEG_QUALITY)
    return np.asarray(Image.open(file))


WRONG: dict[str, Change] = {
    "bgr": lambda picture: picture[..., ::-1],
    "black": np.zeros_like,
    "white": lambda picture: np.full_like(picture, 255),
    "squeezed 4:3": squeezed,
    "upside down": lambda picture: picture[::-1],
    "turned 180 degrees": lambda picture: picture[::-1, ::-1],
    "strong blur": blurred,
}


def pictures(store: EpisodeStore, camera: str, twins: bool = False) -> np.ndarray:
    """uint8 [n h w 3], evenly spaced in every episode."""
    return torch.cat([stored_readings(store, each, twins)[camera] for each in store.episodes]).numpy()


def unlike(checkpoint: Checkpoint, sensor: SensorSpec, shown: np.ndarray) -> dict[str, Any]:
    """The share of pictures whose novelty exceeds 1, with its interval."""
    assert checkpoint.novelty is not None
    novelty = checkpoint.novelty.of_sensor(sensor, torch.from_numpy(np.ascontiguousarray(shown)))
    found = int((novelty > 1).sum())
    return {
        "share": found / len(shown),
        "ci95": list(ci95(found, len(shown))),
        "frames": len(shown),
        "median_novelty": round(float(novelty.median()), 3),
    }


def measured(checkpoint: Checkpoint, sensor: SensorSpec, store: EpisodeStore, other: EpisodeStore) -> dict[str, Any]:
    """Everything about one camera."""
    right = pictures(store, sensor.name)
    wrong = {name: np.stack([change(picture) for picture in right]) for name, change in WRONG.items()}
    wrong["another task"] = pictures(other, other.sensors[0].name)
    jpeg = np.stack([as_jpeg(picture) for picture in right])
    looks = {"trained looks": pictures(store, sensor.name, twins=True)} if store.has_twins else {}
    return {
        "false_alarms": {
            n: unlike(checkpoint, sensor, each) for n, each in ({"normal": right, "as jpeg": jpeg} | looks).items()
        },
        "detected": {name: unlike(checkpoint, sensor, each) for name, each in wrong.items()},
    }


def cpu_ms(checkpoint: Checkpoint, store: EpisodeStore) -> float:
    """CPU time that the novelty of one frame takes, all sensors together."""
    assert checkpoint.novelty is not None
    frame = ObservationBatch({name: each[:1] for name, each in stored_readings(store, store.episodes[0]).items()})
    began = time.process_time()
    for _ in range(REPEATS):
        checkpoint.novelty.of(frame)
    return round(1e3 * (time.process_time() - began) / REPEATS, 3)


def result_of(checkpoint: Checkpoint, store: EpisodeStore, other: EpisodeStore) -> dict[str, Any]:
    """Rates of one model."""
    manifest = checkpoint.manifest
    assert manifest.novelty is not None
    cameras = [sensor for sensor in manifest.sensors if sensor.kind == "camera"]
    return {
        "command": shlex.join(["python", "benchmarks/novelty.py", *sys.argv[1:]]),
        "weights_sha256": manifest.weights.sha256,
        "novelty_sha256": manifest.novelty.sha256,
        "promised_false_alarm_rate": manifest.novelty.false_alarm_rate,
        "calibration_episodes": manifest.novelty.episodes,
        "cpu_ms_per_frame": cpu_ms(checkpoint, store),
        "cameras": {sensor.name: measured(checkpoint, sensor, store, other) for sensor in cameras},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name of a checkpoint whose novelty was calibrated")
    parser.add_argument("--data", required=True, type=Path, help="store of fresh episodes of the task")
    parser.add_argument("--other", required=True, type=Path, help="store of another task")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder (default %(default)s)")
    parser.add_argument("--out", required=True, type=Path, help="JSON file, which may hold other models")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(arguments.checkpoints / arguments.model)
    store = EpisodeStore(arguments.data, sensors=[sensor.name for sensor in checkpoint.manifest.sensors])
    found = {**provenance(), **result_of(checkpoint, store, EpisodeStore(arguments.other))}
    known = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    arguments.out.write_text(json.dumps({**known, arguments.model: found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
