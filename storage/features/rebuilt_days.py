"""Rebuilt days: partitions of the feature log that say what they were computed from, so that none is computed twice.

A group's rows of one symbol and UTC date are one part, ``rebuilt-<first row>-<last row>-<inputs>.parquet`` next to
those of served rows. ``inputs`` is a hash of everything the rows were computed from; the folder names the group's code.
Registry versions share the files: one that selects fewer of a group's columns finds them in a file with more.

A file whose rows were revised is kept as ``revised-…``: reads as of a time before the revision still find it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from market.clock import SECOND_NS
from storage.durable_files import changing_files, publish_files, remove_files, rename_file
from storage.features.log import FeatureLog
from storage.features.part_times import Int64s, part_times, stated_times, time_columns
from storage.features.parts import (
    PART,
    REBUILT,
    REVISED,
    PartFile,
    part_columns,
    read_listed,
)
from storage.instruments import checked_symbol
from storage.parquet_files import opened_parquet
from storage.places import Place, matching
from transforms.rows import FeatureGroup, FeatureRows

_NO_TIMES: Final = np.empty(0, np.int64)


def has_rebuilt_day(log: FeatureLog, group: FeatureGroup, symbol: str, date: str, inputs: str) -> bool:
    """Whether the day exists, computed from these inputs, with every column of the group. Raises CorruptStore."""
    return any(part_columns(path) >= set(group.columns) for path in _rebuilt(log.of_date(group, symbol, date), inputs))


def rebuilt_columns(log: FeatureLog, group: FeatureGroup, symbol: str, date: str, inputs: str) -> set[str]:
    """Every feature that a file of the day has, made of these inputs, for whatever version. Raises CorruptStore."""
    return set[str]().union(*(part_columns(path) for path in _rebuilt(log.of_date(group, symbol, date), inputs)))


def write_rebuilt_day(  # noqa: PLR0913  # a day, what it is made of, and whether what it replaces stays
    log: FeatureLog,
    symbol: str,
    groups: Iterable[FeatureGroup],
    pieces: Iterable[tuple[FeatureRows, Int64s]],
    *,
    date: str,
    inputs: Mapping[str, str],
    is_revising: Callable[[], bool] = lambda: False,
) -> int:
    """Write the rows of one UTC date for the groups that ``inputs`` names, all files on disk before the first is seen.

    groups: of the set that the rows are of. pieces: consecutive rows, one at least, and when each is available, int64
        (n,); each becomes a row group, and is let go once the next one is there.

    Files of these groups made of other inputs go, and those whose columns are all here. is_revising: asked once all
    pieces are written; where it is so, files made of other inputs stay for reads as of before. Returns how many rows
    were written. Raises StoreUnavailable.
    """
    count = 0
    with ExitStack() as stack:
        written = {
            group: PartFile(log.of_date(group, symbol, date), REBUILT, symbol, group)
            for group in groups
            if group.name in inputs
        }
        for part in written.values():
            # Groups that have their names already stay: each is whole, and the others are computed again.
            stack.callback(part.discard)
        for rows, available_ns in pieces:
            count += len(rows)
            times = stated_times(rows.row_ns, available_ns)
            for part in written.values():
                part.append(rows, times)
        staged: dict[Place, Path] = {}
        replaced: list[Place] = []
        for group, part in written.items():
            path = _path(log.of_date(group, symbol, date), part, group, inputs[group.name])
            replaced += _replaced_by(path, group, inputs[group.name])
            staged[path] = part.finish()
        if is_revising():
            # Before the new ones are seen: whoever dies in between leaves a day that is still due, and loses nothing.
            replaced = [left for old in replaced if (left := _kept(old, inputs)) is not None]
        publish_files(staged)
    with changing_files(log.folder):
        remove_files(replaced)
    return count


def _kept(old: Place, inputs: Mapping[str, str]) -> Place | None:
    """Keep a file made of other inputs under the name of what was revised; gives one that may go."""
    if old.stem.rpartition("-")[2] in inputs.values():
        return old
    with changing_files(old), suppress(FileNotFoundError):
        rename_file(old, old.name.replace(REBUILT, REVISED, 1))
    return None


def is_served_whole(
    log: FeatureLog, group: FeatureGroup, symbol: str, date: str, *, first_ns: int, last_ns: int
) -> bool:
    """Whether every second of [first_ns, last_ns] of the date was served, with every column of the group."""
    row_ns, _ = _served_rows(log.of_date(group, symbol, date), group)
    in_period = np.unique(row_ns[(row_ns >= first_ns) & (row_ns <= last_ns)])
    return len(in_period) == (last_ns - first_ns) // SECOND_NS + 1


def served_times(log: FeatureLog, groups: Iterable[FeatureGroup], symbol: str, date: str) -> tuple[Int64s, Int64s]:
    """The rows of a date that were served, ascending, and when each was as a whole: the latest of the groups."""
    served = [_served_rows(log.of_date(group, symbol, date), group) for group in groups]
    times = np.concatenate([row_ns for row_ns, _ in served] or [_NO_TIMES])
    row_ns, at = np.unique(times, return_inverse=True)
    created_ns = np.zeros(len(row_ns), np.int64)
    np.maximum.at(created_ns, at, np.concatenate([created_ns for _, created_ns in served] or [_NO_TIMES]))
    return row_ns, created_ns


@dataclass(frozen=True, slots=True)
class CachedDays:
    """What rebuilt days there are of a symbol: dates of any group, files of all groups and their bytes."""

    symbol: str
    dates: tuple[str, ...]
    files: int
    size: int


def cached_days(log: FeatureLog) -> list[CachedDays]:
    """The rebuilt days of every symbol, of whatever code, sorted by symbol."""
    found: dict[str, list[Place]] = {}
    for path in matching(log.folder, f"*/*/symbol=*/date=*/{REBUILT}-*.parquet"):
        found.setdefault(path.parent.parent.name.removeprefix("symbol="), []).append(path)
    return [
        CachedDays(
            symbol,
            tuple(sorted({path.parent.name.removeprefix("date=") for path in paths})),
            len(paths),
            sum(path.stat().st_size for path in paths),
        )
        for symbol, paths in sorted(found.items())
    ]


def remove_rebuilt_days(log: FeatureLog, *, symbol: str | None, first_date: str | None, last_date: str | None) -> int:
    """Remove the rebuilt days of a symbol, or of all, from one date to another, both included; files removed.

    None is no bound. What was served stays.

    Raises StoreUnavailable, InvalidRequest when the symbol cannot name a folder.
    """
    named = "*" if symbol is None else checked_symbol(symbol)
    removed = 0
    with changing_files(log.folder):
        for path in matching(log.folder, f"*/*/symbol={named}/date=*/{REBUILT}-*.parquet"):
            date = path.parent.name.removeprefix("date=")
            if (first_date is None or date >= first_date) and (last_date is None or date <= last_date):
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def _served_rows(folder: Place, group: FeatureGroup) -> tuple[Int64s, Int64s]:
    """Row times and created times of the served parts that hold every column of the group."""

    def read(path: Place) -> tuple[Int64s, Int64s]:
        if not part_columns(path) >= set(group.columns):
            return _NO_TIMES, _NO_TIMES
        with opened_parquet(path, is_checked=False) as file:
            table = file.read(time_columns(file.schema_arrow))
        return part_times(table)

    found = read_listed(lambda: matching(folder, f"{PART}-*.parquet"), read)
    return (
        np.concatenate([_NO_TIMES, *(row_ns for row_ns, _ in found)]),
        np.concatenate([_NO_TIMES, *(created_ns for _, created_ns in found)]),
    )


def _rebuilt(folder: Place, inputs: str) -> list[Place]:
    # Not by a pattern: one for each day would be compiled each time.
    return [path for path in _all_rebuilt(folder) if path.name.endswith(f"-{inputs}.parquet")]


def _all_rebuilt(folder: Place) -> list[Place]:
    return matching(folder, f"{REBUILT}-*-*.parquet")


def _path(folder: Place, part: PartFile, group: FeatureGroup, inputs: str) -> Place:
    """The name of a day that was written; another one where a file with more of the group's columns has it."""
    path = folder / f"{REBUILT}-{part.first_ns}-{part.last_ns}-{inputs}.parquet"
    if path.is_file() and not part_columns(path) <= set(group.columns):
        return path.with_name(f"{REBUILT}-{part.first_ns}-{part.last_ns}-{len(group.columns)}-{inputs}.parquet")
    return path


def _replaced_by(path: Place, group: FeatureGroup, inputs: str) -> list[Place]:
    """The files of the day that go once ``path`` is there."""
    return [
        old
        for old in _all_rebuilt(path.parent)
        if old != path and (not old.stem.endswith(f"-{inputs}") or part_columns(old) <= set(group.columns))
    ]
