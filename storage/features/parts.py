"""The parts of the feature log: a group's rows of one symbol and UTC date as Parquet, their format, names and order.

``part-<first row>-<last row>.parquet`` holds rows as they were served, with a number behind where another part has that
name; a rebuilt day's name begins with ``rebuilt`` and states what it was made of, as does that of one whose rows were
revised since, ``revised``. Columns: event_timestamp (the row time), created_timestamp and available_ns, of which
``part_times`` says how they differ, the group's features and its status by name. The symbol is in the folder's name and
in the file's metadata: a column of it next to the folders would keep pandas and pyarrow from reading them.

A part states a generation one above that of the parts whose period it overlaps: of rows of one time and one created
time the last written wins (``market.written_order``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from market.clock import utc_date
from market.errors import CorruptStore
from market.written_order import GENERATION, stated_generation, written_order
from storage.durable_files import FileVersion, file_version
from storage.features.part_times import AVAILABLE, CREATED, EVENT, TIME, TIME_BEFORE, event_unit_ns
from storage.group_sync import GroupSync
from storage.parquet_files import StagedParquet, opened_parquet, reading_parquet
from storage.places import Place, SamePlace, matching, names_matching
from transforms.rows import FeatureGroup, FeatureRows
from transforms.status import STATUS_NAMES

Read = TypeVar("Read")

MOST_LISTINGS: Final = 100
"""Of a folder for one reading: a merge removes hundreds of files one by one, and each may be missed."""
PART: Final = "part"
REBUILT: Final = "rebuilt"
REVISED: Final = "revised"
"""A rebuilt day of which another has other rows since: it stays for reads as of before."""
STATUS: Final = "status"
_SYMBOL: Final = "symbol"
COMMON_COLUMNS: Final = frozenset({EVENT, CREATED, AVAILABLE, _SYMBOL, STATUS})
"""Of every part, whatever its group."""
PART_FORMAT: Final[Mapping[str, Any]] = {
    # Of rows of a recording LZ4 makes 14 % more bytes than zstd, and reads them three times as fast.
    "compression": "lz4",
    "use_dictionary": [STATUS],
    "column_encoding": dict.fromkeys((EVENT, CREATED, AVAILABLE), "DELTA_BINARY_PACKED"),
    "write_page_checksum": True,
}
"""How a part is written, as ``pyarrow.parquet.write_table`` takes it."""
_KINDS: Final = frozenset({PART, REBUILT, REVISED})
_STATUSES: Final = pa.array(STATUS_NAMES)


class PartFile:
    """One part that is being written, a row group at a time, staged until it is published.

    first_ns, last_ns: the least and the greatest row time written; 0 before the first row.
    """

    def __init__(
        self, folder: Place, kind: str, symbol: str, group: FeatureGroup, *, sync: GroupSync | None = None
    ) -> None:
        """folder: of the date. Nothing is there before the first row. sync: as of ``StagedParquet``."""
        self._folder = folder
        self._symbol = symbol
        self._group = group
        self._parquet = StagedParquet(folder / f"{kind}.parquet", sync=sync)
        self.first_ns = self.last_ns = 0

    def append(self, rows: FeatureRows, times: Sequence[pa.Array[Any]]) -> None:
        """Write rows, one at least, as a row group. times: their ``stated_times``. Raises StoreUnavailable."""
        first = int(rows.row_ns.min())
        self.first_ns = min(self.first_ns or first, first)
        self.last_ns = max(self.last_ns, int(rows.row_ns.max()))
        # from_pandas would turn NaN into null.
        values = (pa.array(rows.values[:, index], from_pandas=False) for index in self._group.indices)
        status = pa.array(rows.status[:, rows.feature_set.groups.index(self._group)], pa.int8())
        schema = _schema(self._group, self._symbol)
        if not self._parquet.is_open:
            self._parquet.open(schema, **PART_FORMAT)
        table = pa.table([*times, *values, _STATUSES.take(status)], schema=schema)
        self._parquet.write(table, row_group_rows=len(rows))

    def finish(self) -> Path:
        """Close the file; gives it as it is staged. Raises StoreUnavailable."""
        period = self.first_ns, self.last_ns + 1
        known = read_listed(lambda: [path for path, _, _ in parts_of_date(self._folder, *period)], generation)
        return self._parquet.finish({GENERATION: str(max(known, default=-1) + 1)})

    def discard(self) -> None:
        """Remove what was not published."""
        self._parquet.discard()


def group_folder(root: SamePlace, group: FeatureGroup) -> SamePlace:
    """The folder of one group identity, the path that its Feast source names."""
    return cast("SamePlace", root / group.name / group.fingerprint)


def part_path(folder: Place, first_ns: int, last_ns: int, *, over: Collection[Place] = ()) -> Place:
    """The name of a part of served rows, one that no other has; over: parts that it may replace."""
    name = f"{PART}-{first_ns}-{last_ns}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(1)))
    return next(path for path in (folder / f"{each}.parquet" for each in names) if path in over or not path.exists())


def part_schema(path: Place) -> pa.Schema:
    """Columns and metadata of a part, by its footer. Raises CorruptStore."""
    with opened_parquet(path, is_checked=False) as file:
        return file.schema_arrow


def part_columns(path: Place) -> frozenset[str]:
    """The features in a part, remembered by this process as long as it is unchanged. Raises CorruptStore."""
    with reading_parquet(path):
        version = file_version(path)
    return _columns_of(path, version)


@lru_cache(maxsize=1 << 16)
def _columns_of(path: Place, _version: FileVersion) -> frozenset[str]:
    # The same few sets of hundreds of names, of every day.
    return _shared(frozenset(part_schema(path).names) - COMMON_COLUMNS)


@lru_cache(maxsize=1 << 10)
def _shared(columns: frozenset[str]) -> frozenset[str]:
    return columns


def served_columns(root: Place) -> dict[tuple[str, str], frozenset[str]]:
    """The features in the newest served part of each group and fingerprint, of any symbol. Raises CorruptStore."""
    newest: dict[tuple[str, str], Place] = {}
    for symbol in matching(root, "*/*/symbol=*"):
        identity = (symbol.parent.parent.name, symbol.parent.name)
        dates = reversed(matching(symbol, "date=*"))
        part = next((parts[-1] for date in dates if (parts := matching(date, f"{PART}-*.parquet"))), None)
        known = newest.get(identity)
        if part is not None and (known is None or (part.parent.name, part.name) > (known.parent.name, known.name)):
            newest[identity] = part
    return {identity: part_columns(part) for identity, part in newest.items()}


def rows_with_columns(root: Place, group: FeatureGroup) -> int:
    """Rows in the parts that have every column of the group, of all symbols; parts that overlap are counted both.

    Raises CorruptStore.
    """
    found = 0
    for path in matching(group_folder(root, group), "symbol=*/date=*/*.parquet"):
        try:
            with opened_parquet(path, is_checked=False) as file:
                if set(group.columns) <= set(file.schema_arrow.names):
                    found += file.metadata.num_rows
        except CorruptStore:
            if path.exists():  # else merged or removed since it was listed
                raise
    return found


def check_part(file: pq.ParquetFile, path: Place, group: FeatureGroup, symbol: str) -> None:
    """Raises CorruptStore when an open part is not of this group and symbol, or lacks a column of the group."""
    schema = file.schema_arrow
    metadata = schema.metadata or {}
    stated = metadata.get(b"group_fingerprint", b"").decode()
    if stated != group.fingerprint:
        raise CorruptStore(f"{path}: group fingerprint must be its folder's, {group.fingerprint}, was {stated!r}")
    for field in _schema(group, symbol, is_before=schema.get_field_index(AVAILABLE) < 0):
        index = schema.get_field_index(field.name)
        if index < 0 or schema.field(index).type != field.type:
            found = schema.field(index).type if index >= 0 else None
            raise CorruptStore(f"{path} {field.name}: must be {field.type}, was {found}")
    if not _states_symbol(file, symbol):
        raise CorruptStore(f"{path} symbol: must be its folder's, {symbol}, was another")


def _states_symbol(file: pq.ParquetFile, symbol: str) -> bool:
    schema = file.schema_arrow
    if (stated := (schema.metadata or {}).get(b"symbol")) is not None:
        return stated.decode() == symbol
    # Parts written before had it as a column, and stay readable.
    at = schema.get_field_index(_SYMBOL)
    if at < 0:
        return False
    found = [file.metadata.row_group(row_group).column(at).statistics for row_group in range(file.num_row_groups)]
    return all(each is not None and (each.min, each.max) == (symbol, symbol) for each in found)


def parts_in_order(folder: Place, from_ns: int | None, to_ns: int | None) -> list[Place]:
    """A symbol's parts whose period touches ``[from_ns, to_ns)``, in the order in which overlapping ones were written.

    Raises CorruptStore for a file that is no part.
    """
    first = "" if from_ns is None else f"date={utc_date(from_ns)}"
    last = "date=~" if to_ns is None else f"date={utc_date(to_ns - 1)}"
    dates = [date for date in matching(folder, "date=*") if first <= date.name <= last]
    parts = [(part, start, end) for date in dates for part, start, end in parts_of_date(date, from_ns, to_ns)]
    in_time = all(end < start for (_, _, end), (_, start, _) in itertools.pairwise(parts))
    found = [part for part, _, _ in parts]
    return found if in_time else sorted(found, key=lambda part: written_order(str(part), generation(part)))


def parts_of_date(folder: Place, from_ns: int | None = None, to_ns: int | None = None) -> list[tuple[Place, int, int]]:
    """The parts of one date whose period touches ``[from_ns, to_ns)``, with their first and last row time, by time.

    Raises CorruptStore for another name.
    """
    parts = [
        (folder / name, first_ns, last_ns)
        for name, first_ns, last_ns in part_periods(folder)
        if (from_ns is None or last_ns >= from_ns) and (to_ns is None or first_ns < to_ns)
    ]
    return sorted(parts, key=lambda part: part[1:])


def part_periods(folder: Place) -> Iterator[tuple[str, int, int]]:
    """Each part's name, first and last row time, of one date, by name. Raises as ``parts_of_date``."""
    # A day has up to 1,440, which are gone through for each new part: neither paths nor lists of pieces are made.
    for name in names_matching(folder, "*-*.parquet"):
        kind, _, period = name.removesuffix(".parquet").partition("-")
        if kind not in _KINDS:
            continue
        first, _, rest = period.partition("-")
        last, _, more = rest.partition("-")
        try:
            first_ns, last_ns = int(first), int(last)
            if kind == PART and more:
                int(more)  # of another kind it is what it was made of
        except ValueError as error:
            path = folder / name
            raise CorruptStore(f"{path}: must be part-<first row>-<last row>.parquet, was another name") from error
        yield name, first_ns, last_ns


