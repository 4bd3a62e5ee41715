"""`docs/limits.md` says what the code does: the same settings, defaults and units, and nothing else."""

import dataclasses
import re
from pathlib import Path

import pytest

from server.arrays import MOST_READING_NUMBERS
from server.errors import Code
from server.schemas.values import MOST_SENSORS
from server.settings import Settings, SettingsError
from worldmodel.observation import MOST_VALUES

ROWS = {
    row[0].strip("` "): [cell.strip() for cell in row[1:]]
    for line in (Path(__file__).parents[2] / "docs" / "limits.md").read_text().splitlines()
    if line.startswith("| `")
    for row in [line.strip("|").split("|")]
}
LIMITS = {
    field.name: field.default
    for field in dataclasses.fields(Settings)
    if type(field.default) in (int, float) and not field.name.endswith("_port")
}
MEASURED = {"s", "ms", "bytes", "px", "pixels"}
"""Units that a name must carry; the others count what the name says."""


def test_every_limit_has_its_row() -> None:
    assert ROWS.keys() == LIMITS.keys()


@pytest.mark.parametrize("name", LIMITS)
def test_default_and_unit_are_the_codes(name: str) -> None:
    default, unit, bounds, code = ROWS[name]
    assert default == str(LIMITS[name])
    assert bounds
    assert code in {*Code, ""}
    suffix = re.search(r"_(s|ms|bytes|px|pixels)$", name)
    assert (suffix[1] if suffix else None) == (unit if unit in MEASURED else None)


@pytest.mark.parametrize("name", [name for name in LIMITS if name.startswith("max_") or name.endswith("_timeout_s")])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_of_nothing_is_a_mistake(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_what_the_contract_fixes_is_said_too() -> None:
    page = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    assert f"at most {MOST_SENSORS} images, {MOST_SENSORS} arrays and {MOST_SENSORS} capture times" in page
    assert re.search(rf"an array at most\s+{MOST_READING_NUMBERS} numbers", page)
    assert MOST_READING_NUMBERS == MOST_VALUES, "a model may have a vector as large as the wire carries"
