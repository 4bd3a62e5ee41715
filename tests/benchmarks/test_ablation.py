"""The ablation, with a model that knows nothing."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ablation import BASE, VARIANTS, _refuse_others, _variants_of, against_default, measure, table
from tests.tiny import write_tiny_checkpoint
from worldmodel.manifest import read_manifest

MODEL = "tiny-lewm"


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> argparse.Namespace:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_tiny_checkpoint(folder, task="telos/TwoRoom-v0")
    return argparse.Namespace(
        checkpoints=Path(folder), variants=tuple(VARIANTS), protocol="offset25", episodes=1, seed=0
    )


def test_variants_that_the_model_cannot_do_are_left_out(arguments: argparse.Namespace) -> None:
    names = _variants_of(arguments, MODEL)
    assert names[0] == BASE and set(VARIANTS) - set(names) == {
        "guided",
        "guided, free search",
        "inverse dynamics alone",
        "no task distance",
    }


@pytest.mark.parametrize(
    "name", ["no steps to go", "cost of the last step", "one context frame", "a plan every 2 model steps"]
)
def test_a_variant_is_measured(arguments: argparse.Namespace, name: str) -> None:
    case = measure(arguments, MODEL, name, commit="abc")
    assert case["episodes"] == len(case["rows"]) == 1
    assert case["rate"] in (0.0, 1.0) and case["variant"]["planner"]["preset"] == BASE
    assert case["weights_sha256"] == read_manifest(arguments.checkpoints / MODEL).weights.sha256  # a head more or less


@pytest.mark.parametrize("change", [{"seed": 1}, {"episodes": 2}, {"protocol": "offset50"}, {"weights_sha256": "0"}])
def test_other_pairs_or_weights_are_not_gone_on_with(arguments: argparse.Namespace, change: dict[str, Any]) -> None:
    weights = read_manifest(arguments.checkpoints / MODEL).weights.sha256
    case = {"protocol": "offset25", "seed": 0, "episodes": 1, "weights_sha256": weights}
    asked = argparse.Namespace(**vars(arguments), models=[MODEL], out=Path("ablation.json"))
    _refuse_others(asked, {"models": {MODEL: {BASE: case}, "another": {}}})
    with pytest.raises(SystemExit, match=f"ablation.json holds 'default' of {MODEL} with .*{next(iter(change))}"):
        _refuse_others(asked, {"models": {MODEL: {BASE: {**case, **change}}}})


def test_a_variant_stands_beside_the_default_on_the_same_pairs() -> None:
    default = case_of([True] * 6 + [False] * 4)
    other = case_of([True] * 9 + [False])
    other |= against_default(default, other)
    assert other["difference"] == pytest.approx(0.3) and other["mcnemar_p"] == pytest.approx(0.25)
    low, high = other["difference_ci95"]
    assert low < 0.3 < high
    lines = table({BASE: default, "other": other}).splitlines()
    assert lines[2].startswith("| default | 60.0% |") and "+30.0%" in lines[3] and "0.250" in lines[3]


def case_of(successes: list[bool]) -> dict[str, Any]:
    rate = sum(successes) / len(successes)
    return {"rate": rate, "at_end": rate, "rows": [[each, each] for each in successes]}
