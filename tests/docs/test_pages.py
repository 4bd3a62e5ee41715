"""What the pages name is there: commands with their flags, files, settings, targets of make."""

import contextlib
import io
import re
from functools import cache
from pathlib import Path

import pytest

from server.cli import COMMANDS, main
from server.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "checkpoints" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]
NAMES = {module.__name__.rsplit(".", 1)[1] for module in COMMANDS}
PARTS = {"data": ("preview", "import", "export"), "benchmark": ("planning", "service")}
OF_A_SCRIPT = "TELOS_SERVER"
"""Read by the guide's own ask.py."""


@cache
def flags(*command: str) -> set[str]:
    told = io.StringIO()
    with contextlib.redirect_stdout(told), pytest.raises(SystemExit):
        main([*command, "--help"])
    return set(re.findall(r"--[a-z][a-z-]*", told.getvalue()))


def every_flag() -> set[str]:
    commands = [(name,) for name in NAMES] + [(name, part) for name, parts in PARTS.items() for part in parts]
    return set.union(*(flags(*command) for command in commands))


def code_of(page: Path) -> list[str]:
    """Lines of code and code within lines; a line that goes on is one."""
    fence = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [line for block in fence.findall(text) for line in block.splitlines()]
    return [*blocks, *(" ".join(span.split()) for span in re.findall(r"`([^`]+)`", fence.sub("", text)))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    settings = {f"TELOS_{name.upper()}" for name in Settings.__dataclass_fields__} | {OF_A_SCRIPT}
    for line in code_of(page):
        for words in re.findall(r"(?:^|; )telos (.*?)(?=;|$)", line):
            command = re.findall(r"^\w+(?: (?:preview|import|export|planning|service)\b)?", words)[0].split()
            assert command[0] in NAMES, f"no command: {line}"
            assert set(re.findall(r"(?<=\s)--[a-z][a-z-]*", words)) <= flags(*command), f"no such flag: {line}"
        if line.startswith("--"):
            assert line.split()[0] in every_flag(), f"no flag: {line}"
        for target in re.findall(r"(?:^|; )make (\w+)", line):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"no target: {line}"
        for script in re.findall(r"python (benchmarks/\w+\.py)", line):
            assert (ROOT / script).exists(), f"no script: {line}"
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\bTELOS_[A-Z_]*[A-Z]\b", text)) <= settings
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), f"no file: {link}"
