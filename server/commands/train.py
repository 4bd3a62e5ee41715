"""`telos train`: a world model from an episode store."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.commands.errors import CommandError
from server.commands.progress import StageProgress
from server.provenance import provenance

if TYPE_CHECKING:
    from worldmodel import Origin, Tolerance

NO_GOAL = "none"
"""As --goal: no feature counts."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        help="train a world model from collected episodes",
        description="Train a world model, learn its steps to go and task distance, calibrate its surprise and novelty, "
        "and write a checkpoint. The state is saved every half minute; the same command goes on after an interruption. "
        "Several GPUs, or with --device cpu several processes, share out each batch when torchrun starts it: "
        "torchrun --nproc-per-node 2 -m server.cli train ...",
    )
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        type=Path,
        help="episode store, as made by telos collect, or several of the same robot, whose episodes count alike",
    )
    parser.add_argument(
        "--sensors",
        type=lambda names: names.split(","),
        metavar="NAMES",
        help="sensors of the store that the model gets, a camera first, for example front,wrist,proprioception "
        "(default: all)",
    )
    parser.add_argument("--out", required=True, type=Path, help="checkpoint folder to write; its name names the model")
    parser.add_argument("--run", type=Path, help="folder of the training state (default: runs/NAME)")
    parser.add_argument("--recipe", help="JEPA recipe (default lewm)")
    parser.add_argument(
        "--preset", help="size of the model: small, paper, or tiny for trying commands out (default small)"
    )
    parser.add_argument(
        "--start-from",
        type=Path,
        metavar="CHECKPOINT",
        help="go on from a trained model's weights, with its recipe and settings, instead of random ones",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="another value for a setting of the recipe, such as smoothness_weight=0 or predictor.depth=4; "
        "may be given several times",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=5000,
        help="optimiser steps (default %(default)s); 0 keeps the weights of --start-from, and on this data learns "
        "the distances and inverse dynamics, calibrates and probes",
    )
    parser.add_argument(
        "--predictor-steps",
        type=int,
        default=0,
        help="then so many steps of the predictor alone, on the latents of the frozen encoder (default %(default)s)",
    )
    parser.add_argument(
        "--goal",
        action="append",
        type=_tolerance,
        metavar="FEATURE[,FEATURE...]=TOLERANCE",
        help="what counts of a goal, and how near it must be, of the features in the episode store: the model learns a "
        "task distance from it; may be given several times; none is for a model that knows pixels and actions only "
        "(default: what the store's environment says)",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=1e-3,
        help="the highest; of the predictor alone too (default %(default)s)",
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=128,
        help="clips a step (default %(default)s); of the predictor alone, twice as many",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and directions (default %(default)s)")
    parser.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="auto measures both (default)"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto takes a GPU where there is one (default)",
    )
    parser.add_argument(
        "--readers", type=int, help="processes that read batches (default: a thread on a CPU, up to 8 on a GPU)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print the manifest's training record as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run_command=run)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no setting; wanted NAME=VALUE, such as smoothness_weight=0")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _tolerance(text: str) -> tuple[tuple[str, ...], float] | None:
    if text == NO_GOAL:
        return None
    names, _, within = text.partition("=")
    try:
        return tuple(names.split(",")), float(within)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no tolerance; wanted FEATURE[,FEATURE...]=TOLERANCE, such as cube_x,cube_y,cube_z=0.04, or "
            f"{NO_GOAL}"
        ) from None


def run(arguments: argparse.Namespace) -> None:
    import torch

    from server.film.curves import plot_curves
    from worldmodel import EpisodeStore, FitConfig, HeadsConfig, PredictorTraining, TrainingConfig, TrainingError, fit

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    try:
        training = TrainingConfig(
            steps=arguments.steps,
            batch=arguments.batch,
            learning_rate=arguments.learning_rate,
            seed=arguments.seed,
        )
        predictor = PredictorTraining(
            steps=arguments.predictor_steps, batch=2 * arguments.batch, learning_rate=arguments.learning_rate
        )
        origin = _origin(arguments)
    except ValueError as error:
        raise CommandError(str(error)) from error
    store = EpisodeStore(*arguments.data, sensors=arguments.sensors)
    config = FitConfig(
        origin=origin,
        training=training,
        precision=arguments.precision,
        device=arguments.device,
        readers=arguments.readers,
        predictor=predictor,
        heads=HeadsConfig(goal=goal_tolerances(arguments, store.description.get("env_id", ""))),
    )
    record = {**provenance(), "data": store.descriptions}
    with StageProgress(arguments.quiet) as progress:
        run_folder = arguments.run or Path("runs") / arguments.out.name
        try:
            manifest = fit(store, config, run_folder, arguments.out, record, progress)
        except TrainingError as error:
            raise CommandError(str(error)) from error
    if manifest is None:  # the first process writes
        return
    if arguments.steps:
        curves = plot_curves(manifest.name, manifest.training["curves"], manifest.training["learned_size"])
        (arguments.out / "curves.png").write_bytes(curves)
    for alarm in manifest.training["alarms"]:
        sys.stderr.write(f"alarm: {alarm}\n")
    if arguments.json:
        json.dump(dataclasses.asdict(manifest)["training"], sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(f"wrote {arguments.out}: telos models show {arguments.out.name}\n")


def _origin(arguments: argparse.Namespace) -> "Origin":
    from worldmodel import Origin

    changes = dict(arguments.set)
    if arguments.start_from is None:
        if arguments.steps == 0:
            raise CommandError("0 steps leave a model as it is; say which with --start-from, or give more steps")
        return Origin.of_preset(arguments.recipe or "lewm", arguments.preset or "small", changes)
    if arguments.recipe or arguments.preset:
        raise CommandError("--start-from brings its recipe and settings; leave out --recipe and --preset")
    return Origin.of_checkpoint(arguments.start_from, changes)


def goal_tolerances(arguments: argparse.Namespace, env_id: str) -> "tuple[Tolerance, ...]":
    """As asked for, or as the environment that the episodes are of has it."""
    from envs import ENVS
    from worldmodel import Tolerance

    if arguments.goal == [None]:
        return ()
    if None in (arguments.goal or ()):
        raise CommandError(f"--goal {NO_GOAL} stands alone; leave it out, or the other goals")
    default = ENVS[env_id].goal_tolerances.items() if env_id in ENVS else ()
    try:
        return tuple(Tolerance(features=names, within=within) for names, within in arguments.goal or default)
    except ValueError as error:
        raise CommandError(f"--goal: {error}") from error
