"""The command `telos`."""

import argparse
import sys

from server.commands import benchmark, check, collect, compare, data, demo, evaluate, models, replay, serve, train
from server.commands.errors import CommandError
from server.settings import SettingsError
from telos import __version__
from worldmodel import CheckpointError, DatasetError

COMMANDS = (collect, data, train, check, evaluate, compare, serve, models, demo, benchmark, replay)
EXTRAS = {"collect": "sim", "data": "data", "evaluate": "sim", "demo": "sim", "replay": "server,record"}
"""Extras that a command needs; a command that is not listed needs `server`."""
_OWN_PACKAGES = frozenset({"telos", "worldmodel", "planner", "envs", "server"})


def main(argv: list[str] | None = None) -> int:
    """Run one command. A user's mistake gives one line on stderr and exit code 2; a command may return another code."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run_command(arguments) or 0
    except (CommandError, SettingsError, CheckpointError, DatasetError) as error:
        return _fail(arguments.command, str(error), 2)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in _OWN_PACKAGES:
            raise
        return _fail(arguments.command, _missing(error.name, arguments.command), 2)
    except KeyboardInterrupt:
        return _fail(arguments.command, "interrupted", 130)


def _fail(command: str, message: str, code: int) -> int:
    sys.stderr.write(f"telos {command}: {message}\n")
    return code


def _missing(module: str, command: str) -> str:
    extra = EXTRAS.get(command, "server")
    ways = f"pip install '.[{extra}]' in a checkout, or 'WHEEL_FILE[{extra}]'"
    return f"{module} is not installed; this command needs the extra `{extra}`: {ways}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="telos",
        description="Plan actions for robots with world models that are trained on what their sensors see.",
    )
    parser.add_argument("--version", action="version", version=f"telos {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
