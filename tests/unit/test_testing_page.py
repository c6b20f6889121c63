"""The page about tests names every variable that they read, and files that are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
OF_TESTS: Final = re.compile(r'environ\.get\("(FEATURE_SERVICE_\w+)"')


def test_every_variable_that_the_tests_read_is_named() -> None:
    found = {name for path in (ROOT / "tests").rglob("*.py") for name in OF_TESTS.findall(path.read_text())}
    assert len(found) > 5
    assert {name for name in found if f"`{name}`" not in PAGE} == set()


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"\btest_[\w*]+\.py", PAGE)
    assert [name for name in named if not any((ROOT / "tests").rglob(name))] == []
