"""`telos models`: lists, shows, verifies and imports checkpoints."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.commands import published
from server.commands.errors import CommandError
from server.settings import Settings

if TYPE_CHECKING:
    from worldmodel import Manifest


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "models",
        help="list, show, verify and import checkpoints",
        description="List the checkpoints of a folder, show a manifest, check every file's hash, or convert published "
        "files: telos models import lewm --weights weights.pt --config config.json --out FOLDER ... This reads files "
        "only; a running server lists its models at /v1/models.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "show", "verify", "import"), default="list")
    parser.add_argument(
        "name", nargs="?", help="model, by its folder (default: all); for import the kind of files, which is lewm"
    )
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"), help="folder (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    published.add_arguments(parser)
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    if arguments.action == "import":
        published.run(arguments)
        return
    folders = _folders(arguments.checkpoints, arguments.name)
    {"list": _list, "show": _show, "verify": _verify}[arguments.action](folders, arguments.json)


def _folders(checkpoints: Path, name: str | None) -> list[Path]:
    held = sorted(path.parent for path in checkpoints.glob("*/manifest.json"))
    found = [folder for folder in held if name in (None, folder.name)]
    if not found:
        if not held:
            raise CommandError(
                f"{checkpoints} has no checkpoint; wanted folders with a manifest.json: give --checkpoints"
            )
        raise CommandError(f"{checkpoints} has no model {name!r}; choose one of {', '.join(f.name for f in held)}")
    return found


def _list(folders: list[Path], as_json: bool) -> None:
    from worldmodel import read_manifest

    settings = Settings.from_environment(os.environ)
    lines = [_line(read_manifest(folder), settings) for folder in folders]
    if as_json:
        _print_json(lines)
        return
    for line in lines:
        sys.stdout.write(
            f"{line['name']:<16} version {line['version']}  {line['recipe']}  {line['task']}  "
            f"{line['megabytes']:.1f} MB  sensors {', '.join(line['sensors'])}  actions "
            f"{', '.join(line['actions']) or 'none'}  telos serve loads it in {line['precision']} on {line['device']}\n"
        )


def _line(manifest: "Manifest", settings: Settings) -> dict[str, Any]:
    """One entry of the list. `telos serve` would use this device and precision in the present environment."""
    return {
        "name": manifest.name,
        "version": manifest.version,
        "recipe": manifest.recipe,
        "task": manifest.task,
        "megabytes": manifest.weights.bytes / 1e6,
        "sensors": [sensor.name for sensor in manifest.sensors],
        "actions": _actions(manifest),
        "sha256": manifest.weights.sha256,
        "device": settings.device,
        "precision": settings.precision,
    }


def _actions(manifest: "Manifest") -> list[str]:
    """Names with units; empty for a model that only encodes."""
    action = manifest.action
    return [] if action is None else [f"{n} [{u}]" for n, u in zip(action.names, action.units, strict=True)]


def _show(folders: list[Path], as_json: bool) -> None:
    from worldmodel import read_manifest

    data = [json.loads(read_manifest(folder).to_json()) for folder in folders]
    if not as_json:
        for manifest in data:
            manifest["training"].pop("curves", None)
            (manifest["calibration"] or {}).pop("quantiles", None)
    _print_json(data[0] if len(data) == 1 else data)


def _verify(folders: list[Path], as_json: bool) -> None:
    from worldmodel import CheckpointError, verify_checkpoint

    results = []
    for folder in folders:
        try:
            manifest = verify_checkpoint(folder)
            results.append({"name": folder.name, "ok": True, "detail": f"SHA-256 {manifest.weights.sha256}"})
        except CheckpointError as error:
            results.append({"name": folder.name, "ok": False, "detail": str(error)})
    if as_json:
        _print_json(results)
    else:
        for result in results:
            sys.stdout.write(f"{'ok ' if result['ok'] else 'BAD'} {result['name']}: {result['detail']}\n")
    if not all(result["ok"] for result in results):
        raise CommandError("a checkpoint is not what its manifest says; restore it from where it came")


def _print_json(data: object) -> None:
    sys.stdout.write(json.dumps(data, indent=1) + "\n")
