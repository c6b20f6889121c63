"""The feature log: every final feature row as Parquet, one folder a group identity, which Feast reads as offline store.

Layout: ``<features>/<group>/<group fingerprint>/symbol=S/date=YYYY-MM-DD/part-<first row>-<last row>.parquet`` for rows
as they were served, ``rebuilt-<first row>-<last row>-<inputs>.parquet`` for a rebuilt day, with
event_timestamp (the row time), created_timestamp (``available_ns``), symbol, the group's features and its status by
name. The date is the UTC date of the row time.

Rows of one time may be in several parts. The latest created wins, then the last written: a part states a generation
one above that of the parts whose period it overlaps.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, NoReturn, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from market.clock import DAY_NS, format_iso, utc_date
from market.errors import CorruptStore, InvalidRequest, NotFound
from storage.durable_files import publish_files, stage_file
from storage.instruments import checked_symbol
from storage.raw_file import reading_parquet
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from transforms.status import STATUS_NAMES

Int64s = npt.NDArray[np.int64]

_TIME: Final = pa.timestamp("ns", tz="UTC")
_KEYS: Final = ("event_timestamp", "created_timestamp", "symbol")
_STATUS: Final = "status"
COMMON_COLUMNS: Final = frozenset({*_KEYS, _STATUS})
"""Of every part, whatever its group."""
REBUILT: Final = "rebuilt"
PART_FORMAT: Final[Mapping[str, Any]] = {
    # Of rows of a recording LZ4 makes 14 % more bytes than zstd, and reads them three times as fast.
    "compression": "lz4",
    "use_dictionary": ["symbol", _STATUS],
    "column_encoding": dict.fromkeys(_KEYS[:2], "DELTA_BINARY_PACKED"),
    "write_page_checksum": True,
}
"""How a part is written, as ``pyarrow.parquet.write_table`` takes it."""


class FeatureLogWriter:
    """Buffers rows and writes them as one part a symbol, date and group.

    flush_rows: a symbol's buffer is written as soon as it holds this many rows, which bounds it.
    """

    def __init__(self, root: Path, *, flush_rows: int = 3600) -> None:
        self._root = root
        self._flush_rows = flush_rows
        self._buffered: dict[tuple[str, FeatureSet], list[tuple[FeatureRows, Int64s]]] = {}
        self._buffered_rows: Counter[tuple[str, FeatureSet]] = Counter()

    def append(self, rows: FeatureRows, available_ns: Int64s) -> None:
        """Take rows and when each became readable, int64 (n,); the arrays may change afterwards.

        Raises:
            InvalidRequest: shapes or a status disagree with the feature set, or the symbol cannot name a folder.
            StoreUnavailable: the disk refused a part; the rows stay buffered.
        """
        _check(rows, available_ns)
        if not len(rows):
            return
        key = (rows.symbol, rows.feature_set)
        kept = FeatureRows(rows.symbol, rows.feature_set, rows.row_ns.copy(), rows.values.copy(), rows.status.copy())
        self._buffered.setdefault(key, []).append((kept, available_ns.copy()))
        self._buffered_rows[key] += len(rows)
        if self._buffered_rows[key] >= self._flush_rows:
            self._flush(key)

    def flush(self) -> None:
        """Write every buffered row. Raises StoreUnavailable; what was not written stays buffered."""
        for key in list(self._buffered):
            self._flush(key)

    def flush_symbol(self, symbol: str) -> None:
        """Write the symbol's buffered rows. Raises StoreUnavailable; what was not written stays buffered."""
        for key in [key for key in self._buffered if key[0] == symbol]:
            self._flush(key)

    def close(self) -> None:
        """Flush; closing again does nothing."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _flush(self, key: tuple[str, FeatureSet]) -> None:
        symbol, feature_set = key
        buffer = self._buffered[key]
        rows = FeatureRows(
            symbol,
            feature_set,
            np.concatenate([part.row_ns for part, _ in buffer]),
            np.concatenate([part.values for part, _ in buffer]),
            np.concatenate([part.status for part, _ in buffer]),
        )
        available_ns = np.concatenate([available for _, available in buffer])
        staged: dict[Path, Path] = {}
        try:
            day = rows.row_ns // DAY_NS
            for date in np.unique(day):
                of_date = np.flatnonzero(day == date)
                for group_index in range(len(feature_set.groups)):
                    path, temporary = _stage_part(self._root, rows, available_ns, of_date, group_index)
                    staged[path] = temporary
        except BaseException:
            for temporary in staged.values():
                temporary.unlink()
            raise
        # Together at the end: a reader hardly ever sees one group's part without the others'.
        publish_files(staged)
        del self._buffered[key], self._buffered_rows[key]


@dataclass(frozen=True, slots=True)
class _GroupRows:
    """One group's rows, ascending and without duplicates."""

    row_ns: Int64s
    created_ns: Int64s
    values: npt.NDArray[np.float64]
    status: npt.NDArray[np.int8]


