"""A feature is added to a copy of the tree: two files by hand, the rest by one command, which says what is left."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
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
LOCK: Final = ("-c", "from runtime.cli import main; main()", "features", "lock")
BY_HAND: Final = {"transforms/features/temporal.py", "quality/oracle/rows.py"}
BY_COMMAND: Final = {"transforms/fingerprints.json", "docs/features.md"}
GOLDEN: Final = {f"tests/golden/{name}.json" for name in ("across_midnight", "linear_BTCUSDT", "linear_ETHUSDT")}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", ".*", "data")
    for path in ROOT.iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.name != "data":
            shutil.copytree(path, folder / path.name, ignore=ignored)
        elif path.name == "pyproject.toml":
            shutil.copy(path, folder / path.name)
    return folder


def run(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and lines of a Python command in the copy."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert not finished.stderr, finished.stderr
    return finished.returncode, finished.stdout.splitlines()


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file that someone keeps."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.relative_to(folder).parts[0].startswith(".")
    }


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def left(lines: Sequence[str]) -> list[str]:
    return [line.partition(";")[0] for line in lines if line.startswith("left: ")]


def test_a_feature_is_a_function_a_command_and_an_oracle(copy: Path) -> None:
    """Without the recordings, so the command leaves the golden rows and says so."""
    before = contents(copy)
    append(copy / "transforms" / "features" / "temporal.py", FUNCTION)
    status, lines = run(copy, *LOCK)
    golden = [f"left: {name}: its rows of temporal were computed by other code" for name in sorted(GOLDEN)]
    assert (status, left(lines)) == (1, [*golden, "left: hour_of_day: quality/oracle does not compute it"])

    rows = copy / "quality" / "oracle" / "rows.py"
    rows.write_text(rows.read_text().replace("    return {\n", FORMULA, 1))
    status, lines = run(copy, *LOCK)
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
