"""The notebooks open as such, are short, and are named where people look."""

from __future__ import annotations

from typing import Any

import jupytext
import pytest

from tests.notebooks import NOTEBOOKS, ROOT

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_begins_with_its_title_and_what_it_needs(name: str) -> None:
    notebook: Any = jupytext.read(NOTEBOOKS / f"{name}.py")
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "Needs the folder of `" in first.source
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 4 <= len(code) <= 12
    assert sum(len(cell.source.splitlines()) for cell in code) < 110


def test_every_notebook_is_named_on_their_page_and_that_in_readme() -> None:
    page = (NOTEBOOKS / "README.md").read_text()
    assert len(NAMES) == 5
    assert [name for name in NAMES if f"({name}.py)" not in page] == []
    assert "examples/notebooks/README.md" in (ROOT / "README.md").read_text()
