import json
from pathlib import Path

import pytest

from server.cli import main
from server.evaluation.compare import compare

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def _result(successes: list[bool], **changes: object) -> dict:
    rows = [
        {"episode": index, "first_step": 3, "start": [0.0], "goal": [1.0], "success": success, "success_at_end": False}
        for index, success in enumerate(successes)
    ]
    common = {"task": "telos/TwoRoom-v0", "protocol": "offset25", "budget_steps": 50, "split": "test", "seeds": [0]}
    return {**common, "model": "m", "preset": "default", "rows": rows, **changes}


def test_differences_are_of_the_same_episodes():
    """The example of Fagerland, Lydersen and Laake 2014: 1, 1, 7 and 12 of 21 give 0.026 to 0.507."""
    a = [True] * 2 + [False] * 19
    b = [True, False] + [True] * 7 + [False] * 12
    result = compare(_result(a), _result([*b, True]))  # B has one episode more, which counts for nothing
    success = result["rates"]["success"]
    assert result["episodes"] == 21 and set(result["rates"]) == {"success", "success_at_end"}
    assert success["difference"] == pytest.approx(6 / 21, abs=1e-4)
    assert success["difference_ci95"] == pytest.approx([0.026, 0.507], abs=5e-4)
    assert (success["only_a"], success["only_b"]) == (1, 7) and success["mcnemar_p"] == pytest.approx(0.0703)
    assert result["only_a_succeeded"] == [1] and result["only_b_succeeded"] == list(range(2, 9))


def test_worlds_that_both_were_evaluated_in_are_compared_too():
    def varied(light: list[bool], **others: list[bool]) -> dict:
        worlds = {name: {"rows": _result(rows)["rows"]} for name, rows in {"light": light, **others}.items()}
        return _result([True] * 4, protocol="variation", worlds=worlds)

    result = compare(varied([True, False, False, False], camera=[True]), varied([True] * 3))
    assert set(result["worlds"]) == {"light"}
    light = result["worlds"]["light"]
    assert light["episodes"] == 3 and (light["only_a"], light["only_b"]) == (0, 2)
    assert (light["a"], light["b"]) == (pytest.approx(1 / 3, abs=1e-4), 1.0)
    assert compare(_result([True]), _result([True]))["worlds"] == {}


@pytest.mark.parametrize(
    "change", [{"seeds": [1]}, {"split": "development"}, {"protocol": "offset50"}, {"task": "telos/Reacher-v0"}]
)
def test_other_episodes_are_refused(change: dict):
    with pytest.raises(ValueError, match=next(iter(change))):
        compare(_result([True]), _result([True], **change))


def test_results_without_an_episode_in_common_are_refused():
    other = _result([True])
    other["rows"][0]["start"] = [0.5]
    with pytest.raises(ValueError, match="in common"):
        compare(_result([True]), other)


def test_published_results_can_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    path = RESULTS / "tworoom-offset25.json"
    assert main(["compare", str(path), str(path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["episodes"] == 600 and result["rates"]["success"]["difference"] == 0.0
    assert main(["compare", str(path), str(path)]) == 0
    assert "B - A +0.0 points" in capsys.readouterr().out
    (tmp_path / "no.json").write_text("{}")
    assert main(["compare", str(path), str(tmp_path / "no.json")]) == 2
    assert "has no 'task'" in capsys.readouterr().err
