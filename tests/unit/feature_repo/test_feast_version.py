"""Which Feast the stores were tested with is pinned, written down, and said where another is installed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

from feature_repo.feast_version import OLDEST, TESTED, refuse_pandas, warn_of_others, warn_of_pandas

ROOT = Path(__file__).parents[3]


def test_another_version_warns_and_one_that_was_tested_does_not() -> None:
    told = rf"feast: must be {' or '.join(TESTED)}, which the stores were tested with, was 99\.0\.0rc1; "
    with pytest.warns(UserWarning, match=told):
        warn_of_others("99.0.0rc1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for version in TESTED:
            warn_of_others(version)


def test_a_pandas_that_feast_does_not_take_is_told_to_who_reads_and_refused_to_who_writes() -> None:
    with pytest.warns(
        UserWarning, match=r"pandas: must be below 3, as Feast requires, was 3\.1\.1: features that Feast"
    ):
        warn_of_pandas("3.1.1")
    with pytest.raises(
        ImportError, match=r"pandas: must be below 3, as Feast requires, was 3\.0\.0: Feast would write"
    ):
        refuse_pandas("3.0.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_pandas("2.3.3")
        refuse_pandas("2.3.3")


@pytest.mark.parametrize(
    ("installed", "told"),
    [("0.1.0", f"ImportError: feast: must be {OLDEST} or newer, was 0.1.0"), ("99.1.0", "cannot import name")],
)
@pytest.mark.parametrize("store", ["offline_store", "online_store"])
def test_a_store_says_what_is_wrong_before_it_imports_what_another_version_lacks(
    tmp_path: Path, store: str, installed: str, told: str
) -> None:
    (tmp_path / "feast").mkdir()
    (tmp_path / "feast" / "__init__.py").write_text("")
    about = tmp_path / f"feast-{installed}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: feast\nVersion: {installed}\n")
    program = f"import sys; sys.path.insert(0, sys.argv[1]); import feature_repo.{store}"
    finished = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert finished.returncode == 1
    assert "feast: must be" in finished.stderr
    assert told in finished.stderr


def test_the_tested_versions_are_those_that_are_pinned_and_written_down() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [pinned] = [text for text in project["dependencies"] if text.startswith("feast")]
    page = (ROOT / "docs" / "feast.md").read_text(encoding="utf-8")
    assert pinned.partition("==")[2] in TESTED
    assert [version for version in TESTED if f"| {version} | all pass" not in page] == []
