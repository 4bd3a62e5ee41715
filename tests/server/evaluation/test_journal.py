"""The journal of an evaluation: one writer at a time."""

from pathlib import Path

import pytest

from server.evaluation.journal import Journal, JournalError

SETTINGS = {"model": "tiny-lewm", "seed": 0}


def test_two_evaluations_do_not_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "result.json.unfinished.jsonl"
    with Journal(path, SETTINGS) as first:
        first.add("nominal/0", {"success": True})
        with pytest.raises(JournalError, match="another evaluation is writing"):
            Journal(path, SETTINGS)
    with Journal(path, SETTINGS) as second:
        assert second.rows == {"nominal/0": {"success": True}}


def test_a_line_that_is_no_json_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "result.json.unfinished.jsonl"
    with Journal(path, SETTINGS) as first:
        first.add("nominal/0", {"success": True})
    path.write_bytes(path.read_bytes() + b"<<<\n")
    with pytest.raises(JournalError, match=r"line 3 of .* is not JSON .*; remove that file to begin afresh"):
        Journal(path, SETTINGS)


def test_without_a_path_nothing_is_shared() -> None:
    with Journal(None, SETTINGS) as one, Journal(None, SETTINGS) as other:
        one.add("nominal/0", {"success": True})
        assert not other.rows
