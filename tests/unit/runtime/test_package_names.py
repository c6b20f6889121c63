"""Names of packages that another distribution took are told, before its modules answer in place of ours."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path

import pytest

from market.errors import InvalidSettings
from runtime.doctor import examine
from runtime.package_names import HOME, OURS, foreign_names
from runtime.settings import Settings

ROOT = Path(__file__).parents[3]


def test_the_names_are_those_of_every_package_that_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(OURS) == sorted(project["tool"]["importlinter"]["root_packages"])
    assert foreign_names() == []


def test_a_name_that_leads_elsewhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "upkeep").mkdir()
    (tmp_path / "upkeep" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "upkeep", raising=False)  # as in a process that has not imported it yet
    assert foreign_names() == [f"upkeep: must be {HOME / 'upkeep'}, was {tmp_path / 'upkeep'}"]


def test_files_of_another_distribution_under_our_name_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"market": ["feature-service", "market"], "numpy": ["x"]}
    )
    assert foreign_names() == ["market: must be part of feature-service only, was also part of market"]

    def fail() -> Settings:
        raise InvalidSettings("settings", [])

    [told] = [each for each in examine(fail) if each.subject == "package names"]
    assert (told.verdict, "environment of its own" in told.remedy) == ("wrong", True)
