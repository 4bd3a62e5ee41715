"""`telos collect`: episodes of a simulated task, written into a store."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from server.commands.errors import CommandError

if TYPE_CHECKING:
    from envs.driver import Driver
    from envs.randomisation import Randomisation
    from envs.variation import Variation

ENVIRONMENTS = ("telos/TwoRoom-v0", "telos/Reacher-v0", "telos/PushT-v0", "telos/Cube-v0")
"""The environments of Telos, for the help text: importing `envs` to list them would slow down every command."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "collect",
        help="collect episodes in simulation",
        description="Collect episodes of noisy experts and random actions into an episode store (HDF5 shards). "
        "The same arguments give the same episodes; run again after an interruption to continue.",
    )
    parser.add_argument("--env", required=True, metavar="ID", help=f"environment: {', '.join(ENVIRONMENTS)}")
    parser.add_argument("--out", required=True, type=Path, help="folder of the store")
    parser.add_argument("--episodes", type=int, default=4000, help="episodes in all (default %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="control steps an episode (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="data seed (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="parallel processes (default %(default)s)")
    parser.add_argument("--image-size", type=int, default=64, help="pixels a side (default %(default)s)")
    parser.add_argument(
        "--sensors",
        metavar="NAMES",
        help="sensors of the environment to store, for example front,wrist,proprioception (default: the main camera)",
    )
    parser.add_argument(
        "--variation",
        choices=("nominal", "random"),
        default="nominal",
        help="random draws every factor (colours, light, camera, friction, sizes) anew for each episode "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--vary", metavar="NAMES", help="draw only these factors, for example light,camera or agent_rgb,floor_rgb"
    )
    parser.add_argument(
        "--varied-share",
        type=float,
        default=1.0,
        help="share of the episodes in which --vary draws factors (default %(default)s)",
    )
    parser.add_argument(
        "--twins",
        metavar="NAMES",
        help="draw every frame a second time, with some of these factors drawn anew: a model trained with "
        "--set twin_weight=1 learns that both show the same state; looks stands for all colours and lights",
    )
    parser.add_argument(
        "--lapses",
        type=float,
        default=0.0,
        metavar="PROBABILITY",
        help="probability, at each step, that the policy acts at random for 1 to 10 steps: planners try actions that "
        "experts do not (default %(default)s)",
    )
    parser.add_argument(
        "--plan-with",
        type=Path,
        metavar="CHECKPOINT",
        help="trained model of this task, whose plans drive --planned-share of the episodes; when it is trained on "
        "them, it learns where its plans were wrong",
    )
    parser.add_argument(
        "--planned-share",
        type=float,
        default=0.5,
        help="share of episodes that --plan-with drives (default %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run_command=run)


def _randomisation(arguments: argparse.Namespace) -> "Randomisation | None":
    """Factors to vary. Raises ValueError for an unknown environment or factor."""
    from envs import env_class
    from envs.randomisation import Randomisation

    if arguments.vary is None and arguments.twins is None:
        return None
    known = env_class(arguments.env).variation_class
    factors, twins = (_factors(known, names) for names in (arguments.vary, arguments.twins))
    return Randomisation(factors=factors, twins=twins, share=arguments.varied_share)


def _factors(known: "type[Variation]", names: str | None) -> tuple[str, ...]:
    if not names:
        return ()
    given = [each for name in names.split(",") for each in (known.looks() if name == "looks" else (name,))]
    return known.factors(given)


def _sensor_names(arguments: argparse.Namespace) -> tuple[str, ...] | None:
    return None if arguments.sensors is None else tuple(arguments.sensors.split(","))


def _driver(arguments: argparse.Namespace) -> "Driver | None":
    """The trained model that drives some episodes. Raises ValueError, CheckpointError."""
    if arguments.plan_with is None:
        return None
    from server.planned_policy import plans_of

    return plans_of(
        arguments.plan_with, arguments.env, arguments.image_size, arguments.planned_share, _sensor_names(arguments)
    )


def run(arguments: argparse.Namespace) -> None:
    from envs.collect import collect
    from envs.collect_config import CollectConfig
    from server.commands.graphics import check_graphics

    check_graphics()
    try:
        collect(
            CollectConfig(
                env_id=arguments.env,
                episodes=arguments.episodes,
                steps=arguments.steps,
                seed=arguments.seed,
                image_size=arguments.image_size,
                sensor_names=_sensor_names(arguments),
                variation=arguments.variation,
                randomisation=_randomisation(arguments),
                lapses=arguments.lapses,
                driver=_driver(arguments),
            ),
            arguments.out,
            workers=arguments.workers,
            progress=not arguments.quiet,
        )
    except (ValueError, RuntimeError) as error:
        raise CommandError(str(error)) from error
