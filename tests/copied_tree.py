"""A copy of the tree to add something to, as a stranger would, and what was changed in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


def copied_tree(folder: Path) -> Path:
    """The tree, without what git does not keep, in a folder that is made."""
    ignored = shutil.ignore_patterns("__pycache__", ".*", "data")
    for path in ROOT.iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.name != "data":
            shutil.copytree(path, folder / path.name, ignore=ignored)
        elif path.name == "pyproject.toml":
            shutil.copy(path, folder / path.name)
    return folder


def run(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, tells_steps: bool = False
) -> tuple[int, list[str]]:
    """Exit code and lines of a Python command in the copy, which may tell its steps on stderr."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {}), "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert tells_steps or not finished.stderr, finished.stderr
    return finished.returncode, finished.stdout.splitlines()


def contents(folder: Path) -> dict[str, str]:
    """A digest of each file that someone keeps."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.relative_to(folder).parts[0].startswith(".")
    }