def group_folder(root: Path, group: FeatureGroup) -> Path:
    """The folder of one group identity, the path that its Feast source names."""
    return root / group.name / group.fingerprint


def read_feature_log(
    root: Path,
    symbol: str,
    feature_set: FeatureSet,
    *,
    from_ns: int | None,
    to_ns: int | None,
    served_only: bool = False,
) -> tuple[FeatureRows, Int64s]:
    """The rows with ``from_ns <= row time < to_ns``, their groups joined, and when each was readable as a whole.

    A part that lacks a column of the set was written for a version that names fewer; its rows count as not computed.

    The second array is int64 (n,), the latest created time among the row's groups. served_only: pass over rebuilt days.

    Raises:
        NotFound: no group of the set has any row of the symbol.
        CorruptStore: a group lacks a row that another has, or a file is not what was written.
        InvalidRequest: the symbol cannot name a folder.
    """
    folders = [group_folder(root, group) / f"symbol={checked_symbol(symbol)}" for group in feature_set.groups]
    if not any(folder.is_dir() for folder in folders):
        raise NotFound(f"feature log of {symbol}: must exist, was none of {feature_set.version} in {root}")
    groups = [
        _read_group(folder, group, symbol, from_ns, to_ns, served_only=served_only)
        for folder, group in zip(folders, feature_set.groups, strict=True)
    ]
    row_ns = groups[0].row_ns
    if not all(np.array_equal(read.row_ns, row_ns) for read in groups):
        _raise_missing_row(symbol, feature_set, groups)
    values = np.empty((len(row_ns), len(feature_set.columns)))
    status = np.empty((len(row_ns), len(groups)), np.int8)
    available_ns = groups[0].created_ns.copy()
    for index, (group, read) in enumerate(zip(feature_set.groups, groups, strict=True)):
        values[:, list(group.indices)] = read.values
        status[:, index] = read.status
        np.maximum(available_ns, read.created_ns, out=available_ns)
    return FeatureRows(symbol, feature_set, row_ns, values, status), available_ns


def last_served_row_ns(root: Path, symbol: str, feature_set: FeatureSet) -> int | None:
    """Time of the symbol's newest row that was served and that every group of the set has; None when there is none.

    Raises CorruptStore for a file that is no part, InvalidRequest when the symbol cannot name a folder.
    """
    newest = []
    for group in feature_set.groups:
        folder = group_folder(root, group) / f"symbol={checked_symbol(symbol)}"
        dates = sorted(folder.glob("date=*"), reverse=True)
        ends = (
            max((end for path, _, end in _parts(date) if not path.name.startswith(REBUILT)), default=None)
            for date in dates
        )
        newest.append(next((end for end in ends if end is not None), None))
    known = [end for end in newest if end is not None]
    return min(known) if known and len(known) == len(newest) else None


def _check(rows: FeatureRows, available_ns: Int64s) -> None:
    checked_symbol(rows.symbol)
    count = len(rows)
    feature_set = rows.feature_set
    for thing, shape, expected in (
        ("values", rows.values.shape, (count, len(feature_set.columns))),
        ("status", rows.status.shape, (count, len(feature_set.groups))),
        ("available_ns", available_ns.shape, (count,)),
    ):
        if shape != expected:
            raise InvalidRequest(f"{rows.symbol} rows, {thing}: shape must be {expected}, was {shape}")
    unknown = rows.status[(rows.status < 0) | (rows.status >= len(STATUS_NAMES))]
    if len(unknown):
        raise InvalidRequest(f"{rows.symbol} rows, status: must be 0 to {len(STATUS_NAMES) - 1}, was {unknown[0]}")


