"""``make soak``: every file runs whatever another comes to, and what has passed does not run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.soak import begun, run

SLOW_TO_IMPORT = ("schemathesis", "xdist", "xdist.looponfail", "pytest_cov", "typeguard", "anyio")
LONG = """
from pathlib import Path
import pytest

@pytest.mark.soak
def test_long():
    assert Path("mended").exists()

def test_short():
    raise AssertionError("it is of make test")
"""
DRAWS = """
from pathlib import Path
import os
from hypothesis import given, strategies as st

@given(st.integers())
def test_draws(number):
    assert os.environ["FEATURE_SERVICE_TEST_EXAMPLES"] == "drawn"
    assert not Path("mended").exists(), "it has passed"
"""


def test_a_failure_ends_nothing_and_a_run_goes_on_with_what_has_not_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_out = " ".join(f"-p no:{name}" for name in SLOW_TO_IMPORT)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nmarkers = soak\naddopts = -m 'not soak' {left_out}\n")
    (tmp_path / "test_a_draw.py").write_text(DRAWS)
    (tmp_path / "test_long.py").write_text(LONG)
    kept = begun(tmp_path / "kept", 7, [])
    [failed] = run(kept, tmp_path)
    assert (failed.file, failed.code, failed.summary) == ("test_long.py", 1, "1 failed, 1 deselected")
    assert "assert Path(" in (tmp_path / "kept" / "test_long.log").read_text()
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "2 files, of which 0 passed before; examples are drawn with seed 7"
    assert [line.partition(",")[0] for line in told[1:]] == [
        "1/2 test_long.py: 1 failed",
        "2/2 test_a_draw.py: 1 passed",
    ]
    (tmp_path / "mended").touch()
    assert run(kept, tmp_path) == []
    codes = [(line["file"], line["code"]) for line in map(json.loads, kept.read_text().splitlines()[1:])]
    assert codes == [("test_long.py", 1), ("test_a_draw.py", 0), ("test_long.py", 0)]