def row_groups_of_period(file: pq.ParquetFile, from_ns: int | None, to_ns: int | None) -> list[int]:
    """The row groups of a part that may hold rows of [from_ns, to_ns), by what they state; None is without an end.

    A row group that states no bounds may hold any.
    """
    at, unit_ns = file.schema_arrow.get_field_index(EVENT), event_unit_ns(file)
    found = []
    for number in range(file.num_row_groups):
        stated = file.metadata.row_group(number).column(at).statistics
        if stated is not None and stated.has_min_max:
            least_ns, most_ns = int(stated.min_raw or 0) * unit_ns, int(stated.max_raw or 0) * unit_ns
            if (from_ns is not None and most_ns < from_ns) or (to_ns is not None and least_ns >= to_ns):
                continue
        found.append(number)
    return found


def read_listed(list_parts: Callable[[], Sequence[Place]], read: Callable[[Place], Read]) -> list[Read]:
    """Read each part that is listed; from the beginning again when one is gone since, because a merge has its rows.

    Raises CorruptStore.
    """
    for _ in range(MOST_LISTINGS - 1):
        paths: Sequence[Place] = []
        try:
            paths = list_parts()
            return [read(path) for path in paths]
        except CorruptStore:
            if paths and all(path.exists() for path in paths):
                raise
    return [read(path) for path in list_parts()]