def _stage_part(
    root: Path, rows: FeatureRows, available_ns: Int64s, of_date: Int64s, group_index: int
) -> tuple[Path, Path]:
    """Write one group's rows of one date to a dot file; the path it is for, and that file."""
    group = rows.feature_set.groups[group_index]
    row_ns = rows.row_ns[of_date]
    first, last = int(row_ns.min()), int(row_ns.max())
    folder = group_folder(root, group) / f"symbol={rows.symbol}" / f"date={utc_date(first)}"
    path = folder / f"part-{first}-{last}.parquet"
    return path, stage_group(path, rows, available_ns, of_date, group_index)


def stage_group(path: Path, rows: FeatureRows, available_ns: Int64s, of_date: Int64s | slice, group_index: int) -> Path:
    """Write one group's chosen rows to a dot file for ``path``, on disk before this returns; gives that file.

    Raises StoreUnavailable.
    """
    group = rows.feature_set.groups[group_index]
    row_ns = rows.row_ns[of_date]
    first, last = int(row_ns.min()), int(row_ns.max())
    generations = [_generation(part) for part, start, end in _parts(path.parent) if start <= last and end >= first]
    columns: dict[str, pa.Array[pa.Scalar[pa.DataType]]] = {
        "event_timestamp": pa.array(row_ns).cast(_TIME),
        "created_timestamp": pa.array(available_ns[of_date]).cast(_TIME),
        "symbol": pa.repeat(rows.symbol, len(row_ns)),
    }
    for name, index in zip(group.columns, group.indices, strict=True):
        # from_pandas would turn NaN into null.
        columns[name] = pa.array(rows.values[of_date, index], from_pandas=False)
    status = pa.array(rows.status[of_date, group_index], pa.int8())
    columns[_STATUS] = pa.DictionaryArray.from_arrays(status, pa.array(STATUS_NAMES)).cast(pa.string())
    table = pa.table(columns).replace_schema_metadata(
        {
            "group": group.name,
            "group_fingerprint": group.fingerprint,
            "generation": str(max(generations, default=-1) + 1),
        }
    )

    def write(file: BinaryIO) -> None:
        pq.write_table(table, file, **PART_FORMAT)

    return stage_file(path, write)


