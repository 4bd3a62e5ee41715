"""The evaluation, end to end, with a model that knows nothing."""

import base64
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from envs import env_class
from server.cli import main
from server.commands.evaluate import journal_path
from server.evaluation.agents import NoOpAgent
from server.evaluation.episode import run_episode
from server.evaluation.protocols import StartAndGoal
from server.evaluation.robots import Robot
from server.evaluation.worlds import ALL, NOMINAL
from telos.replies import ActionInfo
from tests.server.live import serving, settings_for
from tests.tiny import write_tiny_checkpoint

ACTION = ActionInfo(
    names=("x", "y"), units=("m/s", "m/s"), low=(-1.0, -1.0), high=(1.0, 1.0), dt_ms=100, control_steps=5
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_tiny_checkpoint(folder, task="telos/TwoRoom-v0")
    return folder


EPISODES = 4
"""Two of each of two seeds."""
SEND = Robot._send


@pytest.fixture(scope="module", autouse=True)
def _one_film() -> Iterator[None]:
    """A film takes longer than an episode of this model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("server.evaluation.page.MOST_FILMS", 1)
        patch.setattr("server.evaluation.page.MOST_SUCCESSES", 1)
        yield


def _command(checkpoints: Path, out: Path, *more: str) -> list[str]:
    command = ["evaluate", "--model", "tiny-lewm", "--checkpoints", str(checkpoints), "--out", str(out), "--quiet"]
    return [*command, "--episodes", "2", "--preset", "fast", "--seed", "5", "6", *more]


def _evaluate(checkpoints: Path, out: Path, *more: str) -> dict:
    assert main(_command(checkpoints, out, *more)) == 0
    return json.loads(out.read_text())


def _without_times(result: dict) -> dict:
    """And without how it was run, and without the last digits, which the size of a batch may change."""
    rows = [{key: value for key, value in row.items() if key not in TIMES} for row in result["rows"]]
    return {**{key: value for key, value in result.items() if key not in RUN}, "rows": _coarse(rows)}


TIMES = {"plan_latencies_ms"}
RUN = {"plan_latency_ms", "command", "robots", "rows"}


def _coarse(value: object) -> object:
    match value:
        case float():
            return round(value, 2)
        case list():
            return [_coarse(each) for each in value]
        case dict():
            return {key: _coarse(each) for key, each in value.items()}
    return value


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results") / "a.json"


@pytest.fixture(scope="module")
def uninterrupted(checkpoints: Path, out: Path) -> dict:
    """With one robot at a time."""
    return _evaluate(checkpoints, out, "--robots", "1")


def test_the_result_says_everything(uninterrupted: dict):
    for rate in ("", "at_end_", "tight_", "whole_", "random_", "random_at_end_", "noop_", "noop_at_end_"):
        low, high = uninterrupted[f"{rate}ci95"]
        assert low <= uninterrupted[f"{rate}success_rate"] <= high
    assert {"commit", "versions", "renderer", "weights_sha256", "manifest_sha256", "dtype"} <= set(uninterrupted)
    assert uninterrupted["protocol"] == "offset25" and uninterrupted["budget_steps"] == 50
    assert uninterrupted["split"] == "development" and uninterrupted["seeds"] == [5, 6]
    assert set(uninterrupted["plan_latency_ms"]) == {"p50", "p95"}
    rows = uninterrupted["rows"]
    assert uninterrupted["episodes"] == len(rows) == EPISODES
    assert [row["seed"] for row in rows] == [5, 5, 6, 6]
    assert uninterrupted["success_rate"] == np.mean([row["success"] for row in rows]).round(4)
    assert sum(uninterrupted["outcomes"].values()) == EPISODES
    assert sum(kind["episodes"] for kind in uninterrupted["kinds"].values()) == EPISODES
    assert all(row["kind"] in ("same room", "other room") for row in rows)
    assert all(len(row["predicted_costs"]) == len(row["plan_latencies_ms"]) == 10 for row in rows)


def test_the_page_shows_failures_and_asks_no_network(uninterrupted: dict, out: Path):
    page = out.with_suffix(".html").read_text()
    failures = [row for row in uninterrupted["rows"] if not row["success"]]
    films = re.findall(r"data:image/webp;base64,([^\"]+)", page)
    succeeded = EPISODES - len(failures)
    assert len(failures) > 1 and len(films) == 1 + min(succeeded, 1)
    assert f"{len(failures)} of {EPISODES} episodes failed; 1 are shown" in page
    with Image.open(io.BytesIO(base64.b64decode(films[0]))) as film:
        assert getattr(film, "n_frames", 1) > 10  # equal pictures in a row are one frame
    names = [f"episode {row['episode']}, {row['kind']}: {row['outcome']}" for row in failures]
    assert sum(f"<p>{name}</p>" in page for name in names) == 1
    references = re.findall(r"(?:src|href)=\"([^\"]*)", page)
    assert len(references) == len(films) + 3 and all(reference.startswith("data:") for reference in references)
    assert "url(" not in page and "<script" not in page and "$" not in page


def test_robots_at_a_time_change_nothing(uninterrupted: dict, checkpoints: Path, tmp_path: Path):
    """A law: a robot's plans, and with them what becomes of it, do not hang on who shares the batch."""
    together = _evaluate(checkpoints, tmp_path / "b.json", "--robots", "4")
    assert together["robots"] == 4
    assert _without_times(together) == _without_times(uninterrupted)


def test_a_killed_evaluation_goes_on_where_it_was(
    uninterrupted: dict, checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "c.json"
    journal = journal_path(out)
    with subprocess.Popen([sys.executable, "-m", "server.cli", *_command(checkpoints, out, "--robots", "2")]) as killed:
        try:
            while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
                assert killed.poll() is None
                time.sleep(0.01)
        finally:
            killed.kill()
    kept = journal.read_bytes().rsplit(b"\n", 1)[0] + b"\n"
    assert kept.count(b"\n") <= EPISODES  # there was something left to do
    journal.write_bytes(kept + b'{"name":"9')  # a line that was being written when the machine died
    assert main(_command(checkpoints, out, "--seed", "6")) == 2
    assert "seeds [5, 6]; now it is [6]" in capsys.readouterr().err
    assert journal.read_bytes() == kept + b'{"name":"9'
    resumed = _evaluate(checkpoints, out, "--robots", "2")
    assert _without_times(resumed) == _without_times(uninterrupted)
    latencies = {(row["seed"], row["episode"]): row["plan_latencies_ms"] for row in resumed["rows"]}
    for line in kept.splitlines()[1:]:
        row = json.loads(line)["row"]
        assert latencies[row["seed"], row["episode"]] == row["plan_latencies_ms"]  # not made again
    assert not journal.exists()


def test_a_simulation_that_dies_ends_the_evaluation(
    checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """A process that is gone is said, not waited for."""
    monkeypatch.setattr(Robot, "_send", _send_and_kill)
    assert main(_command(checkpoints, tmp_path / "d.json", "--robots", "2")) == 2
    assert "ended with exit code" in capsys.readouterr().err


def _send_and_kill(robot: Robot, message: object) -> None:
    """Dies in the midst of an episode: while its next image is awaited, or before the action after that is sent."""
    SEND(robot, message)
    if isinstance(message, np.ndarray):
        robot._process.kill()


def test_a_running_server_is_evaluated_through_the_client(uninterrupted: dict, checkpoints: Path, tmp_path: Path):
    with serving(settings_for(checkpoints)) as live:
        for address in (f"http://127.0.0.1:{live.running.http_port}", f"grpc://127.0.0.1:{live.running.grpc_port}"):
            remote = _evaluate(checkpoints, tmp_path / "e.json", "--server", address, "--robots", "3")
            assert _without_times(remote) == _without_times(uninterrupted)


def test_variation_holds_every_factor_against_the_nominal_world(
    uninterrupted: dict, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Three of TwoRoom's worlds: one that looks different, one where other starts are possible, and all at once."""
    names = (NOMINAL, "floor_rgb", "door_y_m", ALL)
    monkeypatch.setattr("server.evaluation.evaluate.world_names", lambda variation: names)
    result = _evaluate(checkpoints, tmp_path / "f.json", "--protocol", "variation", "--seed", "5")
    assert [_coarse(row["last_distance"]) for row in result["rows"]] == [
        _coarse(row["last_distance"]) for row in uninterrupted["rows"][:2]
    ]
    assert tuple(result["worlds"]) == names[1:]
    for name, world in result["worlds"].items():
        assert world["episodes"] + world["excluded_already_solved"] == 2
        for row in world["rows"]:
            assert name == ALL or set(row["factors"]) == {name}
    painted = result["worlds"]["floor_rgb"]
    assert [(row["start"], row["goal"]) for row in painted["rows"]] == [
        (row["start"], row["goal"]) for row in result["rows"]
    ]
    colours = [row["factors"]["floor_rgb"] for row in painted["rows"]]
    assert colours[0] != colours[1]


def _scripted(actions: list[list[float]]):
    class Scripted(NoOpAgent):
        def act(self, image: np.ndarray) -> np.ndarray:
            return np.tile(actions.pop(0), (5, 1))

    return lambda goal: Scripted(ACTION)


def test_success_is_at_any_step_and_the_end_is_told_apart():
    """Drive over the goal and on: reached, but not at the end."""
    env = env_class("telos/TwoRoom-v0")(image_size=32)
    start, goal = np.array([-0.8, -0.8, 0, 0]), np.array([-0.8, -0.4, 0, 0])
    pair = StartAndGoal(episode=0, first_step=0, start=start, goal=goal, excluded_before=0)
    over = run_episode(env, pair, 15, _scripted([[0, 1], [0, 1], [0, 1]]))
    assert over.success and not over.success_at_end
    assert over.steps_to_success in (3, 4)  # 0.4 m at 1 m/s and 0.1 s a step, within 0.14 m
    stay = run_episode(env, pair, 15, _scripted([[0, 0.8], [0, 0], [0, 0]]))
    assert stay.success and stay.success_at_end and stay.tight_success and stay.whole_success
    near = run_episode(env, pair, 15, _scripted([[0, 0.6], [0, 0], [0, 0]]))
    assert near.success and not near.tight_success  # 0.1 m short of the goal: within 0.14 m, not within half of it
    still = run_episode(env, pair, 15, lambda goal: NoOpAgent(ACTION))
    assert not still.success and still.least_distance == pytest.approx(0.4, abs=0.01)
    assert len(still.latencies_s) == 3
