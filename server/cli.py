"""The command `telos`."""

import argparse
import sys

from server.commands import benchmark, collect, compare, data, demo, evaluate, models, replay, serve, train
from server.commands.errors import CommandError
from server.settings import SettingsError
from worldmodel.errors import CheckpointError, DatasetError

COMMANDS = (collect, data, train, evaluate, compare, serve, models, demo, benchmark, replay)


def main(argv: list[str] | None = None) -> int:
    """Run one command; a user's mistake ends with one clear line and exit code 2."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run_command(arguments)
    except (CommandError, SettingsError, CheckpointError, DatasetError) as error:
        sys.stderr.write(f"telos {arguments.command}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"telos {arguments.command}: interrupted\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="telos", description="Plans for robots from pixels, with latent world models, proven in MuJoCo."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
