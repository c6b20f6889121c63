"""msgspec learns a class at its first use, and two threads at that at once end the process: it is learned at import."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PRODUCT: Final[list[str]] = PROJECT["tool"]["importlinter"]["root_packages"]
KNOWN: Final = {"dict", "list", "tuple", "str", "float", "int", "Any", "msgspec"}
"""Of which msgspec has nothing to learn."""


def names_of(expression: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)} - KNOWN


def used_in_functions(tree: ast.Module) -> Iterator[str]:
    """Classes that a function decodes or converts to."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            if call.func.attr == "decode":
                for keyword in call.keywords:
                    if keyword.arg == "type":
                        yield from names_of(keyword.value)
            elif ast.unparse(call.func) == "msgspec.convert":
                yield from names_of(call.args[1])
            elif call.func.attr == "Decoder" and call.args:
                yield from names_of(call.args[0])


def learned(tree: ast.Module) -> set[str]:
    """Classes that the module makes a decoder of when it is imported."""
    calls = (node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
    return {
        name
        for call in calls
        if isinstance(call, ast.Call) and call.args and ast.unparse(call.func).endswith("Decoder")
        for name in names_of(call.args[0])
    }


def test_no_class_is_learned_by_a_function() -> None:
    late = {}
    for path in (path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if missing := sorted(set(used_in_functions(tree)) - learned(tree)):
            late[path.relative_to(ROOT).as_posix()] = missing
    assert late == {}, "make a decoder of each at the top of its module"
