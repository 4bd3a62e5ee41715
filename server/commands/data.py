"""`telos data`: import, export and preview of episodes."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from server.commands.errors import CommandError

if TYPE_CHECKING:
    from envs.interchange.action_limits import DatasetLimits
    from envs.interchange.source import Description, Source

FORMATS = ("lerobot", "hdf5")


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "data",
        help="import, export and preview episodes",
        description="Import recorded episodes into an episode store to train on, export a store for other libraries, "
        "or draw either. Layouts: LeRobotDataset v3 (a folder), and stable-worldmodel's HDF5 (a file).",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    _add_import(actions)
    _add_export(actions)
    _add_preview(actions)
    parser.set_defaults(run_command=run)


def _add_import(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser(
        "import",
        help="fill an episode store from recorded episodes",
        description="Read a LeRobotDataset v3 or an HDF5 file of stable-worldmodel into an episode store for telos "
        "train. Data that cannot be used is refused and never repaired; run again after an interruption to continue. "
        "Action limits that neither the data set nor you give are the recorded range. Ranges of vector sensors that "
        "the data set does not give are the recorded range, widened by 5 % of it at either end.",
    )
    parser.add_argument("source", type=Path, help="folder or file of the data set")
    parser.add_argument("--out", required=True, type=Path, help="folder of the store")
    _add_reading(parser)
    parser.add_argument("--image-size", type=int, default=64, help="pixels a side (default %(default)s)")
    for edge in ("low", "high"):
        help_text = f"{edge}est value of each action in its unit, or one number for all (default: the recorded one)"
        parser.add_argument(f"--action-{edge}", type=float, nargs="+", metavar="X", help=help_text)
    parser.add_argument(
        "--action-names", nargs="+", metavar="NAME", help="names of the actions (default: the data set's)"
    )
    parser.add_argument("--action-units", nargs="+", metavar="UNIT", help="for example rad m/s (default: unstated)")
    parser.add_argument(
        "--deltas",
        nargs="+",
        metavar="NAME",
        help="actions that are absolute positions, or all: store their changes from one control step to the next",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run_action=run_import)


def _add_export(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser(
        "export",
        help="write a store as a LeRobotDataset v3 or HDF5",
        description="Write a store for other libraries: --to lerobot makes a folder (pictures as H.264, numbers in "
        "float32), --to hdf5 a file of stable-worldmodel's layout (everything exact).",
    )
    parser.add_argument("store", type=Path, help="folder of the store")
    parser.add_argument("--to", required=True, choices=FORMATS, help="layout")
    parser.add_argument("--out", required=True, type=Path, help="folder or file to make")
    parser.set_defaults(run_action=run_export)


def _add_preview(actions: argparse._SubParsersAction) -> None:
    parser = actions.add_parser(
        "preview",
        help="draw some episodes of a store or of a data set",
        description="Write contact_sheet.png and episodes.webp of evenly spaced episodes: still from the first frame "
        "to the last, and in motion. Cameras are side by side, with vector sensors as curves under them.",
    )
    parser.add_argument("source", type=Path, help="store, or folder or file of a data set")
    parser.add_argument("--out", required=True, type=Path, help="folder for the pictures")
    parser.add_argument("--episodes", type=int, default=9, help="number of episodes to draw (default %(default)s)")
    _add_reading(parser)
    parser.set_defaults(run_action=run_preview)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cameras", nargs="+", metavar="NAME", help="main camera first (default: every camera)")
    parser.add_argument(
        "--vectors",
        nargs="+",
        metavar="NAME",
        help="columns of numbers that are sensors too, such as observation.state, or none (default: none; the vector "
        "sensors of an export of Telos)",
    )
    parser.add_argument(
        "--state",
        metavar="COLUMN",
        help="column that probes read from latents, or none (default: the layout's usual column, if it is there)",
    )
    parser.add_argument("--dt-s", type=float, help="seconds of a control step, for a layout that does not say")


def run(arguments: argparse.Namespace) -> None:
    try:
        import envs.interchange.opening  # noqa: F401
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is not installed; in the checkout: pip install '.[data]'") from error
    try:
        arguments.run_action(arguments)
    except (ValueError, RuntimeError, OSError) as error:
        raise CommandError(str(error)) from error


def run_import(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from envs.interchange.action_changes import ActionChanges
    from envs.interchange.importing import import_episodes
    from envs.interchange.stored_episodes import StoredEpisodes
    from worldmodel import SensorSpec

    source = _open(arguments)
    if isinstance(source, StoredEpisodes):
        raise CommandError(f"{arguments.source} is an episode store already: telos train --data {arguments.source}")
    if arguments.deltas is not None:
        source = ActionChanges(source, arguments.deltas)
    said = _described(arguments, source.description)
    size = arguments.image_size
    spec = SensorSpec(name=said.cameras[0], kind="camera", shape=(size, size, 3))
    with tqdm(total=len(source.lengths), unit="episode", disable=arguments.quiet) as bar:
        limits = import_episodes(
            source,
            arguments.out,
            description=said,
            limits=_limits(arguments, len(said.action_names)),
            fit=spec.reading,
            image_size=size,
            report=bar.update,
        )
    sensors = [f"camera {name!r}" for name in said.cameras] + [f"vector {each.name!r}" for each in said.vectors]
    sys.stdout.write(f"wrote {arguments.out}: {len(source.lengths)} episodes, {', '.join(sensors)}\n")
    for name, unit, low, high in zip(said.action_names, said.action_units, limits.low, limits.high, strict=True):
        sys.stdout.write(f"  {name} ({unit}): {low:g} to {high:g} ({limits.source})\n")


def run_export(arguments: argparse.Namespace) -> None:
    from envs.interchange.lerobot_writer import write_lerobot
    from envs.interchange.stored_episodes import StoredEpisodes
    from envs.interchange.world_model_hdf5 import write_world_model_hdf5

    write = {"lerobot": write_lerobot, "hdf5": write_world_model_hdf5}[arguments.to]
    source = StoredEpisodes(arguments.store)
    write(source, arguments.out)
    sys.stdout.write(f"wrote {arguments.out}: {len(source.lengths)} episodes\n")


def run_preview(arguments: argparse.Namespace) -> None:
    from envs.interchange.preview import animation, contact_sheet, glimpses

    if arguments.episodes < 1:
        raise CommandError(f"--episodes={arguments.episodes}; give at least 1")
    source = _open(arguments)
    shown = glimpses(source, arguments.episodes)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, draw in (("contact_sheet.png", contact_sheet), ("episodes.webp", animation)):
        (arguments.out / name).write_bytes(draw(shown, source.description.dt_s))
        sys.stdout.write(f"wrote {arguments.out / name}\n")


def _open(arguments: argparse.Namespace) -> "Source":
    from envs.interchange.opening import open_source

    return open_source(
        arguments.source,
        cameras=arguments.cameras,
        vectors=arguments.vectors,
        state=arguments.state,
        dt_s=arguments.dt_s,
    )


def _described(arguments: argparse.Namespace, said: "Description") -> "Description":
    """The data set's description, with the user's names and units of the actions."""
    names, units = arguments.action_names or said.action_names, arguments.action_units or said.action_units
    if len(names) != len(said.action_names):
        raise CommandError(
            f"--action-names has {len(names)} names for the {len(said.action_names)} actions {said.action_names}; give "
            "one for each"
        )
    return dataclasses.replace(said, action_names=names, action_units=units)


def _limits(arguments: argparse.Namespace, width: int) -> "DatasetLimits | None":
    from envs.interchange.action_limits import given_limits

    if arguments.action_low is None and arguments.action_high is None:
        return None
    if arguments.action_low is None or arguments.action_high is None:
        raise CommandError("only one of --action-low and --action-high was given; give both")
    return given_limits(arguments.action_low, arguments.action_high, width)
