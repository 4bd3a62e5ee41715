"""The example runs as it is written, against a real server."""

from pathlib import Path

import pytest

from examples.gymnasium_loop import main
from tests.server.live import serving, settings_for
from tests.tiny import write_tiny_checkpoint


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_it_drives_an_environment(transport: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_checkpoint(tmp_path, task="telos/TwoRoom-v0")
    with serving(settings_for(tmp_path)) as live:
        port = live.running.http_port if transport == "http" else live.running.grpc_port
        main(["--server", f"{transport}://127.0.0.1:{port}", "--model", "tiny-lewm", "--steps", "12", "--seed", "3"])
    shown = capsys.readouterr().out
    assert "step 0:" in shown and "step 10:" in shown and "reached after 12 control steps" in shown
