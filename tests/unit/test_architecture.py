"""The architecture page shows the tree as it is: its rooms, their order, and what each is for."""

from __future__ import annotations

import ast
import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SUBJECTS: Final[list[str]] = PROJECT["tool"]["importlinter"]["root_packages"]
ROOMS: Final = sorted(
    path.parent.relative_to(ROOT).as_posix() for subject in SUBJECTS for path in ROOT.glob(f"{subject}/**/__init__.py")
)


def purpose(room: str) -> str:
    """The first line of a room's docstring."""
    text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
    assert text is not None, f"{room}: must say what it is for"
    return text.partition("\n")[0]


def pictures() -> list[str]:
    return re.findall(r"^```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_list_of_rooms_is_that_of_the_tree() -> None:
    listed = [line for line in PAGE.partition("## What each room is for")[2].splitlines() if line.startswith("| `")]
    present = [f"| `{room}/` | {purpose(room)} |" for room in ROOMS]
    missing, stale = sorted(set(present) - set(listed)), sorted(set(listed) - set(present))
    assert (missing, stale) == ([], []), "the lines that docs/architecture.md lacks, and those to take away"
    assert listed == present, "docs/architecture.md: rooms must be in order"


def test_coverage_is_measured_of_every_package_of_the_tree() -> None:
    told = PROJECT["tool"]["coverage"]["run"]["source"]
    others = {"benchmarks", "examples", "feature_service_feast"}
    present = {path.parent.name for path in ROOT.glob("*/__init__.py")} - others
    assert sorted(told) == sorted(present) == sorted(SUBJECTS)


def test_every_room_is_installed_with_the_service() -> None:
    found = PROJECT["tool"]["setuptools"]["packages"]["find"]
    assert found["namespaces"] is False
    rooms = [path.parent.relative_to(ROOT) for path in ROOT.glob("[a-z]*/**/__init__.py")]
    names = sorted(".".join(room.parts) for room in rooms)
    installed = [name for name in names if any(fnmatchcase(name, pattern) for pattern in found["include"])]
    assert installed == [room.replace("/", ".") for room in ROOMS]


def test_the_picture_shows_every_room_and_the_subjects_in_the_order_of_imports() -> None:
    words = re.findall(r"[a-z_]+", pictures()[0])
    assert sorted(words) == sorted(room.rpartition("/")[2] for room in ROOMS)
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    in_order = [name for layer in layers for name in re.findall(r"[a-z_]+", layer)]
    drawn = [line for line in words if line in SUBJECTS]
    levels = {name: level for level, layer in enumerate(layers) for name in layer.split(" | ")}
    assert sorted(drawn) == sorted(in_order)
    assert [levels[name] for name in drawn] == sorted(levels.values())


def test_the_picture_of_data_names_rooms_that_there_are() -> None:
    named = set(re.findall(r"\b([a-z_]+/[a-z_/]+)", pictures()[1]))
    assert len(named) > 10
    assert named <= set(ROOMS)
