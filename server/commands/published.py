"""`telos models import`: published weights as a checkpoint."""

import argparse
import sys
from pathlib import Path

from server.commands.errors import CommandError
from server.provenance import provenance

NEEDED = (
    "weights",
    "config",
    "out",
    "action_names",
    "action_units",
    "action_low",
    "action_high",
    "action_mean",
    "action_std",
    "dt_s",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "import",
        "Facts that published files leave out: the robot's actions, and the mean and deviation of each in the training "
        "data. Each option takes one value for each action of one control step.",
    )
    group.add_argument("--weights", type=Path, help="weights.pt")
    group.add_argument("--config", type=Path, help="config.json")
    group.add_argument("--out", type=Path, help="checkpoint folder to write; its name names the model")
    group.add_argument("--action-names", nargs="+", metavar="NAME", help="for example vx vy")
    group.add_argument("--action-units", nargs="+", metavar="UNIT", help="for example m/s m/s")
    for name, what in (("low", "lower limits"), ("high", "upper limits"), ("mean", "means"), ("std", "deviations")):
        group.add_argument(
            f"--action-{name}", nargs="+", type=float, metavar="X", help=f"{what}, in the units of the actions"
        )
    group.add_argument("--dt-s", type=float, help="seconds of one control step")
    group.add_argument(
        "--control-steps", type=int, default=5, help="control steps in one model step (default %(default)s)"
    )
    group.add_argument("--camera", default="camera", help="name of the camera (default %(default)s)")
    group.add_argument("--task", default="", help="environment in which it was trained, if Telos simulates it")


def run(arguments: argparse.Namespace) -> None:
    from worldmodel import ActionSpec, Published, import_lewm

    if arguments.name != "lewm":
        raise CommandError(
            f"telos models import {arguments.name or ''}: give the kind of published files, which is lewm"
        )
    if missing := [name for name in NEEDED if getattr(arguments, name) is None]:
        raise CommandError(f"import also needs {', '.join('--' + name.replace('_', '-') for name in missing)}")
    action = ActionSpec(
        names=tuple(arguments.action_names),
        units=tuple(arguments.action_units),
        low=tuple(arguments.action_low),
        high=tuple(arguments.action_high),
        dt_s=arguments.dt_s,
        control_steps=arguments.control_steps,
    )
    files = Published(
        weights=arguments.weights,
        config=arguments.config,
        action=action,
        action_mean=tuple(arguments.action_mean),
        action_std=tuple(arguments.action_std),
        camera=arguments.camera,
        task=arguments.task,
    )
    manifest = import_lewm(files, arguments.out, provenance())
    megabytes = manifest.weights.bytes / 1e6
    sys.stdout.write(f"wrote {arguments.out} ({megabytes:.1f} MB): telos models show {arguments.out.name}\n")
