"""`telos benchmark service` counts what it says: checked against a server whose every answer is scripted."""

import asyncio
import gc
import json
from pathlib import Path

import pytest

from server.benchmark.load import Sample, offer, summary
from server.benchmark.service import recovery_s
from server.cli import main


class Sleepy:
    """Answers one request after the other, each in 50 ms; refuses every fourth."""

    def __init__(self) -> None:
        self.asked = 0
        self.one_at_a_time = asyncio.Lock()

    async def ask(self, body: bytes) -> str:
        self.asked += 1
        if self.asked % 4 == 0:
            return "429"
        async with self.one_at_a_time:
            await asyncio.sleep(0.05)
        return "200"

    async def close(self) -> None:
        pass


def test_latency_counts_from_when_a_request_was_due() -> None:
    """30 a second to who does 20: the queue grows, and each request waits for all before it."""
    samples = asyncio.run(offer(Sleepy(), [b""], 40, 1.0, seed=0))
    assert len(samples) == 40
    result = summary(samples, 1.0, deadline_s=0.2)
    assert result["outcomes"] == {"200": 30, "429": 10}
    assert result["accepted_ms"]["max"] > 400 and result["refused_ms"]["p50"] < 100
    assert 0 < result["goodput_per_s"] < 25


@pytest.mark.parametrize("collects", [True, False])
def test_nothing_is_collected_while_it_measures(collects: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    target, seen = Sleepy(), []
    monkeypatch.setattr(target, "ask", lambda body, ask=target.ask: (seen.append(gc.isenabled()), ask(body))[1])
    _ = gc.enable() if collects else gc.disable()
    try:
        asyncio.run(offer(target, [b""], 40, 0.1, seed=0))
        assert seen == [False] * 4 and gc.isenabled() == collects, "it is left as it was found"
    finally:
        gc.enable()


def test_recovery_lasts_until_the_last_that_was_late() -> None:
    samples = [Sample(0.1, 0.5, "OK"), Sample(0.2, 0.9, "OK"), Sample(0.3, 0.1, "OK"), Sample(0.4, 0.01, "429")]
    assert recovery_s(samples, 0.2) == 1.1
    assert recovery_s(samples[2:3], 0.2) == 0.0


@pytest.mark.alone
def test_a_server_in_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "service.json"
    quick = ["--rates", "20", "--seconds", "0.5", "--warm-up-s", "0.1", "--transports", "grpc", "--image-side-px", "32"]
    assert main(["benchmark", "service", "--planner-cost", "5", *quick, "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    measured = result["transports"]["grpc"]
    assert measured["steps"][0]["outcomes"].keys() == {"OK"}
    assert measured["steps"][0]["accepted_ms"]["p50"] >= 5
    assert {row["id"] for row in result["tests"]} == {7} and len(result["tests"]) in (1, 5)
    assert "grpc" in capsys.readouterr().out
    assert {"command", "commit", "machine"} <= result.keys()


@pytest.mark.parametrize(
    "mistake", [["--rates", "20", "10"], ["--seconds", "0"], ["--planner-cost", "much"], ["--planner-cost", "model"]]
)
def test_mistakes(mistake: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "service", *mistake]) == 2
    assert "telos benchmark: " in capsys.readouterr().err
