"""`telos check`: whether pictures are like those that a model learned from, without a server."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.commands.errors import CommandError
from server.commands.progress import StageProgress

if TYPE_CHECKING:
    import numpy as np

    from worldmodel import Checkpoint, EpisodeStore, Manifest, SensorSpec

    Picture = np.ndarray[Any, np.dtype[np.uint8]]

REMEDIES: "Mapping[str, Callable[[Picture], Picture]]" = {
    "colour channels look swapped: send RGB, not BGR": lambda picture: picture[..., ::-1],
    "it looks upside down": lambda picture: picture[::-1],
    "it looks turned by 180 degrees": lambda picture: picture[::-1, ::-1],
    "it looks mirrored": lambda picture: picture[:, ::-1],
}
"""Hints for a picture that is much less novel after this change."""
MUCH_LESS = 0.75
"""A change explains a picture whose novelty it brings down to this share."""
BLANK_STD = 2.0
"""Standard deviation, of 256 levels, below which a picture counts as blank."""
MOST_EVER_UNLIKE = 0.5
"""A store of which more than this share is unlike training is off, however few episodes calibrated the model."""
MOST_UNLIKE = 0.01
"""Share of a store's readings that may be unlike training, or three times the false-alarm rate where that is more."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reading, and what is wrong with it."""

    place: str
    """image or goal"""
    sensor: str
    given: str
    """Size of a picture in px, or number of entries."""
    wanted: str
    novelty: float | None
    """None for a model that was not calibrated."""
    problems: tuple[str, ...]
    """Findings, each with its remedy."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "check",
        help="say whether pictures are like those that a model learned from",
        description="Hold pictures of your robot against those that a model learned from: size, aspect ratio, novelty "
        "(above 1: unlike training) and goal distance. Needs no server. Exit code 1: something is off.",
    )
    parser.add_argument("--model", required=True, help="name of a checkpoint, for example tworoom-lewm")
    for place, what in (("image", "sees now"), ("goal", "should see")):
        parser.add_argument(
            f"--{place}",
            action="append",
            default=[],
            metavar="SENSOR=FILE",
            help=f"what a camera {what}, for example front={place}.png; a vector as arm=0.1,0.2; may be given "
            "several times",
        )
    parser.add_argument("--data", type=Path, metavar="STORE", help="episode store: what share of it is unlike training")
    parser.add_argument(
        "--calibrate",
        nargs="+",
        type=Path,
        metavar="STORE",
        help="learn anew from these episodes what is normal, and write it beside the weights, which stay as they are: "
        "for a model without a calibration; of normal recordings that look as training did",
    )
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> int:
    """The exit code: 1 when something is off."""
    from worldmodel import load_checkpoint

    if not (arguments.image or arguments.goal or arguments.data or arguments.calibrate):
        raise CommandError("nothing to check; give --image, --goal, --data or --calibrate")
    folder = arguments.checkpoints / arguments.model
    if arguments.calibrate:
        _calibrate(folder, arguments)
    checkpoint = load_checkpoint(folder)
    readings = {place: _readings(getattr(arguments, place), place, checkpoint) for place in ("image", "goal")}
    findings = [
        _finding(checkpoint, place, checkpoint_sensor(checkpoint, name), value)
        for place, values in readings.items()
        for name, value in values.items()
    ]
    shares = {} if arguments.data is None else unlike_shares(checkpoint, _store([arguments.data], checkpoint.manifest))
    distance = goal_distance(checkpoint, readings["image"], readings["goal"])
    result = _result(checkpoint, findings, shares, distance)
    sys.stdout.write(json.dumps(result, indent=1) + "\n" if arguments.json else _text(checkpoint, result))
    return 0 if result["ok"] else 1


def checkpoint_sensor(checkpoint: "Checkpoint", name: str) -> "SensorSpec":
    """The model's sensor of that name. Raises CommandError."""
    known = {spec.name: spec for spec in checkpoint.manifest.sensors}
    if name not in known:
        raise CommandError(f"{checkpoint.manifest.name} has no sensor {name!r}; it has {', '.join(known)}")
    return known[name]


