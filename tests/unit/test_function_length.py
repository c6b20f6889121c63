"""No function is longer than a screen, and one that is says why here."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 60
"""Of code: a docstring may be an algorithm in numbered steps."""
LONGER: dict[str, str] = {}
"""``file function``: the reason."""


def functions() -> Iterator[tuple[str, int]]:
    """Every function of the packages that are shipped, with its lines."""
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    for path in sorted(path for package in shipped for path in (ROOT / package.replace(".", "/")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(ROOT).as_posix()} {node.name}", length(node)


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    begin = node.body[0]
    is_docstring = isinstance(begin, ast.Expr) and isinstance(begin.value, ast.Constant)
    docstring = (begin.end_lineno or 0) - begin.lineno + 1 if is_docstring else 0
    return node.end_lineno - node.lineno + 1 - docstring


def test_no_function_is_longer_than_a_screen_but_for_a_reason() -> None:
    long = {name for name, lines in functions() if lines > MOST_LINES}
    assert long == LONGER.keys()


@pytest.mark.parametrize(("lines", "expected"), [(59, 60), (60, 61)])
def test_a_docstring_does_not_count(lines: int, expected: int) -> None:
    [node] = ast.parse('def f():\n    """One.\n\n    Two."""\n' + "    g()\n" * lines).body
    assert isinstance(node, ast.FunctionDef)
    assert length(node) == expected
