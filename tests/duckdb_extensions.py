"""duckdb's own extensions, which it would download, from wheels of this environment."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.conftest import missing

NAMES: Final = ("avro", "httpfs", "iceberg")


def loading_extensions() -> str:
    """The statements that load what reads Iceberg tables, of a disk and of an object store; skips where it is missing.

    duckdb refuses files that it has not signed.
    """
    packages = [f"duckdb_extension_{name}" for name in NAMES]
    if any(find_spec(package) is None for package in packages):
        missing("duckdb's iceberg extension")
    paths = [path for package in packages for path in Path(str(files(package))).rglob("*.duckdb_extension")]
    return "; ".join(f"LOAD '{path}'" for path in paths)
