"""Pages name what is there (commands, flags, files, settings, targets of make), and keep to their sizes."""

import contextlib
import io
import re
from functools import cache
from pathlib import Path

import pytest

from envs import ENVS
from server.cli import COMMANDS, main
from server.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "DECISIONS.md",
    ROOT / "checkpoints" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
NAMES = {module.__name__.rsplit(".", 1)[1] for module in COMMANDS}
PARTS = {"data": ("preview", "import", "export"), "benchmark": ("planning", "service")}
OF_A_SCRIPT = "TELOS_SERVER"
"""Read by the guide's own ask.py."""
GLOBAL_FLAGS = {"--version"}
"""Flags of `telos` without a command."""

MOST_README_WORDS = 700
MOST_DECISION_WORDS = 120
RESULTS = ROOT / "benchmarks" / "results"
DECISIONS = (ROOT / "DECISIONS.md").read_text(encoding="utf-8")
FILE = r"(?:telos|worldmodel|planner|envs|server|tests|benchmarks|deploy|docs)/[\w./-]+"
"""A file or folder of the repository; one called my_... is the reader's own."""
ENTRIES = re.findall(r"^### (.*?)(?=^##|\Z)", DECISIONS, re.MULTILINE | re.DOTALL)
PACKAGES = ["telos", "worldmodel", "planner", "envs", "server", "project"]


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
        for words in re.findall(r"(?:^|; )telos (?!--)(.*?)(?=;|$)", line):
            command = re.findall(r"^\w+(?: (?:preview|import|export|planning|service)\b)?", words)[0].split()
            assert command[0] in NAMES, f"no command: {line}"
            assert set(re.findall(r"(?<=\s)--[a-z][a-z-]*", words)) <= flags(*command), f"no such flag: {line}"
        if line.startswith("telos --"):
            assert line.removeprefix("telos ") in GLOBAL_FLAGS & flags(), f"no flag: {line}"
        if line.startswith("--"):
            assert line.split()[0] in every_flag(), f"no flag: {line}"
        for target in re.findall(r"(?:^|; )make (\w+)", line):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"no target: {line}"
        for script in re.findall(r"python (benchmarks/\w+\.py)", line):
            assert (ROOT / script).exists(), f"no script: {line}"
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\bTELOS_[A-Z_]*[A-Z]\b", text)) <= settings
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), f"no file: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_the_repository_that_a_page_names_exist(page: Path) -> None:
    for span in code_of(page):
        if re.fullmatch(FILE, span) and span not in ENVS and "/my_" not in span:
            assert (ROOT / span).exists(), f"no file: {span}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_a_heading_have_that_heading(page: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        if not path.startswith("https://"):
            target = page if not path else page.parent / path
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"no heading: {path}#{anchor}"


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#{1,6} (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_takes_three_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= MOST_README_WORDS


def test_decisions_are_short_and_say_their_price() -> None:
    assert len(ENTRIES) > 90, "the entries are found"
    for entry in ENTRIES:
        title = entry.splitlines()[0]
        assert len(entry.split()) <= MOST_DECISION_WORDS, f"{len(entry.split())} words: {title}"
        assert re.search(r"^\*20\d\d-\d\d-\d\d\.\*", entry, re.MULTILINE), f"no date: {title}"
        assert re.search(r"\bPrice:", entry), f"no price: {title}"


def test_decisions_have_an_index_by_package() -> None:
    index, *sections = re.split(r"^## ", DECISIONS, flags=re.MULTILINE)
    assert [section.splitlines()[0] for section in sections] == PACKAGES
    titles = [entry.splitlines()[0] for entry in ENTRIES]
    assert len(set(titles)) == len(titles)
    assert re.findall(r"^\[(.*)\]\(#", index, re.MULTILINE) == titles


def test_results_and_their_page_name_each_other() -> None:
    """Every result file is named on a page of results, and every file that they name is there."""
    pages = [(ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("results.md", "models.md")]
    named = set(re.findall(r"([\w.-]+\.json)\b", "".join(pages)))
    there = {path.name for path in RESULTS.glob("*.json")}
    assert there, "results are found"
    placeholders = {"A.json", "B.json"}
    assert named - placeholders <= there, f"no result: {sorted(named - placeholders - there)}"
    assert there <= named, f"on no page: {sorted(there - named)}"
    linked = set(re.findall(r"benchmarks/results/([\w.-]+)", "".join(pages)))
    assert linked <= {path.name for path in RESULTS.iterdir()}, "a page names a result that is not there"
