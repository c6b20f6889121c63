"""Rebuilt days: partitions of the feature log that say what they were computed from, so that none is computed twice.

A group's rows of one symbol and UTC date are one file, ``rebuilt-<first row>-<last row>-<inputs>.parquet`` beside the
parts of served rows. ``inputs`` is a hash of everything the rows were computed from; the folder names the group's code.
Registry versions share the files: one that selects fewer of a group's columns finds them in a file with more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from market.clock import SECOND_NS
from storage.durable_files import publish_files
from storage.feature_log import COMMON_COLUMNS, REBUILT, group_folder, stage_group
from storage.instruments import checked_symbol
from storage.raw_file import reading_parquet
from transforms.rows import FeatureGroup, FeatureRows


def has_rebuilt_day(root: Path, group: FeatureGroup, symbol: str, date: str, inputs: str) -> bool:
    """Whether the day stands, computed from these inputs, with every column of the group. Raises CorruptStore."""
    return any(_columns(path) >= set(group.columns) for path in _rebuilt(_folder(root, group, symbol, date), inputs))


def rebuilt_columns(root: Path, group: FeatureGroup, symbol: str, date: str, inputs: str) -> set[str]:
    """Every feature that a file of the day has, made of these inputs, for whatever version. Raises CorruptStore."""
    return set[str]().union(*(_columns(path) for path in _rebuilt(_folder(root, group, symbol, date), inputs)))


def write_rebuilt_day(
    root: Path, rows: FeatureRows, available_ns: npt.NDArray[np.int64], *, date: str, inputs: Mapping[str, str]
) -> None:
    """Write the rows of one UTC date for the groups that ``inputs`` names, all files on disk before the first is seen.

    Files of these groups made of other inputs go, and those whose columns are all here. Raises StoreUnavailable.
    """
    staged: dict[Path, Path] = {}
    replaced: list[Path] = []
    try:
        for index, group in enumerate(rows.feature_set.groups):
            if group.name not in inputs:
                continue
            folder = _folder(root, group, rows.symbol, date)
            first, last = int(rows.row_ns[0]), int(rows.row_ns[-1])
            path = folder / f"{REBUILT}-{first}-{last}-{inputs[group.name]}.parquet"
            if path.is_file() and not _columns(path) <= set(group.columns):
                path = path.with_name(f"{REBUILT}-{first}-{last}-{len(group.columns)}-{inputs[group.name]}.parquet")
            replaced += [
                old
                for old in _rebuilt(folder, "*")
                if old != path
                and (not old.stem.endswith(f"-{inputs[group.name]}") or _columns(old) <= set(group.columns))
            ]
            staged[path] = stage_group(path, rows, available_ns, slice(None), index)
        publish_files(staged)
    except BaseException:
        # Groups that have their names already stay: each is whole, and the others are computed again.
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)
        raise
    for old in replaced:
        old.unlink(missing_ok=True)


def is_served_whole(root: Path, group: FeatureGroup, symbol: str, date: str, *, first_ns: int, last_ns: int) -> bool:
    """Whether every second of [first_ns, last_ns] of the date was served, with every column of the group."""
    row_ns, _ = _served_rows(_folder(root, group, symbol, date), group)
    in_period = np.unique(row_ns[(row_ns >= first_ns) & (row_ns <= last_ns)])
    return len(in_period) == (last_ns - first_ns) // SECOND_NS + 1


def served_available_ns(
    root: Path, groups: Iterable[FeatureGroup], symbol: str, date: str, row_ns: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """When each row, ascending, was served as a whole: the latest of the groups; 0 for one that was not served."""
    available_ns = np.zeros(len(row_ns), np.int64)
    for group in groups:
        served_ns, created_ns = _served_rows(_folder(root, group, symbol, date), group)
        at = np.searchsorted(row_ns, served_ns)
        is_known = at < len(row_ns)
        is_known[is_known] = row_ns[at[is_known]] == served_ns[is_known]
        np.maximum.at(available_ns, at[is_known], created_ns[is_known])
    return available_ns


@dataclass(frozen=True, slots=True)
class CachedDays:
    """What rebuilt days there are of a symbol: dates of any group, files of all groups and their bytes."""

    symbol: str
    dates: tuple[str, ...]
    files: int
    size: int


def cached_days(root: Path) -> list[CachedDays]:
    """The rebuilt days of every symbol, of whatever code, sorted by symbol."""
    found: dict[str, list[Path]] = {}
    for path in root.glob(f"*/*/symbol=*/date=*/{REBUILT}-*.parquet"):
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


def remove_rebuilt_days(root: Path, *, symbol: str | None, first_date: str | None, last_date: str | None) -> int:
    """Remove the rebuilt days of a symbol, or of all, from one date to another, both included; files removed.

    None is no bound. What was served stays. Raises InvalidRequest when the symbol cannot name a folder.
    """
    named = "*" if symbol is None else checked_symbol(symbol)
    removed = 0
    for path in list(root.glob(f"*/*/symbol={named}/date=*/{REBUILT}-*.parquet")):
        date = path.parent.name.removeprefix("date=")
        if (first_date is None or date >= first_date) and (last_date is None or date <= last_date):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _served_rows(folder: Path, group: FeatureGroup) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Row times and created times of the served parts that hold every column of the group."""
    row_ns, created_ns = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for path in sorted(folder.glob("part-*.parquet")):
        if not _columns(path) >= set(group.columns):
            continue
        with reading_parquet(path):
            table = pq.read_table(path, columns=["event_timestamp", "created_timestamp"], partitioning=None)
        row_ns.append(table.column("event_timestamp").cast(pa.int64()).to_numpy())
        created_ns.append(table.column("created_timestamp").cast(pa.int64()).to_numpy())
    return np.concatenate(row_ns), np.concatenate(created_ns)


def _folder(root: Path, group: FeatureGroup, symbol: str, date: str) -> Path:
    return group_folder(root, group) / f"symbol={checked_symbol(symbol)}" / f"date={date}"


def _rebuilt(folder: Path, inputs: str) -> list[Path]:
    return sorted(folder.glob(f"{REBUILT}-*-{inputs}.parquet"))


def _columns(path: Path) -> set[str]:
    """The features in a file."""
    with reading_parquet(path):
        return set(pq.read_schema(path).names) - COMMON_COLUMNS
