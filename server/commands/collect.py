"""`telos collect`: episodes of a simulated task into a store."""

import argparse
from pathlib import Path

from server.commands.errors import CommandError


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "collect",
        help="collect episodes in simulation",
        description="Collect episodes of noisy experts and random actions into an episode store (HDF5 shards). "
        "The same arguments give the same episodes; run again after an interruption to go on.",
    )
    parser.add_argument("--env", required=True, help="environment, for example telos/TwoRoom-v0")
    parser.add_argument("--out", required=True, type=Path, help="folder of the store")
    parser.add_argument("--episodes", type=int, default=4000, help="episodes in all (default %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="control steps an episode (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="data seed (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="parallel processes (default %(default)s)")
    parser.add_argument("--image-size", type=int, default=64, help="pixels a side (default %(default)s)")
    parser.add_argument(
        "--variation",
        choices=("nominal", "random"),
        default="nominal",
        help="draw colours, light, camera, friction and sizes anew for each episode (default %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run_command=run)


def run(arguments: argparse.Namespace) -> None:
    from envs.collect import collect
    from server.graphics import check_graphics

    check_graphics()
    try:
        collect(
            arguments.env,
            arguments.out,
            episodes=arguments.episodes,
            steps=arguments.steps,
            seed=arguments.seed,
            workers=arguments.workers,
            image_size=arguments.image_size,
            variation=arguments.variation,
            progress=not arguments.quiet,
        )
    except (ValueError, RuntimeError) as error:
        raise CommandError(str(error)) from error