def unlike_shares(checkpoint: "Checkpoint", store: "EpisodeStore") -> dict[str, float]:
    """By sensor, the share of a store's readings whose novelty exceeds 1. Raises CommandError without a calibration."""
    import torch

    from worldmodel import ObservationBatch, stored_readings

    if checkpoint.novelty is None:
        raise CommandError(f"{checkpoint.manifest.name} was not calibrated; telos check --calibrate STORE does it")
    found = [checkpoint.novelty.of(ObservationBatch(stored_readings(store, each))) for each in store.episodes]
    return {name: float((torch.cat([each[name] for each in found]) > 1).float().mean()) for name in found[0]}


def goal_distance(
    checkpoint: "Checkpoint", now: Mapping[str, "np.ndarray"], goal: Mapping[str, "np.ndarray"]
) -> float | None:
    """Latent distance, as a plan says it; None where a sensor is missing, or the model does not plan."""
    from planner.costs import SquaredDistance
    from server.engine.planning import encode_frame

    names, planning = {spec.name for spec in checkpoint.manifest.sensors}, checkpoint.manifest.planning
    if planning is None or not names == set(now) == set(goal):
        return None
    seen, wanted = (encode_frame(checkpoint, each).tokens[0] for each in (now, goal))
    return float(SquaredDistance(planning.goal_distance_scale)(seen[None, None], wanted))


def _calibrate(folder: Path, arguments: argparse.Namespace) -> None:
    """Needs the manifest alone, so that a broken calibration can be replaced."""
    from worldmodel import calibrate_on, read_manifest, save_novelty

    manifest = read_manifest(folder)
    store = _store(arguments.calibrate, manifest)
    with StageProgress(arguments.quiet) as progress:
        spec = save_novelty(folder, calibrate_on(store, manifest.sensors, progress)).novelty
    assert spec is not None  # it was just written
    sys.stderr.write(
        f"calibrated on {spec.episodes} episodes: at most {spec.false_alarm_rate:.2%} "
        "of normal readings exceed 1; K episodes promise 1 / (K + 1), down to 0.1 %\n"
    )


def _store(folders: Sequence[Path], manifest: "Manifest") -> "EpisodeStore":
    from worldmodel import EpisodeStore

    sensors = manifest.sensors
    store = EpisodeStore(*folders, sensors=[spec.name for spec in sensors])
    for mine, theirs in zip(sensors, store.sensors, strict=True):
        if mine.shape != theirs.shape:
            raise CommandError(
                f"{theirs.name} of {store.name} has shape {list(theirs.shape)}, the model's has {list(mine.shape)}; "
                "collect or import it in that size"
            )
    return store


def _readings(given: Sequence[str], place: str, checkpoint: "Checkpoint") -> dict[str, "np.ndarray"]:
    """By sensor: pictures as their files have them, and a vector's numbers. Raises CommandError."""
    found: dict[str, np.ndarray] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name in found:
            raise CommandError(f"--{place} {text!r}; give SENSOR=FILE, each sensor once")
        camera = checkpoint_sensor(checkpoint, name).kind == "camera"
        found[name] = _picture(Path(value)) if camera else _numbers(value)
    return found


def _picture(path: Path) -> "np.ndarray":
    """Pixels of a file, under the checks of the server. Raises CommandError."""
    from server.engine.images import check_image, decode_image
    from server.errors import ServiceError
    from server.settings import Settings
    from telos.images import sniff_format

    settings = Settings()
    if not path.is_file():
        raise CommandError(f"{path} is not a file; give a PNG, JPEG or WebP picture")
    size, most = path.stat().st_size, settings.max_image_bytes
    if size > most:
        raise CommandError(f"{path} has {size} bytes; the server takes {most} at most")
    data = path.read_bytes()
    try:
        return decode_image(check_image(data, sniff_format(data), str(path), settings))
    except ValueError:
        raise CommandError(f"{path} is not a PNG, JPEG or WebP picture") from None
    except ServiceError as error:
        raise CommandError(f"the server refuses {path}: {error.errors[0].reason}") from error


def _numbers(text: str) -> "np.ndarray":
    import numpy as np

    try:
        return np.asarray([float(each) for each in text.split(",")])
    except ValueError:
        raise CommandError(f"{text!r} is no list of numbers; wanted some such as 0.1,0.2") from None


