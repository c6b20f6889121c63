"""Migrations of a registry version: what became of the columns of the version before it, declared and never executed.

    migration:
      rename: {old_name: column_of_this_version}
      drop: [old_name]
      default: {column_of_this_version: 0.0}

``default`` is what a reader may put where a row from before has no such column; the service fills nothing in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

_PARTS: Final = ("rename", "drop", "default")


@dataclass(frozen=True, slots=True)
class Migration:
    """rename: old name to column of the version. drop: old names. default: number by column of the version."""

    rename: Mapping[str, str]
    drop: tuple[str, ...]
    default: Mapping[str, float]

    def text(self) -> str:
        """As one JSON document, which is how it is recorded."""
        return json.dumps({"rename": dict(self.rename), "drop": list(self.drop), "default": dict(self.default)})


def read_migration(declared: object, columns: Collection[str]) -> tuple[Migration | None, list[str]]:
    """What a registry file declares in addition to ``columns``, those of its version, and what is wrong with it."""
    if declared is None:
        return None, []
    if not isinstance(declared, dict) or not declared.keys() <= set(_PARTS):
        return None, [f"migration: must be a mapping of {', '.join(_PARTS)}, was {declared!r}"]
    rename, drop, default = (declared.get(part, kind()) for part, kind in zip(_PARTS, (dict, list, dict), strict=True))
    problems = [
        *_rename_problems(rename, columns),
        *_drop_problems(drop, columns),
        *_default_problems(default, columns),
    ]
    if problems:
        return None, problems
    return Migration(dict(rename), tuple(drop), {name: float(value) for name, value in default.items()}), []


def _rename_problems(rename: object, columns: Collection[str]) -> list[str]:
    if not isinstance(rename, dict) or not all(isinstance(name, str) for pair in rename.items() for name in pair):
        return [f"migration.rename: must be new names by old ones, was {rename!r}"]
    problems = [f"migration.rename.{old}: must not be a column of this version" for old in rename if old in columns]
    problems += [
        f"migration.rename.{old}: must become a column of this version, was {new!r}"
        for old, new in rename.items()
        if new not in columns
    ]
    if len(set(rename.values())) < len(rename):
        problems.append(f"migration.rename: must give each old column a new one of its own, was {rename!r}")
    return problems


def _drop_problems(drop: object, columns: Collection[str]) -> list[str]:
    if not isinstance(drop, list) or not all(isinstance(name, str) for name in drop):
        return [f"migration.drop: must be a list of names, was {drop!r}"]
    return [f"migration.drop: must name no column of this version, was {name}" for name in drop if name in columns]


def _default_problems(default: object, columns: Collection[str]) -> list[str]:
    if not isinstance(default, dict):
        return [f"migration.default: must be numbers by column, was {default!r}"]
    return [
        f"migration.default.{name}: must be a finite number for a column of this version, was {value!r}"
        for name, value in default.items()
        if name not in columns
        or isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
    ]
