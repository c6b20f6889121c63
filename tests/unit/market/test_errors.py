"""The tree of errors: what its module says of itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

from market import errors
from market.errors import FeatureServiceError

ROOT: Final = Path(__file__).parents[3]
SUBJECTS: Final = (
    *("api", "feature_client", "feature_repo", "ingestion", "market", "quality", "runtime", "storage", "training_sets"),
    "transforms",
)
NO_ERROR: Final = {"Interrupted"}
"""What a job raises to be put back into the queue, when its process stops."""


def declared() -> dict[str, str]:
    """The package of each class outside of the module that derives from an exception and has a public name."""
    found = {}
    for subject in SUBJECTS:
        for path in (ROOT / subject).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                bases = {ast.unparse(base).rpartition(".")[2] for base in getattr(node, "bases", ())}
                is_error = any(base in vars(errors) or base.endswith(("Error", "Exception")) for base in bases)
                if isinstance(node, ast.ClassDef) and is_error and path != ROOT / "market" / "errors.py":
                    found[node.name] = subject
    return {name: subject for name, subject in found.items() if not name.startswith("_")}


def test_the_docstring_draws_every_class_of_the_module_once() -> None:
    drawn = re.findall(r"^[ │├└─]*(?:├──|└──) (\w+)", errors.__doc__ or "", re.MULTILINE)
    classes = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert sorted(["FeatureServiceError", *drawn]) == sorted(classes)
    assert all(issubclass(vars(errors)[name], FeatureServiceError) for name in classes)


def test_an_error_that_stands_elsewhere_is_met_by_its_own_package_alone() -> None:
    elsewhere = declared()
    assert {"RoleFailed", "RefusedByGateway", "LookAheadError"} <= elsewhere.keys()
    met = {
        (name, subject)
        for subject in SUBJECTS
        for path in (ROOT / subject).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for name in (alias.name for alias in node.names)
        if name in elsewhere.keys() - NO_ERROR and elsewhere[name] != subject
    }
    assert met == set()
