"""`telos train`: trains a world model on an episode store."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from server.commands.errors import CommandError
from server.commands.progress import StageProgress
from server.provenance import provenance

if TYPE_CHECKING:
    from worldmodel import EpisodeStore, FitConfig, Origin, Tolerance

NO_GOAL = "none"
"""The value of --goal for a model without a task distance."""
STEPS = 5000
FRAMES_A_QUICK_STEP = 10
LEAST_QUICK_STEPS, MOST_QUICK_STEPS = 10, 300
HEAD_STEPS_A_QUICK_STEP = 5
BATCH, QUICK_BATCH = 128, 64
MOST_SEED = 2**32 - 1


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "train",
        help="train a world model from collected episodes",
        description="Train a world model, train its heads (steps to go, inverse dynamics, task distance), calibrate "
        "its surprise and novelty, and write a checkpoint. The expected duration is printed first. The state is saved "
        "every half minute; the same command continues after an interruption. torchrun shares each batch among several "
        "GPUs, or several processes with --device cpu: torchrun --nproc-per-node 2 -m server.cli train ...",
    )
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        type=Path,
        help="episode store made by telos collect or telos data import, or several of the same robot",
    )
    parser.add_argument(
        "--sensors",
        type=lambda names: names.split(","),
        metavar="NAMES",
        help="sensors of the store that the model uses, a camera first, for example front,wrist,proprioception "
        "(default: all)",
    )
    parser.add_argument("--out", required=True, type=Path, help="checkpoint folder to write; its name names the model")
    parser.add_argument("--run", type=Path, help="folder of the training state (default: runs/NAME)")
    parser.add_argument(
        "--recipe",
        help="world models lewm (default) and pldm, the policy gcbc, the control random-encoder, or an encoder alone, "
        "without actions: ijepa, vjepa, vjepa2 or vjepa2-1",
    )
    parser.add_argument(
        "--preset",
        help="size of the model: small (default), tiny (learns next to nothing), or as published: paper, and for "
        "encoders alone vit-b16, vit-l16, vit-h14, vit-h16, vit-g16 or vit-gg16",
    )
    parser.add_argument(
        "--start-from",
        type=Path,
        metavar="CHECKPOINT",
        help="begin with a trained model's weights, recipe and settings instead of random weights",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="change a setting of the recipe, for example smoothness_weight=0 or predictor.depth=4; may be given "
        "several times",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"a first model in minutes: {LEAST_QUICK_STEPS} to {MOST_QUICK_STEPS} steps (one for every "
        f"{FRAMES_A_QUICK_STEP} frames of --data) of {QUICK_BATCH} clips, and {HEAD_STEPS_A_QUICK_STEP} times as many "
        "for each head. It can be served, so that everything else can be tried, but it predicts and plans worse than "
        "after a whole training: expect alarms at the end, and train again without --quick before a robot follows it",
    )
    parser.add_argument(
        "--steps",
        type=int,
        help=f"optimiser steps of the world model (default {STEPS}, fewer with --quick); 0 keeps the weights of "
        "--start-from and only trains its heads, calibrates and probes on this data",
    )
    parser.add_argument(
        "--head-steps",
        type=int,
        metavar="STEPS",
        help="optimiser steps of each head, whatever --steps is (default: 4000 for inverse dynamics, 6000 for the "
        "others, fewer with --quick)",
    )
    parser.add_argument(
        "--predictor-steps",
        type=int,
        default=0,
        help="further optimiser steps of the predictor alone, on latents of the frozen encoder (default %(default)s)",
    )
    parser.add_argument(
        "--goal",
        action="append",
        type=_tolerance,
        metavar="FEATURE[,FEATURE...]=TOLERANCE",
        help="features of the episode store that a goal is judged by, and how near they must be: the model learns a "
        "task distance from them; may be given several times; none trains a model that knows pixels and actions only "
        "(default: those of the store's environment)",
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=1e-3,
        help="highest learning rate, for the predictor alone too (default %(default)s)",
    )
    parser.add_argument(
        "--batch",
        type=int,
        help=f"clips of a step (default {BATCH}, {QUICK_BATCH} with --quick); twice as many for the predictor alone",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the weights, the batches and the held-out episodes (default %(default)s)",
    )
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
    parser.add_argument("--quiet", action="store_true", help="no estimate of the duration and no progress bars")
    parser.set_defaults(run_command=run)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a setting; wanted NAME=VALUE, for example smoothness_weight=0"
        )
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
            f"{text!r} is not a tolerance; wanted FEATURE[,FEATURE...]=TOLERANCE, for example "
            f"cube_x,cube_y,cube_z=0.04, or {NO_GOAL}"
        ) from None


def run(arguments: argparse.Namespace) -> None:
    import torch

    from server.film.curves import plot_curves
    from worldmodel import EpisodeStore, TrainingError, estimate, fit

    if arguments.threads is not None:
        if arguments.threads < 1:
            raise CommandError(f"--threads {arguments.threads}; give 1 or more")
        torch.set_num_threads(arguments.threads)
    if not 0 <= arguments.seed <= MOST_SEED:
        raise CommandError(f"--seed {arguments.seed}; give 0 to {MOST_SEED}")
    origin = _origin(arguments)
    store = EpisodeStore(*arguments.data, sensors=arguments.sensors)
    config = _config(arguments, origin, store)
    record = {**provenance(), "data": store.descriptions}
    run_folder = arguments.run or Path("runs") / arguments.out.name
    _check_folder(arguments.out, "--out")
    _check_folder(run_folder, "--run")
    with StageProgress(arguments.quiet) as progress:
        try:
            if not arguments.quiet and "WORLD_SIZE" not in os.environ:  # several processes cannot be timed one by one
                expected = estimate(store, config, run_folder)
                config = dataclasses.replace(config, precision=expected.precision)
                progress.expect(expected.seconds)
            manifest = fit(store, config, run_folder, arguments.out, record, progress)
        except TrainingError as error:
            raise CommandError(str(error)) from error
    if manifest is None:  # the first process writes
        return
    if config.training.steps:
        curves = plot_curves(manifest.name, manifest.training["curves"], manifest.training["learned_size"])
        (arguments.out / "curves.png").write_bytes(curves)
    for alarm in manifest.training["alarms"]:
        sys.stderr.write(f"alarm: {alarm}\n")
    if arguments.json:
        json.dump(dataclasses.asdict(manifest)["training"], sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(f"wrote {arguments.out}: telos models show {arguments.out.name}\n")


def _check_folder(folder: Path, option: str) -> None:
    """Raises CommandError, now rather than after hours, where the folder cannot be made or written to."""
    if not folder.name:
        raise CommandError(f"{option} {folder} has no name; give a folder such as checkpoints/my-robot")
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise CommandError(f"{option} {folder} cannot be written: {error.strerror}; give another folder") from error


def _config(arguments: argparse.Namespace, origin: "Origin", store: "EpisodeStore") -> "FitConfig":
    from worldmodel import HEADS, FitConfig, HeadsConfig, PredictorTraining, TrainingConfig

    batch = arguments.batch if arguments.batch is not None else QUICK_BATCH if arguments.quick else BATCH
    learning_rate = arguments.learning_rate
    steps, head_steps = step_counts(arguments, sum(episode.frames for episode in store.episodes))
    trainings = {} if head_steps is None else {name: entry.training(steps=head_steps) for name, entry in HEADS.items()}
    try:
        return FitConfig(
            origin=origin,
            training=TrainingConfig(steps=steps, batch=batch, learning_rate=learning_rate, seed=arguments.seed),
            precision=arguments.precision,
            device=arguments.device,
            readers=arguments.readers,
            predictor=PredictorTraining(steps=arguments.predictor_steps, batch=2 * batch, learning_rate=learning_rate),
            heads=HeadsConfig(
                goal=goal_tolerances(arguments, store.description.get("env_id", "")), trainings=trainings
            ),
        )
    except ValueError as error:
        raise CommandError(str(error)) from error


def step_counts(arguments: argparse.Namespace, frames: int) -> tuple[int, int | None]:
    """Steps of the world model, and of each head: None for each head's own default."""
    steps, head_steps = STEPS, None
    if arguments.quick:
        steps = min(MOST_QUICK_STEPS, max(LEAST_QUICK_STEPS, frames // FRAMES_A_QUICK_STEP))
        head_steps = HEAD_STEPS_A_QUICK_STEP * steps
    if arguments.head_steps is not None and arguments.head_steps < 1:
        raise CommandError(f"--head-steps is {arguments.head_steps}; wanted 1 or more")
    return (
        steps if arguments.steps is None else arguments.steps,
        head_steps if arguments.head_steps is None else arguments.head_steps,
    )


def _origin(arguments: argparse.Namespace) -> "Origin":
    from worldmodel import Origin

    changes = dict(arguments.set)
    try:
        if arguments.start_from is None:
            if arguments.steps == 0:
                raise CommandError(
                    "--steps 0 trains no world model; name a trained one with --start-from, or give more steps"
                )
            return Origin.of_preset(arguments.recipe or "lewm", arguments.preset or "small", changes)
        if arguments.recipe or arguments.preset:
            raise CommandError(
                "--start-from uses the checkpoint's recipe and settings; leave out --recipe and --preset"
            )
        return Origin.of_checkpoint(arguments.start_from, changes)
    except ValueError as error:
        raise CommandError(str(error)) from error


def goal_tolerances(arguments: argparse.Namespace, env_id: str) -> "tuple[Tolerance, ...]":
    """The tolerances of --goal, or else those of the environment that the episodes were collected in."""
    from envs import ENVS
    from worldmodel import Tolerance

    if arguments.goal == [None]:
        return ()
    if None in (arguments.goal or ()):
        raise CommandError(
            f"--goal {NO_GOAL} cannot be combined with other goals; leave it out, or leave out the others"
        )
    default = ENVS[env_id].goal_tolerances.items() if env_id in ENVS else ()
    try:
        return tuple(Tolerance(features=names, within=within) for names, within in arguments.goal or default)
    except ValueError as error:
        raise CommandError(f"--goal: {error}") from error
