"""The index of decisions is that of the files, and a decision names what enforces it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / "docs" / "adr"
FILES: Final = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
STATUS: Final = re.compile(r"proposed|accepted|replaced by \d{4}")


def stated(path: Path) -> tuple[str, str, str, str]:
    """Number, file, title and status."""
    text = path.read_text(encoding="utf-8")
    heading, status = re.match(r"# (\d{4}) (.+)", text), re.search(r"^Status: (.+)$", text, re.MULTILINE)
    assert heading is not None, f"{path.name}: must begin with its number and title"
    assert status is not None, f"{path.name}: must have a status"
    assert STATUS.fullmatch(status[1]), f"{path.name}: status must be {STATUS.pattern}, was {status[1]}"
    return heading[1], path.name, heading[2], status[1]


def test_the_index_has_a_line_for_each_file_with_its_title_and_status() -> None:
    lines = re.findall(
        r"^\| \[(\d{4})\]\((.+?)\) \| (.+?) \| (.+?) \| .+ \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    assert lines == [stated(path) for path in FILES]


def test_a_number_is_used_once_and_one_that_replaces_exists() -> None:
    numbers = [stated(path)[0] for path in FILES]
    assert len(set(numbers)) == len(numbers)
    assert all(path.name.startswith(f"{stated(path)[0]}-") for path in FILES)
    replaced = [
        status.removeprefix("replaced by ") for *_, status in map(stated, FILES) if status.startswith("replaced")
    ]
    assert set(replaced) <= set(numbers)


def test_every_test_that_a_decision_names_is_there() -> None:
    root = FOLDER.parents[1]
    for path in FILES:
        enforced = path.read_text(encoding="utf-8").partition("## Enforced by")[2].partition("\n## ")[0]
        for name in re.findall(r"`(tests/[\w/]+\.py)`", enforced):
            assert (root / name).is_file(), f"{path.name} names {name}"
