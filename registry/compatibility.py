"""What changing from one registry version to another means to those who read rows, in words.

1. A column that both have is the same while its code, its parameters, its unit and its range are.
2. Its values may change besides: the group's fingerprint holds how the source is brought into the state.
3. A column that is gone was renamed when the new version says so, or when exactly one new column is the same but for
   its name; else it was removed.
4. Whatever a reader by name must be changed for is breaking. The rest is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from feature_repo.migrations import Migration
from registry.definition import ColumnDefinition, Definition


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """From one version to another. renamed: old and new name; changed: column and what changed of it.

    groups_to_compute: of the new version, those of which history has no row with every column.
    """

    before: str
    after: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    changed: tuple[tuple[str, tuple[str, ...]], ...]
    is_reordered: bool
    sources_added: tuple[str, ...]
    sources_removed: tuple[str, ...]
    horizon_before_s: float
    horizon_after_s: float
    groups_to_compute: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    breaking_changes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"renamed": dict(self.renamed), "changed": {name: [*what] for name, what in self.changed}}


def compare(before: Definition, after: Definition, migration: Migration | None = None) -> Difference:
    """What a change from ``before`` to ``after`` is; ``migration`` is what the latter declares."""
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    renamed = _renamed(old, new, migration)
    gone = [name for name in before.names if name not in new and name not in renamed]
    come = [name for name in after.names if name not in old and name not in renamed.values()]
    pairs = [(name, renamed.get(name, name)) for name in before.names if name in new or name in renamed]
    changed = [(now, what) for name, now in pairs if (what := _changes(old[name], new[now]))]
    found = Difference(
        before=before.version,
        after=after.version,
        added=tuple(come),
        removed=tuple(gone),
        renamed=tuple(renamed.items()),
        changed=tuple(changed),
        is_reordered=[now for _, now in pairs] != [name for name in after.names if name not in come],
        sources_added=tuple(sorted(after.sources - before.sources)),
        sources_removed=tuple(sorted(before.sources - after.sources)),
        horizon_before_s=before.horizon_s,
        horizon_after_s=after.horizon_s,
        groups_to_compute=_groups_to_compute(before, after),
    )
    return replace(found, warnings=_warnings(found, migration), breaking_changes=_breaking(found, migration))


def _renamed(
    old: dict[str, ColumnDefinition], new: dict[str, ColumnDefinition], migration: Migration | None
) -> dict[str, str]:
    declared = {} if migration is None else migration.rename
    found = {name: now for name, now in declared.items() if name in old and name not in new and now not in old}
    gone = [column for name, column in old.items() if name not in new and name not in found]
    come = [column for name, column in new.items() if name not in old and name not in found.values()]
    for column in gone:
        same = [other for other in come if _identity(other) == _identity(column)]
        as_old = [other for other in gone if _identity(other) == _identity(column)]
        if len(same) == len(as_old) == 1:
            found[column.name] = same[0].name
    return found


def _identity(column: ColumnDefinition) -> tuple[str, str, str]:
    return column.group, column.code, column.parameters


def _changes(before: ColumnDefinition, now: ColumnDefinition) -> tuple[str, ...]:
    changes = []
    if before.code != now.code:
        changes.append("logic: its function is another")
    if before.parameters != now.parameters:
        changes.append(f"parameters: {now.parameters}, was {before.parameters}")
    if not changes and before.group_fingerprint != now.group_fingerprint and before.group == now.group:
        changes.append(f"logic: group {now.group} is computed by other code")
    if before.unit != now.unit:
        changes.append(f"unit: {now.unit}, was {before.unit}")
    if (before.low, before.high) != (now.low, now.high):
        changes.append(f"range: {_range(now)}, was {_range(before)}")
    return tuple(changes)


def _range(column: ColumnDefinition) -> str:
    low = "unbounded" if column.low is None else f"{column.low:g}"
    high = "unbounded" if column.high is None else f"{column.high:g}"
    return f"{low} to {high}"


def _groups_to_compute(before: Definition, after: Definition) -> tuple[str, ...]:
    held = {(column.group, column.group_fingerprint, column.name) for column in before.columns}
    lacking = (column.group for column in after.columns if _place(column) not in held)
    return tuple(dict.fromkeys(lacking))


def _place(column: ColumnDefinition) -> tuple[str, str, str]:
    return column.group, column.group_fingerprint, column.name


def _breaking(found: Difference, migration: Migration | None) -> tuple[str, ...]:
    dropped = set() if migration is None else set(migration.drop)
    return (
        *(f"{name}: removed" + (", as its migration declares" if name in dropped else "") for name in found.removed),
        *(f"{old}: renamed to {new}" for old, new in found.renamed),
        *(f"{name}: changed {'; '.join(what)}" for name, what in found.changed),
    )


def _warnings(found: Difference, migration: Migration | None) -> tuple[str, ...]:
    warnings = []
    if found.is_reordered:
        warnings.append(
            "order: columns that both versions share are in another order, which readers by position notice"
        )
    if found.sources_added:
        warnings.append(f"sources: reads {', '.join(found.sources_added)}, which {found.before} does not")
    if found.horizon_after_s > found.horizon_before_s:
        warnings.append(
            f"horizon: {found.horizon_after_s:g} s, was {found.horizon_before_s:g} s; its first rows may be of status "
            "WARMUP for longer"
        )
    if migration is not None:
        warnings += _idle(migration.rename, [old for old, _ in found.renamed], "rename", found.before)
        warnings += _idle(migration.drop, found.removed, "drop", found.before)
        warnings += [
            f"{name}: older rows have no value, its migration gives readers {value:g}"
            for name, value in migration.default.items()
            if name in found.added
        ]
    return tuple(warnings)


def _idle(declared: Iterable[str], used: Sequence[str], part: str, before: str) -> list[str]:
    return [
        f"migration.{part}.{name}: has no effect, {before} has no such column" for name in declared if name not in used
    ]
