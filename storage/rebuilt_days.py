"""Rebuilt days: partitions of the feature log that say what they were computed from, so that none is computed twice.

A group's rows of one symbol and UTC date are one file, ``rebuilt-<first row>-<last row>-<inputs>.parquet`` beside the
parts of served rows. ``inputs`` is a hash of everything the rows were computed from; the folder names the group's code.
Registry versions share the files: one that selects fewer of a group's columns finds them in a file with more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from storage.durable_files import publish_files
from storage.feature_log import COMMON_COLUMNS, REBUILT, group_folder, stage_group
from storage.instruments import checked_symbol
from storage.raw_parquet import reading_parquet
from transforms.rows import FeatureGroup, FeatureRows


def has_rebuilt_day(root: Path, group: FeatureGroup, symbol: str, date: str, inputs: str) -> bool:
    """Whether the day stands, computed from these inputs, with every column of the group. Raises CorruptStore."""
    return any(_columns(path) >= set(group.columns) for path in _rebuilt(_folder(root, group, symbol, date), inputs))


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
    except BaseException:
        for temporary in staged.values():
            temporary.unlink()
        raise
    publish_files(staged)
    for old in replaced:
        old.unlink(missing_ok=True)


def _folder(root: Path, group: FeatureGroup, symbol: str, date: str) -> Path:
    return group_folder(root, group) / f"symbol={checked_symbol(symbol)}" / f"date={date}"


def _rebuilt(folder: Path, inputs: str) -> list[Path]:
    return sorted(folder.glob(f"{REBUILT}-*-{inputs}.parquet"))


def _columns(path: Path) -> set[str]:
    """The features in a file."""
    with reading_parquet(path):
        return set(pq.read_schema(path).names) - COMMON_COLUMNS
