"""The wheel as a robot's computer gets it: with numpy and Pillow and nothing else, in an environment of its own."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

from server.cli import COMMANDS
from telos import __version__
from tests.server.live import MODEL, Live, serving, settings_for
from tests.tiny import write_tiny_checkpoint

ROOT = Path(__file__).parents[2]
PACKAGES = ("telos", "worldmodel", "planner", "envs", "server")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NEEDED = ("numpy", "pillow")
CHECKPOINTS = "a folder with a checkpoint"
WITHOUT_THE_SERVER = {
    "collect": ["--env", "telos/TwoRoom-v0", "--out", "x"],
    "train": ["--data", "x", "--out", "y"],
    "evaluate": ["--model", "x"],
    "serve": [],
    "demo": [],
    "benchmark": ["planning"],
    "models": ["show", "tiny-lewm", "--checkpoints", CHECKPOINTS],
    "replay": ["x.mcap"],
    "data": ["preview", "x", "--out", "y"],
}
"""Commands that need more than the client, with arguments that they accept."""

CLIENT = """
import io, json, sys
import numpy as np
from PIL import Image
import telos

frame, goal = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
with telos.connect(sys.argv[1]) as planner:
    (model,) = planner.models()
    controller = telos.Controller(planner, model=model.name, goal=goal)
    reply = controller.plan(frame)
    encoded = planner.encode(model.name, [frame, Image.fromarray(goal)])
loaded = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps({
    "file": telos.__file__,
    "version": telos.__version__,
    "actions": np.asarray(reply.actions).tolist(),
    "embeddings": len(encoded.embeddings),
    "loaded": loaded,
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([ROOT / ".ci" / "build-wheel", sys.executable, folder], check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, numpy and Pillow; pip finds no index, so the wheel may need nothing else."""
    folder = tmp_path_factory.mktemp("robot")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for name in NEEDED:
        for part in parts_of(name):
            (packages / part.name).symlink_to(part)
    python = Path(sysconfig.get_path("scripts", "venv", {"base": str(folder)})) / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--no-index"]
    subprocess.run([*pip, "--quiet", wheel], check=True)
    return python


def parts_of(distribution: str) -> set[Path]:
    """What lies of an installed distribution beside the others: its packages, libraries and metadata."""
    files = metadata.files(distribution) or []
    return {Path(str(file.locate())).parents[len(file.parts) - 2] for file in files if file.parts[0] != ".."}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    write_tiny_checkpoint(checkpoints)
    with serving(settings_for(checkpoints)) as running:
        yield running


def telos(clean_python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The console script of that environment, away from this source tree."""
    command = [clean_python.with_name("telos"), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    folder = clean_python.parent
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    kinds = (".py", ".pyi", ".xml", ".proto", ".html", ".css", ".js", ".typed")
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in kinds]
    assert {"telos/py.typed", "envs/assets/cube.xml", "server/demo/assets/players.js"} <= held
    wanted = {str(path.relative_to(ROOT)) for path in sources} - {"server/engine/wire/engine.proto"}
    assert held == wanted, "give pyproject.toml's package-data what is missing"


def test_the_metadata_asks_for_numpy_and_pillow_only(wheel: Path) -> None:
    said = metadata_of(wheel)
    needed = [each for each in said.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert [each.split(">=")[0] for each in needed] == list(NEEDED)
    assert set(said.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert wheel.name == f"telos-{__version__}-py3-none-any.whl"


def test_the_version_has_one_source(wheel: Path, clean_python: Path) -> None:
    assert metadata_of(wheel)["Version"] == __version__
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    said = telos(clean_python, "--version")
    assert (said.returncode, said.stdout) == (0, f"telos {__version__}\n"), said.stderr


def test_a_robot_plans_and_encodes_with_numpy_and_pillow_only(clean_python: Path, live: Live) -> None:
    address = f"http://127.0.0.1:{live.running.http_port}"
    done = subprocess.run([clean_python, "-I", "-c", CLIENT, address], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert Path(said["file"]).is_relative_to(clean_python.parents[1]) and said["version"] == __version__
    assert live.running.service.engine.models[0].name == MODEL
    assert len(said["actions"]) >= 5 and len(said["actions"][0]) == 2 and said["embeddings"] == 2
    foreign = set(said["loaded"]) - set(sys.stdlib_module_names) - {"telos", "numpy", "PIL", "cython_runtime"}
    assert not {name for name in foreign if not name.startswith("_")}


def test_help_needs_no_extra(clean_python: Path) -> None:
    said = telos(clean_python, "--help")
    assert said.returncode == 0, said.stderr
    for command in COMMANDS:
        assert command.__name__.rsplit(".", 1)[1] in said.stdout


@pytest.mark.parametrize("command", sorted(WITHOUT_THE_SERVER))
def test_a_command_without_its_extra_says_what_to_install(clean_python: Path, command: str, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path)
    arguments = (each.replace(CHECKPOINTS, str(tmp_path)) for each in WITHOUT_THE_SERVER[command])
    said = telos(clean_python, command, *arguments)
    assert said.returncode == 2 and said.stdout == "" and "Traceback" not in said.stderr, said.stderr
    assert said.stderr.startswith(f"telos {command}: ") and "pip install '.[" in said.stderr


def test_results_are_compared_without_the_server(clean_python: Path, tmp_path: Path) -> None:
    row = {"episode": 0, "first_step": 0, "start": [0.0], "goal": [1.0], "success": True}
    pairs = {"task": "telos/Cube-v0", "protocol": "offset25", "budget_steps": 50, "split": "test", "seeds": [0]}
    common = {**pairs, "preset": "default"}
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, disturbed in zip(files, ({}, {"wrist": "black"}), strict=True):
        file.write_text(json.dumps({**common, "model": "cube", "disturbed": disturbed, "rows": [row]}))
    said = telos(clean_python, "compare", *map(str, files))
    assert said.returncode == 0, said.stderr
    assert "A cube (default), B cube (default, wrist black)" in said.stdout