def generation(path: Place) -> int:
    """How many layers of parts this one was written over. Raises CorruptStore."""
    with opened_parquet(path, is_checked=False) as file:
        stated = stated_generation(file.metadata.metadata)
    if stated is None:
        raise CorruptStore(f"{path}: metadata must state its generation, was without")
    return stated


def _schema(group: FeatureGroup, symbol: str, *, is_before: bool = False) -> pa.Schema:
    """Of a part; is_before: of one that was written before times were microseconds."""
    return _fields(group, is_before).with_metadata(
        {"group": group.name, "group_fingerprint": group.fingerprint, "symbol": symbol}
    )


@lru_cache(maxsize=1 << 8)
def _fields(group: FeatureGroup, is_before: bool) -> pa.Schema:  # noqa: FBT001  # of a cache
    fields: dict[str, pa.DataType] = dict.fromkeys((EVENT, CREATED), TIME_BEFORE if is_before else TIME)
    if not is_before:
        fields[AVAILABLE] = pa.int64()
    fields |= dict.fromkeys(group.columns, pa.float64())
    fields[STATUS] = pa.string()
    # None is ever null, as what is not known is NaN: Parquet then keeps no validity, and decoding is spared it.
    required = [pa.field(name, kind, nullable=False) for name, kind in fields.items()]
    return pa.schema(required)
