"""The guide, run as it stands: its six commands and its script, on a LeRobot set that our exporter did not write."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from server.cli import main
from tests.lerobot_set import LeRobotSet, recorded_dot

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "bring-your-own-robot.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)\n```", GUIDE, re.DOTALL)
SCRIPT = re.findall(r"```python\n(# ask\.py\n.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recordings, so few that a quick training is short, two pictures and the guide's script."""
    episodes = [recorded_dot(seed, steps=30 + seed) for seed in range(3)]
    LeRobotSet(episodes, codec="libx264").write(tmp_path / "recordings" / "my-robot")
    for name, frame in (("now", episodes[0].frames[0]), ("goal", episodes[1].frames[20])):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    (script,) = SCRIPT
    (tmp_path / "ask.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def telos(command: str) -> None:
    name, *arguments = shlex.split(command)
    assert name == "telos" and main(arguments) == 0, command


def test_the_six_commands(workshop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    preview, bring_in, train, show, serve, ask = COMMANDS
    telos(preview)
    with Image.open("out/preview/contact_sheet.png") as sheet, Image.open("out/preview/episodes.webp") as motion:
        assert sheet.width > 1000 and getattr(motion, "n_frames", 1) == 33
    telos(bring_in)
    assert "x (rad): -" in capfd.readouterr().out
    telos(train)
    assert re.search(r"^about \d+ s in all, .*inverse dynamics", capfd.readouterr().err, re.MULTILINE)
    telos(show)
    assert '"name": "my-robot"' in capfd.readouterr().out
    assert main(["evaluate", "--model", "my-robot", "--quiet"]) == 2
    assert "has no task" in capfd.readouterr().err
    said = asked(serve, ask)
    assert "['x', 'y'] ['rad', 'rad'] every 0.1 s" in said.replace("(", "[").replace(")", "]")
    assert len(re.findall(r"-?\d+\.\d*(?:e-?\d+)?", said.split("\n", 1)[1])) == 10, "five control steps of two actions"


def asked(serve: str, ask: str) -> str:
    """What the script says to a server in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TELOS_HTTP_PORT": str(port), "TELOS_GRPC_PORT": "0"}
    environment["TELOS_SERVER"] = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "server.cli", *shlex.split(serve)[1:]]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None and server.stdout.readline().startswith(b'{"http_port"')
            python, *arguments = shlex.split(ask)
            assert python == "python"
            script = [sys.executable, *arguments]
            return subprocess.run(script, env=environment, check=True, capture_output=True, text=True).stdout
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=30) == 0


def test_the_guide_has_six_commands() -> None:
    assert len(COMMANDS) == 6 and all("\n" not in command for command in COMMANDS)
