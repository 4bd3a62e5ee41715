"""The choice between float32 and bfloat16 follows what was measured, and nothing else."""

from pathlib import Path

import pytest

from tests.tiny import tiny_recipe, write_tiny_checkpoint, write_tiny_policy_checkpoint
from worldmodel.checkpoint import load_checkpoint
from worldmodel.inference import precision as inference_precision
from worldmodel.inference.precision import measured_precision


class SlowIn:
    """A clock on which rollouts in one precision take ten times as long. Two readings each, float32 first."""

    def __init__(self, slow: str) -> None:
        self.steps = [1.0, 1.0, 1.0, 10.0] if slow == "bfloat16" else [1.0, 10.0, 1.0, 1.0]
        self.readings = 0
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += self.steps[self.readings % 4]
        self.readings += 1
        return self.now


@pytest.mark.parametrize(("slow", "chosen"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_the_faster_is_taken(slow: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_precision, "time", SlowIn(slow))
    assert measured_precision(tiny_recipe().predictor) == chosen


def test_what_is_fast_and_not_close_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_precision, "time", SlowIn("float32"))
    monkeypatch.setattr(inference_precision, "CLOSE", 1e-9)
    assert measured_precision(tiny_recipe().predictor) == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_checkpoint_is_loaded_in_the_precision_asked_for(precision, tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path)
    assert load_checkpoint(folder, precision=precision).precision == precision


def test_auto_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_precision, "time", SlowIn("float32"))
    assert load_checkpoint(write_tiny_checkpoint(tmp_path), precision="auto").precision == "bfloat16"


def test_float32_unless_asked(tmp_path: Path) -> None:
    """A plan can be asked for again with its seed: what it was computed in must not depend on a measurement."""
    assert load_checkpoint(write_tiny_checkpoint(tmp_path)).precision == "float32"


def test_where_nothing_is_imagined_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy without a world model."""
    monkeypatch.setattr(inference_precision, "time", SlowIn("float32"))
    assert load_checkpoint(write_tiny_policy_checkpoint(tmp_path), precision="auto").precision == "float32"
