"""The feature log: every final feature row as Parquet, one folder a group identity, which Feast reads as offline store.

Layout: ``<features>/<group>/<group fingerprint>/symbol=S/date=YYYY-MM-DD/<part>``, where ``parts`` says what a part is.
The date is the UTC date of the row time.

Rows of one time may be in several parts. The latest created wins, then the last written.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache, partial
from types import TracebackType
from typing import Final, Self

import numpy as np

from market.clock import DAY_NS, parse_iso_ns, utc_date
from market.errors import InvalidRequest, NotFound
from storage.features.group_rows import AskedRows, raise_missing_row, read_group, whole_rows
from storage.features.history_lags import HistoryLags
from storage.features.part_times import Int64s, stated_times
from storage.features.parts import PART, PartFile, group_folder, part_path, part_periods
from storage.file_group import FileGroup
from storage.file_locks import exclusive, shared
from storage.instruments import checked_symbol
from storage.objects.path import ObjectPath
from storage.places import Place, matching
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from transforms.status import STATUS_NAMES

_RETIRING: Final = ".retiring"


class FeatureLogWriter:
    """Buffers rows and writes them as one part a symbol, date and group.

    flush_rows: a symbol's buffer is written as soon as it holds this many rows, which bounds it.
    """

    def __init__(self, root: Place, *, flush_rows: int = 3600) -> None:
        self.log = FeatureLog(root)
        """What it has written, with what others have."""
        self._flush_rows = flush_rows
        self._buffered: dict[tuple[str, FeatureSet], list[tuple[FeatureRows, Int64s]]] = {}
        self._buffered_rows: Counter[tuple[str, FeatureSet]] = Counter()
        self._full: set[tuple[str, FeatureSet]] = set()

    def append(self, rows: FeatureRows, available_ns: Int64s) -> None:
        """``keep`` rows, and write them with those before once the buffer is full.

        Raises InvalidRequest as ``keep``, and StoreUnavailable when the disk refuses a part; the rows stay buffered.
        """
        self.keep(rows, available_ns)
        self.flush_full()

    def keep(self, rows: FeatureRows, available_ns: Int64s) -> None:
        """Take rows and when each became readable, int64 (n,), and write none; the arrays may change afterwards.

        Raises InvalidRequest: shapes or a status disagree with the feature set, or the symbol cannot name a folder.
        """
        _check(rows, available_ns)
        if not len(rows):
            return
        key = (rows.symbol, rows.feature_set)
        kept = FeatureRows(rows.symbol, rows.feature_set, rows.row_ns.copy(), rows.values.copy(), rows.status.copy())
        self._buffered.setdefault(key, []).append((kept, available_ns.copy()))
        self._buffered_rows[key] += len(rows)
        if self._buffered_rows[key] >= self._flush_rows:
            self._full.add(key)

    @property
    def buffered_rows(self) -> int:
        """Of all symbols."""
        return self._buffered_rows.total()

    @property
    def buffered_symbols(self) -> set[str]:
        return {symbol for symbol, _ in self._buffered}

    def take_out(self, key: tuple[str, FeatureSet]) -> list[tuple[FeatureRows, Int64s]]:
        """The buffered rows of a symbol and set, and when each became readable; they are not buffered any more."""
        rows = self._buffered.get(key, [])
        if rows:
            self._forget(key)
        return rows

    def flush_full(self) -> None:
        """Write the buffers that are full. Raises StoreUnavailable; what was not written stays buffered."""
        for key in list(self._full):
            self._flush(key)

    def flush(self) -> None:
        """Write every buffered row. Raises StoreUnavailable; what was not written stays buffered."""
        for key in list(self._buffered):
            self._flush(key)

    def stage_symbol(self, symbol: str, group: FileGroup) -> None:
        """Stage the symbol's buffered rows, which are gone from the buffer once ``group`` has published them.

        Within ``log.writing()``. Raises StoreUnavailable.
        """
        keys = [key for key in self._buffered if key[0] == symbol]
        for key in keys[:-1]:  # of versions before: a part must see theirs
            self._flush(key)
        for key in keys[-1:]:
            self._stage(key, group)

    def close(self) -> None:
        """Flush; closing again does nothing."""
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _flush(self, key: tuple[str, FeatureSet]) -> None:
        with self.log.writing(), FileGroup() as group:
            self._stage(key, group)
            # Together at the end: a reader hardly ever sees one group's part without the others'.
            group.publish()

    def _stage(self, key: tuple[str, FeatureSet], files: FileGroup) -> None:
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
        day = rows.row_ns // DAY_NS
        for date in np.unique(day).tolist():
            of_date = rows.only(day == date)
            times = stated_times(of_date.row_ns, available_ns[day == date])
            for group in feature_set.groups:
                folder = self.log.of_date(group, symbol, utc_date(date * DAY_NS))
                part = PartFile(folder, PART, symbol, group, sync=files.sync)
                files.on_leaving(part.discard)
                part.append(of_date, times)
                files.add(part_path(folder, part.first_ns, part.last_ns), part.finish())
        files.on_published(partial(self._forget, key))

    def _forget(self, key: tuple[str, FeatureSet]) -> None:
        del self._buffered[key], self._buffered_rows[key]
        self._full.discard(key)


@lru_cache(maxsize=1 << 12)  # a dataset of months asks for the folder of each of its dates several times
def _of_symbol(root: Place, group: FeatureGroup, symbol: str) -> Place:
    return group_folder(root, group) / f"symbol={checked_symbol(symbol)}"


@dataclass(frozen=True, slots=True)
class FeatureLog:
    """The feature log of one folder, of this machine or in an object store, opened.

    history_lags: when its rows of history are taken to have been readable; None is when the log says.
    """

    folder: Place
    history_lags: HistoryLags | None = None

    def ask(self) -> None:
        """Whether an object store answers, in one attempt. Raises StoreUnavailable."""
        if isinstance(self.folder, ObjectPath):
            self.folder.bucket.ask(self.folder.key)

    def writing(self) -> AbstractContextManager[None]:
        """Held by a writer of parts from staging to publishing them, shared with others. Raises StoreUnavailable.

        A worker that catches up after days writes into days that retention removes.
        """
        return shared(self.folder / _RETIRING)

    def retiring(self) -> AbstractContextManager[None]:
        """Held by who removes a day, alone. Raises StoreUnavailable."""
        return exclusive(self.folder / _RETIRING)

    def of_symbol(self, group: FeatureGroup, symbol: str) -> Place:
        """The folder of a group's rows of one symbol. Raises InvalidRequest when the symbol cannot name a folder."""
        return _of_symbol(self.folder, group, symbol)

    def of_date(self, group: FeatureGroup, symbol: str, date: str) -> Place:
        """The folder of one UTC date of them. Raises as ``of_symbol``."""
        return self.of_symbol(group, symbol) / f"date={date}"

    def read(
        self,
        symbol: str,
        feature_set: FeatureSet,
        *,
        from_ns: int | None,
        to_ns: int | None,
        served_only: bool = False,
        whole_only: bool = False,
    ) -> tuple[FeatureRows, Int64s]:
        """The rows with ``from_ns <= row time < to_ns``, their groups joined, and when each was readable as a whole.

        A part that lacks a column of the set was written for a version that names fewer; its rows count as not
        computed. The second array is int64 (n,), the latest created time among the row's groups. served_only: pass over
        rebuilt days. whole_only: pass over rows that a group lacks, as those of another version that has the others do.

        Raises:
            NotFound: no group of the set has any row of the symbol.
            CorruptStore: a group lacks a row that another has, unless whole_only, or a file is not what was written.
            InvalidRequest: the symbol cannot name a folder.
        """
        folders = self._folders(symbol, feature_set)
        asked = AskedRows(from_ns=from_ns, to_ns=to_ns, served_only=served_only, history_lags=self.history_lags)
        groups = [
            read_group(folder, group, symbol, asked) for folder, group in zip(folders, feature_set.groups, strict=True)
        ]
        if whole_only:
            groups = whole_rows(groups)
        row_ns = groups[0].row_ns
        if not all(np.array_equal(read.row_ns, row_ns) for read in groups):
            raise_missing_row(symbol, feature_set, groups)
        values = np.empty((len(row_ns), len(feature_set.columns)))
        status = np.empty((len(row_ns), len(feature_set.groups)), np.int8)
        available_ns = groups[0].created_ns.copy()
        for index, group in enumerate(feature_set.groups):
            read = groups.pop(0)  # which is let go of once it is beside the others
            values[:, list(group.indices)] = read.values
            status[:, index] = read.status
            np.maximum(available_ns, read.created_ns, out=available_ns)
        return FeatureRows(symbol, feature_set, row_ns, values, status), available_ns

    def served_days(self, symbol: str, feature_set: FeatureSet) -> list[int]:
        """Begin of each UTC day of which a group of the set has rows that were served, ns, ascending.

        Raises NotFound and InvalidRequest as ``read`` does.
        """
        dates = {
            part.parent.name.removeprefix("date=")
            for folder in self._folders(symbol, feature_set)
            for part in matching(folder, f"date=*/{PART}-*.parquet")
        }
        return sorted(map(parse_iso_ns, dates))

    def last_served_row_ns(self, symbol: str, feature_set: FeatureSet) -> int | None:
        """Time of the symbol's newest row that was served and that every group of the set has; None when there is none.

        Raises CorruptStore for a file that is no part, InvalidRequest when the symbol cannot name a folder.
        """
        newest = []
        for group in feature_set.groups:
            folder = self.of_symbol(group, symbol)
            dates = reversed(matching(folder, "date=*"))
            ends = (
                max((last for name, _, last in part_periods(date) if name.startswith(f"{PART}-")), default=None)
                for date in dates
            )
            newest.append(next((end for end in ends if end is not None), None))
        known = [end for end in newest if end is not None]
        return min(known) if known and len(known) == len(newest) else None

    def _folders(self, symbol: str, feature_set: FeatureSet) -> list[Place]:
        """The symbol's folder of each group. Raises NotFound when there is none of them."""
        folders = [self.of_symbol(group, symbol) for group in feature_set.groups]
        if not any(folder.is_dir() for folder in folders):
            raise no_rows(symbol, f"{feature_set.version} in {self.folder}")
        return folders


def no_rows(symbol: str, of: str) -> NotFound:
    """The error for a symbol without rows of something."""
    return NotFound(
        f"feature log of {symbol}: must exist, was none of {of}; "
        f"feature-service rebuild --symbol {symbol} computes it from raw data"
    )


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
