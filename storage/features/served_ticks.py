"""The record of what readers were given: row time, availability and a digest of each row that was served.

Layout: ``<features>/served_ticks/symbol=S/date=YYYY-MM-DD/ticks-<first row>-<last row>-<first available>.parquet`` by
UTC date of the row time, with the columns row_ns, available_ns (int64) and digest (uint64); the file's metadata states
the feature set. Rows between whole seconds are in no feature log: they are computed again from the raw data where they
are needed, and this says which of them were served, when, and what their bits were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market.clock import DAY_NS, utc_date
from market.errors import CorruptStore
from storage.features.log import FeatureLog
from storage.features.part_times import Int64s
from storage.file_group import FileGroup
from storage.instruments import checked_symbol
from storage.parquet_files import StagedParquet, opened_parquet
from storage.places import Place, matching, names_matching
from transforms.rows import FeatureRows, FeatureSet

Uint64s = npt.NDArray[np.uint64]

SERVED_TICKS: Final = "served_ticks"
FLUSH_ROWS: Final = 3600
_TICKS: Final = "ticks"
_DIGEST_BYTES: Final = 8
_SCHEMA: Final = pa.schema(
    [
        pa.field("row_ns", pa.int64(), nullable=False),
        pa.field("available_ns", pa.int64(), nullable=False),
        pa.field("digest", pa.uint64(), nullable=False),
    ]
)
_FORMAT: Final[dict[str, Any]] = {
    "compression": "lz4",
    "use_dictionary": False,
    "column_encoding": {"row_ns": "DELTA_BINARY_PACKED", "available_ns": "DELTA_BINARY_PACKED"},
    "write_page_checksum": True,
}


def row_digest(rows: FeatureRows) -> Uint64s:
    """Of each row the first 8 bytes, little-endian, of BLAKE2b over its values and then its statuses; (n,).

    Values are little-endian float64 in the order of the columns, statuses int8 in the order of the groups.
    """
    values = np.ascontiguousarray(rows.values, "<f8")
    status = np.ascontiguousarray(rows.status, np.int8)
    digests = (blake2b(values[at].tobytes() + status[at].tobytes()).digest()[:_DIGEST_BYTES] for at in range(len(rows)))
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


class ServedTickWriter:
    """Buffers the record of served rows and writes a file a symbol and date.

    flush_rows: a symbol's buffer is written as soon as it holds this many rows, which bounds it.
    """

    def __init__(self, features_folder: Place, *, flush_rows: int = FLUSH_ROWS) -> None:
        self._log = FeatureLog(features_folder)
        self._flush_rows = flush_rows
        self._buffered: dict[tuple[str, FeatureSet], list[tuple[Int64s, Int64s, Uint64s]]] = {}
        self._counts: Counter[tuple[str, FeatureSet]] = Counter()
        self._full: set[tuple[str, FeatureSet]] = set()

    def append(self, rows: FeatureRows, available_ns: Int64s) -> None:
        """``keep`` rows, and write them with those before once the buffer is full.

        Raises StoreUnavailable when the disk refuses a file; what was not written stays buffered.
        """
        self.keep(rows, available_ns)
        self.flush_full()

    def keep(self, rows: FeatureRows, available_ns: Int64s) -> None:
        """Take rows that were served and when each could be read, int64 (n,), and write none."""
        if len(rows) == 0:
            return
        key = (rows.symbol, rows.feature_set)
        self._buffered.setdefault(key, []).append((rows.row_ns.copy(), available_ns.copy(), row_digest(rows)))
        self._counts[key] += len(rows)
        if self._counts[key] >= self._flush_rows:
            self._full.add(key)

    @property
    def buffered_rows(self) -> int:
        """Of all symbols."""
        return self._counts.total()

    @property
    def buffered_symbols(self) -> set[str]:
        return {symbol for symbol, _ in self._buffered}

    def flush_full(self) -> None:
        """Write the buffers that are full. Raises StoreUnavailable; what was not written stays buffered."""
        for key in list(self._full):
            self._flush(key)

    def stage_symbol(self, symbol: str, group: FileGroup) -> None:
        """Stage what is buffered of a symbol, which is gone from the buffer once ``group`` has published it.

        Raises StoreUnavailable.
        """
        for key in [key for key in self._buffered if key[0] == symbol]:
            self._stage(key, group)

    def close(self) -> None:
        """Write what is buffered. Raises StoreUnavailable."""
        for key in list(self._buffered):
            self._flush(key)

    def _flush(self, key: tuple[str, FeatureSet]) -> None:
        with self._log.writing(), FileGroup() as group:
            self._stage(key, group)
            group.publish()

    def _stage(self, key: tuple[str, FeatureSet], group: FileGroup) -> None:
        symbol, feature_set = key
        row_ns, available_ns, digest = (np.concatenate(column) for column in zip(*self._buffered[key], strict=True))
        folder = _folder(self._log.folder, symbol)
        day = row_ns // DAY_NS
        for date in np.unique(day).tolist():
            of_date = day == date
            times, availables = row_ns[of_date], available_ns[of_date]
            name = f"{_TICKS}-{times.min()}-{times.max()}-{availables[0]}.parquet"
            path = folder / f"date={utc_date(date * DAY_NS)}" / name
            file = StagedParquet(path, sync=group.sync)
            group.on_leaving(file.discard)
            file.open(_SCHEMA, **_FORMAT)
            table = pa.table([times, availables, digest[of_date]], schema=_SCHEMA)
            file.write(table, row_group_rows=table.num_rows)
            stated = {"version": feature_set.version, "feature_set": feature_set.fingerprint}
            group.add(path, file.finish(stated))
        group.on_published(partial(self._forget, key))

    def _forget(self, key: tuple[str, FeatureSet]) -> None:
        del self._buffered[key], self._counts[key]
        self._full.discard(key)


def read_served_ticks(
    log: FeatureLog, symbol: str, *, from_ns: int, to_ns: int, feature_set: str | None = None
) -> tuple[Int64s, Int64s, Uint64s]:
    """Row times, availabilities and digests of the served rows with ``from_ns <= row time < to_ns``.

    Sorted by row time, then availability; empty where nothing was served. feature_set: the fingerprint of the set whose
    rows are meant; None is all.

    Raises CorruptStore for a file that is not what was written, InvalidRequest when the symbol cannot name a folder.
    """
    tables = [_SCHEMA.empty_table()]
    for path in served_tick_files(log, symbol, from_ns=from_ns, to_ns=to_ns):
        with opened_parquet(path) as file:
            metadata = file.metadata.metadata or {}
            if file.schema_arrow.names != _SCHEMA.names or file.schema_arrow.types != _SCHEMA.types:
                raise CorruptStore(f"{path}: must have the columns of served rows, was {file.schema_arrow.names}")
            if feature_set is None or metadata.get(b"feature_set", b"").decode() == feature_set:
                tables.append(file.read().cast(_SCHEMA))
    table = pa.concat_tables(tables)
    row_ns, available_ns, digest = (table.column(name).to_numpy() for name in _SCHEMA.names)
    order = np.lexsort((available_ns, row_ns))
    order = order[(row_ns[order] >= from_ns) & (row_ns[order] < to_ns)]
    return row_ns[order], available_ns[order], digest[order]


def last_served_tick_ns(log: FeatureLog, symbol: str) -> int | None:
    """Time of the newest row of a symbol that is on record, of whatever feature set; None when there is none.

    Raises CorruptStore for a file of another name.
    """
    dates = reversed(matching(_folder(log.folder, symbol), "date=*"))
    ends = (max((end for _, _, end in _of_date(date)), default=None) for date in dates)
    return next((end for end in ends if end is not None), None)


def _folder(features_folder: Place, symbol: str) -> Place:
    return features_folder / SERVED_TICKS / f"symbol={checked_symbol(symbol)}"


def served_tick_files(log: FeatureLog, symbol: str, *, from_ns: int, to_ns: int) -> list[Place]:
    """The symbol's files whose period touches ``[from_ns, to_ns)``. Raises CorruptStore for a file of another name."""
    folder = _folder(log.folder, symbol)
    if from_ns >= to_ns:
        return []
    first, last = f"date={utc_date(from_ns)}", f"date={utc_date(to_ns - 1)}"
    return [
        date / name
        for date in matching(folder, "date=*")
        if first <= date.name <= last
        for name, start, end in _of_date(date)
        if end >= from_ns and start < to_ns
    ]


def _of_date(folder: Place) -> Iterator[tuple[str, int, int]]:
    """The files of one date by name, with their first and last row time. Raises CorruptStore for another name."""
    for name in names_matching(folder, f"{_TICKS}-*.parquet"):
        try:
            first, last, _ = map(int, name.removeprefix(f"{_TICKS}-").removesuffix(".parquet").split("-"))
        except ValueError as error:
            path = folder / name
            raise CorruptStore(f"{path}: must be ticks-<first row>-<last row>-<first available>.parquet") from error
        yield name, first, last
