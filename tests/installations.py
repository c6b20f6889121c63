"""Distributions of ours as others install them: beside what they ask for, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def install(project: str, packages: Sequence[str], folder: Path) -> Path:
    """A folder into which pip installed the project of one of our folders, and nothing that it depends on."""
    for package in packages:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site")]
    built = subprocess.run([*pip, str(folder / project)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "site"


def linked(requirements: Iterable[str], folder: Path) -> Path:
    """A folder with these distributions of ours and what they depend on, as far as it is installed."""
    waiting, seen = [Requirement(text) for text in requirements], set()
    folder.mkdir()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        chosen = (name, frozenset(requirement.extras))
        if chosen in seen:
            continue
        seen.add(chosen)
        found = distribution(name)
        for text in found.requires or []:
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in ("", *requirement.extras)):
                waiting.append(needed)
        for file in found.files or []:
            top = file.parts[0]
            target = Path(str(found.locate_file(top)))
            if top not in {"..", "__pycache__"} and not (folder / top).exists():
                (folder / top).symlink_to(target.resolve())
    return folder


def run(program: str, repo_path: Path, *paths: Path, cwd: Path | None = None) -> str:
    """What the program prints on these paths and the standard library alone."""
    environment = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PATH": os.defpath, "HOME": str(cwd or repo_path)}
    command = [sys.executable, "-S", "-W", "ignore", "-c", program, str(repo_path)]
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=cwd or repo_path
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
