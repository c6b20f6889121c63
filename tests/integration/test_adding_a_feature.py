"""A feature is added to a copy of the tree: two files by hand, the rest by one command, which says what is left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.commands import PROGRAM
from tests.copied_tree import contents, run

FUNCTION: Final = '''

@feature("hour_of_day", reads=NOTHING, unit="1", low=0.0, high=23.0)
def hour_of_day(row_ns: int) -> float:
    """Hour of the UTC day.

    Formula: floor(second of the day / 3600)
    NaN: never.
    """
    return float(second_of_day(row_ns) // 3600)
'''
FORMULA: Final = '    return {\n        "hour_of_day": Fraction(moment.hour),\n'
LOCK: Final = (*PROGRAM, "features", "lock")
BY_HAND: Final = {"transforms/features/temporal.py", "quality/oracle/rows.py"}
BY_COMMAND: Final = {"transforms/fingerprints.json", "docs/features.md"}
GOLDEN: Final = {f"tests/golden/{name}.json" for name in ("across_midnight", "linear_BTCUSDT", "linear_ETHUSDT")}


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def left(lines: Sequence[str]) -> list[str]:
    return [line.partition(";")[0] for line in lines if line.startswith("left: ")]


def test_a_feature_is_a_function_a_command_and_an_oracle(copy: Path) -> None:
    """Without the recordings, so the command leaves the golden rows and says so."""
    before = contents(copy)
    append(copy / "transforms" / "features" / "temporal.py", FUNCTION)
    _, lines = run(copy, "-m", "tests.unfinished")
    assert "hour_of_day: quality/oracle does not compute it" in [line.partition(";")[0] for line in lines]

    rows = copy / "quality" / "oracle" / "rows.py"
    rows.write_text(rows.read_text().replace("    return {\n", FORMULA, 1))
    status, lines = run(copy, *LOCK)
    golden = [f"left: {name}: its rows of temporal were computed by other code" for name in sorted(GOLDEN)]
    assert (status, left(lines)) == (1, golden)
    after = contents(copy)
    assert {name for name in after | before if after.get(name) != before.get(name)} == BY_HAND | BY_COMMAND


@pytest.mark.soak
def test_with_the_recordings_nothing_is_left_and_the_oracle_agrees(copy: Path, recorded_data: Path) -> None:
    (copy.parent / "shared").mkdir()
    (copy.parent / "shared" / "data").symlink_to(recorded_data)
    before = contents(copy)
    append(copy / "transforms" / "features" / "temporal.py", FUNCTION)
    rows = copy / "quality" / "oracle" / "rows.py"
    rows.write_text(rows.read_text().replace("    return {\n", FORMULA, 1))
    status, lines = run(copy, *LOCK)
    assert (status, left(lines)) == (0, [])
    after = contents(copy)
    changed = {name for name in after | before if after.get(name) != before.get(name)}
    assert changed == BY_HAND | BY_COMMAND | GOLDEN
    of_a_market = ("tests/laws/test_oracle.py", "-k", "simulated_market or closed_in_one_call", "-q")
    status, lines = run(copy, "-m", "pytest", *of_a_market, "-p", "no:cacheprovider")
    assert status == 0, lines
