"""The estimate before a training, and the time left beside its bars."""

import pytest

from server.commands.progress import StageProgress, duration


def test_the_estimate_names_the_long_stages_and_bars_say_what_comes_after(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress(quiet=False) as progress:
        progress.expect({"world model": 600.0, "encode": 1.0, "heads": 240.0})
        progress("world model", 1, 2, {})
    error = capsys.readouterr().err
    assert "about 14 min in all, measured on a few steps of each stage (world model 10 min, heads 4 min)\n" in error
    assert "world model (later stages: about 4 min):" in error


def test_what_stages_took_corrects_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("server.commands.progress.time.monotonic", lambda: now)
    with StageProgress(quiet=False) as progress:
        progress.expect({"world model": 60.0, "heads": 60.0, "probe": 100.0})
        now = 180.0  # three times what was expected
        progress("heads", 1, 2, {})
        progress("probe", 1, 1, {})
    error = capsys.readouterr().err
    assert "heads (later stages: about 5 min):" in error and "\rprobe:" in error


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with StageProgress(quiet=True) as progress:
        progress.expect({"world model": 60.0})
        progress("world model", 1, 1, {})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "1 s"), (89.0, "89 s"), (90.0, "2 min"), (9000.0, "2.5 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