def _read_group(
    folder: Path, group: FeatureGroup, symbol: str, from_ns: int | None, to_ns: int | None, *, served_only: bool
) -> _GroupRows:
    tables = []
    for path in _parts_in_order(folder, from_ns, to_ns):
        if served_only and path.name.startswith(REBUILT):
            continue
        with reading_parquet(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            if not set(group.columns) <= set(file.schema_arrow.names):
                continue  # written for a registry version that names fewer of the group's features
            _check_part(file, path, group, symbol)
            tables.append(file.read([*_KEYS[:2], *group.columns, _STATUS]))
    count = sum(table.num_rows for table in tables)
    row_ns, created_ns = np.empty(count, np.int64), np.empty(count, np.int64)
    values, status = np.empty((count, len(group.columns))), np.empty(count, np.int8)
    start = 0
    for table in tables:
        end = start + table.num_rows
        row_ns[start:end] = table.column("event_timestamp").cast(pa.int64()).to_numpy()
        created_ns[start:end] = table.column("created_timestamp").cast(pa.int64()).to_numpy()
        for index, name in enumerate(group.columns):
            values[start:end, index] = table.column(name).to_numpy()
        codes = pc.index_in(table.column(_STATUS), value_set=pa.array(STATUS_NAMES))
        if codes.null_count:
            raise CorruptStore(f"{folder} {_STATUS}: must be one of {STATUS_NAMES}, was another")
        status[start:end] = codes.to_numpy()
        start = end
    # Stable: of one row time and one created time, the part and then the position written last stays last.
    order = np.lexsort((created_ns, row_ns))
    sorted_ns = row_ns[order]
    is_last = np.append(sorted_ns[1:] != sorted_ns[:-1], np.ones(min(count, 1), np.bool_))
    in_period = np.ones(count, np.bool_)
    if from_ns is not None:
        in_period &= sorted_ns >= from_ns
    if to_ns is not None:
        in_period &= sorted_ns < to_ns
    kept = order[is_last & in_period]
    return _GroupRows(row_ns[kept], created_ns[kept], values[kept], status[kept])


def _check_part(file: pq.ParquetFile, path: Path, group: FeatureGroup, symbol: str) -> None:
    schema = file.schema_arrow
    metadata = schema.metadata or {}
    stated = metadata.get(b"group_fingerprint", b"").decode()
    if stated != group.fingerprint:
        raise CorruptStore(f"{path}: group fingerprint must be its folder's, {group.fingerprint}, was {stated!r}")
    expected = {"event_timestamp": _TIME, "created_timestamp": _TIME, "symbol": pa.string(), _STATUS: pa.string()}
    expected |= dict.fromkeys(group.columns, pa.float64())
    for name, kind in expected.items():
        index = schema.get_field_index(name)
        if index < 0 or schema.field(index).type != kind:
            raise CorruptStore(f"{path} {name}: must be {kind}, was {schema.field(index).type if index >= 0 else None}")
    for row_group in range(file.metadata.num_row_groups):
        statistics = file.metadata.row_group(row_group).column(_KEYS.index("symbol")).statistics
        if statistics is None or (statistics.min, statistics.max) != (symbol, symbol):
            raise CorruptStore(f"{path} symbol: must be its folder's, {symbol}, was another")


def _raise_missing_row(symbol: str, feature_set: FeatureSet, groups: list[_GroupRows]) -> NoReturn:
    everywhere = np.unique(np.concatenate([read.row_ns for read in groups]))
    missing = {
        group.name: int(lacking[0])
        for group, read in zip(feature_set.groups, groups, strict=True)
        if len(lacking := np.setdiff1d(everywhere, read.row_ns))
    }
    name, row_ns = min(missing.items(), key=lambda entry: entry[1])
    raise CorruptStore(
        f"feature log of {symbol}, group {name}: must have every row the other groups have, was without "
        f"{format_iso(row_ns)}"
    )


def _parts_in_order(folder: Path, from_ns: int | None, to_ns: int | None) -> list[Path]:
    """The parts whose period touches ``[from_ns, to_ns)``, in the order in which overlapping ones were written."""
    first = "" if from_ns is None else f"date={utc_date(from_ns)}"
    last = "date=~" if to_ns is None else f"date={utc_date(to_ns - 1)}"
    if not folder.is_dir():
        return []
    dates = sorted(date for date in folder.iterdir() if date.name.startswith("date=") and first <= date.name <= last)
    parts = [
        (part, start, end)
        for date in dates
        for part, start, end in _parts(date)
        if (from_ns is None or end >= from_ns) and (to_ns is None or start < to_ns)
    ]
    in_time = all(end < start for (_, _, end), (_, start, _) in itertools.pairwise(parts))
    return [part for part, _, _ in parts] if in_time else sorted((part for part, _, _ in parts), key=_generation)


def _parts(folder: Path) -> list[tuple[Path, int, int]]:
    """The parts of one date with their first and last row time, by time."""
    parts = []
    for path in (*folder.glob("part-*.parquet"), *folder.glob(f"{REBUILT}-*.parquet")):
        kind, *period = path.stem.split("-")
        if kind == REBUILT:
            period = period[:2]  # what it was made of follows
        try:
            first, last = map(int, period)
        except ValueError as error:
            raise CorruptStore(f"{path}: must be part-<first row>-<last row>.parquet, was another name") from error
        parts.append((path, first, last))
    return sorted(parts, key=lambda part: part[1:])


def _generation(path: Path) -> int:
    """How many layers of parts this one was written over."""
    with reading_parquet(path), pq.ParquetFile(path) as file:
        stated = (file.schema_arrow.metadata or {}).get(b"generation", b"").decode()
    if not stated.isdecimal():
        raise CorruptStore(f"{path}: metadata must state its generation, was {stated!r}")
    return int(stated)
