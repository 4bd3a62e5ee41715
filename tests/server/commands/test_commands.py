"""The command line: help that needs no other page, and mistakes answered in one line."""

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import telos
from server.cli import COMMANDS, main
from server.commands.errors import CommandError
from server.commands.train import add_parser, goal_tolerances, step_counts
from tests.episodes import write_dot_store
from tests.tiny import write_tiny_checkpoint
from worldmodel.heads.task_distance import Tolerance
from worldmodel.recipes import RECIPES

NAMES = [module.__name__.rsplit(".", 1)[1] for module in COMMANDS]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert len(text) > 200 and f"telos {name}" in text


def test_the_help_of_train_lists_every_recipe_and_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split("options:")[1].split())
    recipes, sizes = (re.search(rf"{option} \S+ (.*?) --", text) for option in ("--recipe", "--preset"))
    assert recipes is not None and sizes is not None
    assert all(name in recipes[1] for name in RECIPES)
    assert all(preset in sizes[1] for entry in RECIPES.values() for preset in entry.presets)


MISTAKES = {
    "a negative seed": (["train", "--data", "{tmp}", "--out", "{tmp}/x", "--seed", "-1"], "--seed -1; give 0 to"),
    "no thread": (["train", "--data", "{tmp}", "--out", "{tmp}/x", "--threads", "0"], "--threads 0; give 1 or more"),
    "a folder for the result": (["evaluate", "--model", "tiny-lewm", "--out", "{tmp}"], "is a folder; give a JSON"),
    "episodes without number": (
        ["evaluate", "--model", "tiny-lewm", "--episodes", "9" * 20],
        "give at most 1000000",
    ),
    "train without a store": (["train", "--data", "{tmp}", "--out", "{tmp}/x"], "dataset.json"),
    "an unknown recipe": (
        ["train", "--data", "{tmp}", "--out", "{tmp}/x", "--recipe", "lewn"],
        "this build has gcbc, ijepa, lewm, pldm, random-encoder",
    ),
    "an unknown preset": (
        ["train", "--data", "{tmp}", "--out", "{tmp}/x", "--preset", "huge"],
        "lewm has paper, small, tiny",
    ),
    "an unknown setting": (["train", "--data", "{tmp}", "--out", "{tmp}/x", "--set", "smooth=0"], "smoothness_weight"),
    "a setting of another kind": (
        ["train", "--data", "{tmp}", "--out", "{tmp}/x", "--set", "smoothness_weight=much"],
        "smoothness_weight is 'much'; wanted float",
    ),
    "a LeRobot data set that was not imported": (
        ["train", "--data", "{tmp}/lerobot", "--out", "{tmp}/x"],
        "is a LeRobot data set; import it first: telos data import {tmp}/lerobot --out data/lerobot",
    ),
    "no steps from nothing": (["train", "--data", "{tmp}", "--out", "{tmp}/x", "--steps", "0"], "--start-from"),
    "a checkpoint's recipe and another": (
        ["train", "--data", "{tmp}", "--out", "{tmp}/x", "--start-from", "{tmp}/tiny-lewm", "--recipe", "pldm"],
        "leave out --recipe and --preset",
    ),
    "a start from nothing": (
        ["train", "--data", "{tmp}", "--out", "{tmp}/x", "--start-from", "{tmp}/none"],
        "manifest",
    ),
    "an unknown environment": (["collect", "--env", "telos/Nowhere-v0", "--out", "{tmp}/d"], "telos/TwoRoom-v0"),
    "no episodes": (["collect", "--env", "telos/TwoRoom-v0", "--out", "{tmp}/d", "--episodes", "0"], "at least 1"),
    "an unknown protocol": (["evaluate", "--model", "tiny-lewm", "--protocol", "offset26"], "offset25"),
    "an unknown model": (["evaluate", "--model", "nobody", "--checkpoints", "{tmp}", "--quiet"], "tiny-lewm"),
    "a page for a result": (["evaluate", "--model", "tiny-lewm", "--out", "{tmp}/x.html"], "give .json"),
    "a model without a task": (["evaluate", "--model", "tiny-lewm", "--checkpoints", "{tmp}", "--quiet"], "task"),
    "no such model": (
        ["models", "show", "nobody", "--checkpoints", "{tmp}"],
        "has no model 'nobody'; choose one of tiny-lewm",
    ),
    "no models at all": (
        ["models", "--checkpoints", "{tmp}/empty"],
        "has no checkpoint; wanted folders with a manifest",
    ),
    "an unknown search to time": (
        ["benchmark", "planning", "--presets", "fats"],
        "fats: not known; choose from 300x30, ",
    ),
    "published files of an unknown kind": (["models", "import", "dino"], "which is lewm"),
    "nothing to serve": (["serve", "--checkpoints", "{tmp}/empty"], "manifest.json"),
    "a remote bind without a token": (["serve", "--checkpoints", "{tmp}", "--host", "0.0.0.0"], "token"),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_mistake_gets_one_clear_line(mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_tiny_checkpoint(tmp_path)
    (tmp_path / "lerobot" / "meta").mkdir(parents=True)
    (tmp_path / "lerobot" / "meta" / "info.json").touch()
    arguments, wanted = MISTAKES[mistake]
    assert main([argument.replace("{tmp}", str(tmp_path)) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert wanted.replace("{tmp}", str(tmp_path)) in error
    assert error.startswith(f"telos {arguments[0]}: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("goal", "wanted"),
    [
        ("z=0.1", "the goal wants a feature 'z', which was not recorded; these were: x, y, constant"),
        ("x,y=0", "--goal: tolerance of x,y is 0.0; wanted a finite number above 0"),
        ("none x=1", "--goal none cannot be combined with other goals; leave it out"),
        ("x=1 --learning-rate=0", "learning_rate=0.0 must be above 0"),
    ],
)
def test_a_goal_that_cannot_be_is_refused(goal: str, wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = write_dot_store(tmp_path / "store", episodes=2)
    command = ["train", "--data", str(store), "--out", str(tmp_path / "dot"), "--run", str(tmp_path / "run")]
    goals = [word if word.startswith("--") else f"--goal={word}" for word in goal.split()]
    assert main([*command, "--preset", "tiny", *goals]) == 2
    assert wanted in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_the_predictor_alone_learns_from_twice_as_many_clips_as_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = write_dot_store(tmp_path / "store", episodes=2)
    asked = []
    monkeypatch.setattr("worldmodel.training.fit.fit", lambda _, config, *rest: asked.append(config))
    settings = ["--batch", "4", "--predictor-steps", "3", "--learning-rate", "1e-4", "--quiet"]
    main(["train", "--data", str(store), "--out", str(tmp_path / "dot"), *settings])
    (config,) = asked
    assert config.training.learning_rate == config.predictor.learning_rate == 1e-4
    assert (config.training.batch, config.predictor.batch, config.predictor.steps) == (4, 8, 3)


@pytest.mark.parametrize(
    ("frames", "settings", "wanted"),
    [
        (900, [], (5000, None)),
        (900, ["--head-steps", "7"], (5000, 7)),
        (900, ["--quick"], (90, 450)),
        (20, ["--quick"], (10, 50)),
        (10**6, ["--quick"], (300, 1500)),
        (900, ["--quick", "--steps", "8"], (8, 450)),
        (900, ["--quick", "--head-steps", "9"], (90, 9)),
    ],
)
def test_quick_shortens_every_stage_with_the_data_and_explicit_steps_win(
    frames: int, settings: list[str], wanted: tuple[int, int | None]
) -> None:
    assert step_counts(train_arguments(*settings), frames) == wanted


def test_heads_that_would_learn_nothing_are_refused() -> None:
    with pytest.raises(CommandError, match="--head-steps is 0; wanted 1 or more"):
        step_counts(train_arguments("--head-steps", "0"), 900)


def train_arguments(*settings: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["train", "--data", "a", "--out", "b", *settings])


def test_a_goal_is_features_and_a_tolerance(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["train", "--data", "a", "--out", "b", "--goal", "x,y"])
    assert "'x,y' is not a tolerance; wanted FEATURE[,FEATURE...]=TOLERANCE" in capsys.readouterr().err


def test_what_counts_of_a_goal_is_known_of_the_tasks_that_telos_has():
    asked = argparse.Namespace(goal=None)
    names = [tolerance.features for tolerance in goal_tolerances(asked, "telos/PushT-v0")]
    assert names == [("block_x", "block_y"), ("sin_block", "cos_block")]
    assert goal_tolerances(asked, "tests/Dot-v0") == ()
    (own,) = goal_tolerances(argparse.Namespace(goal=[(("agent_x",), 0.1)]), "telos/PushT-v0")
    assert own == Tolerance(features=("agent_x",), within=0.1)


def test_a_model_may_know_no_goal_of_the_tasks_that_telos_has():
    assert goal_tolerances(argparse.Namespace(goal=[None]), "telos/PushT-v0") == ()


def test_without_opengl_a_robots_model_is_still_told_that_it_has_no_simulator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who imported a robot's data was told to install OpenGL, and then that it would be of no use."""
    monkeypatch.setattr("envs.pixel_camera.gl_renderer_name", lambda: (_ for _ in ()).throw(OSError("no libEGL")))
    write_tiny_checkpoint(tmp_path, "robot")
    write_tiny_checkpoint(tmp_path, "simulated", task="telos/TwoRoom-v0")
    said = {}
    for name in ("robot", "simulated"):
        assert main(["evaluate", "--model", name, "--checkpoints", str(tmp_path), "--quiet"]) == 2
        said[name] = capsys.readouterr().err
    assert "robot has no task" in said["robot"] and "OpenGL" not in said["robot"]
    assert "cannot draw here" in said["simulated"] and "no libEGL" in said["simulated"]


def test_models_say_how_a_server_would_load_them_and_not_that_one_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_checkpoint(tmp_path)
    monkeypatch.setenv("TELOS_PRECISION", "bfloat16")
    assert main(["models", "--checkpoints", str(tmp_path)]) == 0
    line = capsys.readouterr().out
    assert "telos serve loads it in bfloat16 on cpu" in line and "served" not in line
    assert main(["models", "--checkpoints", str(tmp_path), "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)
    assert (line["precision"], line["device"]) == ("bfloat16", "cpu")
    assert (line["sensors"], line["actions"]) == (["top"], ["x [m/s]", "y [m/s]"])


def test_models_lists_shows_and_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_tiny_checkpoint(tmp_path)
    where = ["--checkpoints", str(tmp_path), "--json"]
    assert main(["models", *where]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "tiny-lewm"
    assert main(["models", "show", "tiny-lewm", *where]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"] == "lewm"
    assert main(["models", "verify", *where]) == 0
    assert json.loads(capsys.readouterr().out)[0]["ok"] is True
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert main(["models", "verify", *where]) == 2
    assert json.loads(capsys.readouterr().out)[0]["ok"] is False


def test_the_version_is_that_of_the_client(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"telos {telos.__version__}\n"


@pytest.mark.parametrize(("command", "extra"), [("serve", "server"), ("demo", "sim"), ("replay", "server,record")])
def test_a_missing_package_is_said_with_the_extra_that_has_it(
    command: str, extra: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["x.mcap"] if command == "replay" else []
    monkeypatch.setattr(f"server.commands.{command}.run", importing("torch.nn"))
    assert main([command, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"telos {command}: torch.nn is not installed") and f"pip install '.[{extra}]'" in error


def test_a_missing_module_of_telos_itself_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.commands.serve.run", importing("server.nowhere"))
    with pytest.raises(ModuleNotFoundError):
        main(["serve"])


def importing(module: str) -> Callable[[argparse.Namespace], None]:
    """A command that fails as it does when `module` is not there."""

    def run(arguments: argparse.Namespace) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    return run
