"""The steps of CONTRIBUTING.md for an environment and an optimiser, made as they stand in a copy of the repository."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = ("envs", "planner", "examples", "tests", "pyproject.toml")


def section(title: str) -> str:
    return re.split(r"^## ", CONTRIBUTING.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(language: str, text: str) -> list[str]:
    """Code of the indented blocks of a section, without the indentation."""
    found = re.findall(rf"^   ```{language}\n(.*?)^   ```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in found]


def apply(diff: str, root: Path) -> None:
    """Insert the lines with + after the line before them, and remove the lines with -."""
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        name, *changes = part.splitlines()
        lines, place = (root / name).read_text(encoding="utf-8").splitlines(), 0
        for change in changes:
            if change[0] == "+":
                lines.insert(place, change[1:])
                place += 1
                continue
            place = lines.index(change[1:]) + 1
            if change[0] == "-":
                place -= 1
                del lines[place]
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("title", "least"), [("Add an environment", 50), ("Add an optimiser", 60)], ids=["environment", "optimiser"]
)
def test_the_template_obeys_every_law_after_the_steps_of_contributing(title: str, least: int, tmp_path: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    (copy_files, laws), (diff,) = blocks("sh", section(title)), blocks("diff", section(title))
    for line in copy_files.splitlines():
        command, source, target = shlex.split(line)
        assert command == "cp"
        shutil.copy(tmp_path / source, tmp_path / target)
    apply(diff, tmp_path)
    pytest_, *arguments = shlex.split(laws)
    assert pytest_ == "pytest"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) >= least, done.stdout[-400:]
