"""The journal of an evaluation: one writer at a time."""

from pathlib import Path

import pytest

from server.commands.errors import CommandError
from server.evaluation.journal import Journal

SETTINGS = {"model": "tiny-lewm", "seed": 0}


def test_two_evaluations_do_not_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "result.json.unfinished.jsonl"
    with Journal(path, SETTINGS) as first:
        first.add("nominal/0", {"success": True})
        with pytest.raises(CommandError, match="another evaluation is writing"):
            Journal(path, SETTINGS)
    with Journal(path, SETTINGS) as second:
        assert second.rows == {"nominal/0": {"success": True}}


def test_without_a_path_nothing_is_shared() -> None:
    with Journal(None, SETTINGS) as one, Journal(None, SETTINGS) as other:
        one.add("nominal/0", {"success": True})
        assert not other.rows
