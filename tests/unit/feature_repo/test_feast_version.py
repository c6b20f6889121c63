"""Which Feast the stores were tested with is pinned, written down, and said where another is installed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

from feature_repo.feast_version import TESTED, warn_of_others

ROOT = Path(__file__).parents[3]


def test_another_version_warns_and_one_that_was_tested_does_not() -> None:
    with pytest.warns(UserWarning, match=r"feast: must be 0\.67\.0, which the stores were tested with, was 0\.1\.0; "):
        warn_of_others("0.1.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for version in TESTED:
            warn_of_others(version)


@pytest.mark.parametrize("store", ["offline_store", "online_store"])
def test_a_store_warns_before_it_imports_what_another_version_lacks(tmp_path: Path, store: str) -> None:
    (tmp_path / "feast").mkdir()
    (tmp_path / "feast" / "__init__.py").write_text("")
    (tmp_path / "feast-0.1.0.dist-info").mkdir()
    (tmp_path / "feast-0.1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: feast\nVersion: 0.1.0\n")
    program = f"import sys; sys.path.insert(0, sys.argv[1]); import feature_repo.{store}"
    finished = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert finished.returncode == 1
    assert "feast: must be 0.67.0" in finished.stderr
    assert "ImportError: cannot import name" in finished.stderr


def test_the_tested_versions_are_those_that_are_pinned_and_written_down() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [pinned] = [text for text in project["dependencies"] if text.startswith("feast")]
    page = (ROOT / "docs" / "feast.md").read_text(encoding="utf-8")
    assert pinned.partition("==")[2] in TESTED
    assert [version for version in TESTED if f"| {version} | all pass" not in page] == []