def _finding(checkpoint: "Checkpoint", place: str, spec: "SensorSpec", value: "np.ndarray") -> Finding:
    from worldmodel import SensorError

    try:
        novelty, problems = _novelty(checkpoint, spec, value), list(_looks(spec, value))
    except SensorError as error:
        novelty, problems = None, [error.reason]
    if novelty is not None and novelty > 1:
        problems += ["unlike training", *_remedies(checkpoint, spec, value, novelty)]
    camera = spec.kind == "camera"
    return Finding(
        place=place,
        sensor=spec.name,
        given=_size(value) if camera else f"{value.size} numbers",
        wanted=f"{spec.shape[1]} x {spec.shape[0]} px" if camera else f"{spec.size} numbers",
        novelty=novelty,
        problems=tuple(problems),
    )


def _size(picture: "np.ndarray") -> str:
    return f"{picture.shape[1]} x {picture.shape[0]} px"


def _novelty(checkpoint: "Checkpoint", spec: "SensorSpec", value: "np.ndarray") -> float | None:
    """Raises SensorError for a reading that the model refuses."""
    import torch

    reading = torch.tensor(spec.reading(value))[None]
    return None if checkpoint.novelty is None else float(checkpoint.novelty.of_sensor(spec, reading))


def _looks(spec: "SensorSpec", value: "np.ndarray") -> "list[str]":
    """Findings from a picture's size and contrast."""
    from server.engine.input_warnings import ASPECT_TOLERANCE, shape_of

    if spec.kind != "camera":
        return []
    found = []
    if spec.aspect_change(value.shape[1], value.shape[0]) > ASPECT_TOLERANCE:
        found.append(f"aspect changed: the model learned from pictures of {shape_of(spec)}; crop it to that shape")
    if value.std() < BLANK_STD:
        found.append("it is blank: look at the camera and its exposure")
    return found


def _remedies(checkpoint: "Checkpoint", spec: "SensorSpec", value: "np.ndarray", novelty: float) -> list[str]:
    """The change that makes a novel picture most familiar, where one does by much."""
    if spec.kind != "camera":
        return []
    changed = {remedy: _novelty(checkpoint, spec, change(value)) or 0.0 for remedy, change in REMEDIES.items()}
    best = min(changed, key=changed.__getitem__)
    return [best] if changed[best] < MUCH_LESS * novelty else []


def _result(
    checkpoint: "Checkpoint", findings: list[Finding], shares: dict[str, float], distance: float | None
) -> dict[str, Any]:
    spec = checkpoint.manifest.novelty
    rate = None if spec is None else spec.false_alarm_rate
    most = MOST_UNLIKE if rate is None else min(max(MOST_UNLIKE, 3 * rate), MOST_EVER_UNLIKE)
    return {
        "model": checkpoint.manifest.name,
        "false_alarm_rate": rate,
        "readings": [dataclasses.asdict(each) for each in findings],
        "unlike_shares": shares,
        "goal_distance": distance,
        "ok": not any(each.problems for each in findings) and all(share <= most for share in shares.values()),
    }


def _text(checkpoint: "Checkpoint", result: dict[str, Any]) -> str:
    lines = [_line(each) for each in result["readings"]]
    lines += [f"{name}: {share:.2%} of the store is unlike training" for name, share in result["unlike_shares"].items()]
    if result["goal_distance"] is not None:
        lines.append(f"goal distance {result['goal_distance']:.3f}; 1 is that of unrelated frames")
    spec = checkpoint.manifest.novelty
    if spec is not None:
        lines.append(
            f"novelty was calibrated on {spec.episodes} episodes: up to {spec.false_alarm_rate:.1%} of normal readings "
            "exceed 1"
        )
    else:
        lines.append("novelty was not calibrated, so only sizes are checked: telos check --calibrate STORE")
    return "".join(line + "\n" for line in [*lines, "ok" if result["ok"] else "something is off"])


def _line(reading: dict[str, Any]) -> str:
    novelty = "" if reading["novelty"] is None else f", novelty {reading['novelty']:.2f}"
    verdict = "; ".join(reading["problems"]) or "ok"
    return (
        f"{reading['place']} {reading['sensor']}: {reading['given']} (model: {reading['wanted']}){novelty}: {verdict}"
    )
