"""Raw Parquet: the decoded events of each symbol by type and UTC date of ``recv_ns``.

Layout: ``<raw>/<table>/date=YYYY-MM-DD/symbol=S/part-<part>.parquet``, one row an EVENT record, its kind told by the
table. Columns are encoded as measured on level rows (3.7 bytes a row against 7.7 by default, read twice as fast).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from market.clock import DAY_NS, utc_date
from market.errors import CorruptStore, InvalidRequest, NotFound, ScaleExceeded
from market.events import (
    CONTROL,
    EVENT,
    FIRST,
    KIND_COUNT,
    KLINE,
    ORDERBOOK,
    POSITION,
    SNAPSHOT,
    TICKER,
    TRADE,
    Events,
    empty_events,
)
from market.instruments import Instrument
from storage.durable_files import publish_files, stage_file
from storage.instruments import checked_symbol

_TABLES: Final = (
    ("raw_gaps", CONTROL),
    ("raw_orderbook_snapshots", ORDERBOOK),
    ("raw_orderbook_deltas", ORDERBOOK),
    ("raw_trades", TRADE),
    ("raw_kline", KLINE),
    ("raw_ticker", TICKER),
    ("raw_positions", POSITION),
)
_SNAPSHOTS: Final = 1
# Index into _TABLES by kind, order book snapshots apart.
_TABLE_OF_KIND: Final = np.array([0, 2, 3, 4, 5, 6])
_SCHEMA: Final = pa.schema(
    [
        ("seq", pa.int64()),
        ("recv_ns", pa.int64()),
        ("event_ns", pa.int64()),
        ("update_id", pa.int64()),
        ("px", pa.int64()),
        ("qty", pa.int64()),
        ("field", pa.int8()),
        ("flags", pa.int8()),
    ]
)
_RISING: Final = ("seq", "recv_ns", "event_ns", "update_id")
_REPEATED: Final = ("px", "qty", "field", "flags")
_ROW_GROUP_ROWS: Final = 1 << 18


def write_events(
    root: Path, instrument: Instrument, events: Events, *, part: str, decoder_version: int = 1
) -> list[Path]:
    """Write events of one symbol in tape order, any mix of kinds and dates; the files written, sorted.

    A part of the same name is replaced. All files are on disk before the first gets its name. The same events give
    the same bytes.

    Raises:
        InvalidRequest: ``seq`` falls, a kind is unknown, or the records of one message differ in ``recv_ns``, in kind
            or in being a snapshot: their order could not be told from the files.
    """
    symbol = checked_symbol(instrument.symbol)
    table_index = _table_index(symbol, events)
    day = events["recv_ns"] // DAY_NS
    metadata = {
        "symbol": symbol,
        "price_exponent": str(instrument.price_exponent),
        "quantity_exponent": str(instrument.quantity_exponent),
        "decoder_version": str(decoder_version),
    }
    staged: dict[Path, Path] = {}
    try:
        for index, (table, _) in enumerate(_TABLES):
            of_table = table_index == index
            for date in np.unique(day[of_table]):
                folder = _symbol_folder(root / table / f"date={utc_date(int(date) * DAY_NS)}", symbol)
                path = folder / f"part-{part}.parquet"
                records = events.take(np.flatnonzero(of_table & (day == date)))
                staged[path] = _stage_records(path, records, metadata)
    except BaseException:
        for temporary in staged.values():
            temporary.unlink()
        raise
    publish_files(staged)
    return sorted(staged)


def read_events(root: Path, symbol: str, *, kinds: Collection[int], from_ns: int, to_ns: int) -> Events:
    """The events with ``from_ns <= recv_ns < to_ns`` of these kinds, and CONTROL, in tape order; empty when none.

    Raises:
        CorruptStore: a file is not what was written, parts disagree on the scale, or a message is in two parts.
        InvalidRequest: the symbol cannot name a folder.
    """
    groups = _row_groups(root, symbol, kinds, from_ns=from_ns, to_ns=to_ns)
    events = empty_events(sum(group.rows for group in groups))
    end = 0
    for piece in _merged(groups, from_ns=from_ns, to_ns=to_ns):
        start, end = end, end + len(piece)
        _words(events[start:end])[:] = _words(piece)
    return events[:end]


def stream_events(root: Path, symbol: str, *, kinds: Collection[int], from_ns: int, to_ns: int) -> Iterator[Events]:
    """What ``read_events`` returns, in consecutive pieces of whole messages.

    Memory holds some row groups of each table, however long the period; to touch new memory for a month of events costs
    more than to decode them.

    Raises what ``read_events`` does, at the piece concerned.
    """
    yield from _merged(_row_groups(root, symbol, kinds, from_ns=from_ns, to_ns=to_ns), from_ns=from_ns, to_ns=to_ns)


def read_instrument(root: Path, symbol: str) -> Instrument:
    """The scale that every part of the symbol states.

    Raises:
        NotFound: the symbol has no raw Parquet.
        CorruptStore: two parts disagree, or a part states none.
    """
    scales: dict[Instrument, Path] = {}
    for table, _ in _TABLES:
        for path in _parts(root, table, symbol):
            with reading_parquet(path), pq.ParquetFile(path) as file:
                _agree(scales, _instrument(file, path, symbol), path)
    for instrument in scales:
        return instrument
    raise NotFound(f"raw Parquet of {symbol}: must exist, was none in {root}")


def raw_symbols(root: Path) -> list[str]:
    """The symbols that have raw Parquet, sorted."""
    return sorted(
        {
            part.parent.name.removeprefix("symbol=")
            for table, _ in _TABLES
            for part in (root / table).glob("date=*/symbol=*/part-*.parquet")
        }
    )


def raw_period(root: Path, symbol: str) -> tuple[int, int]:
    """``recv_ns`` of the symbol's first and of its last record. Raises NotFound when it has none, CorruptStore."""
    ranges: list[tuple[int, int]] = []
    for table, _ in _TABLES:
        parts = _parts(root, table, symbol)
        # A part holds one date: the extremes are in the first and in the last.
        dates = {parts[0].parent, parts[-1].parent} if parts else set()
        for path in parts:
            if path.parent in dates:
                with reading_parquet(path), pq.ParquetFile(path) as file:
                    _instrument(file, path, symbol)
                    ranges += _recv_ranges(file, path)
    if not ranges:
        raise NotFound(f"raw Parquet of {symbol}: must exist, was none in {root}")
    return min(first for first, _ in ranges), max(last for _, last in ranges)


@contextmanager
def reading_parquet(path: Path) -> Iterator[None]:
    """What pyarrow cannot read becomes CorruptStore naming the file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CorruptStore(f"{path}: must be whole Parquet, was {error}") from error


def _table_index(symbol: str, events: Events) -> npt.NDArray[np.int64]:
    """Index into _TABLES by record."""
    kind, seq, recv_ns = events["kind"], events["seq"], events["recv_ns"]
    unknown = kind[(kind < 0) | (kind >= KIND_COUNT)]
    if len(unknown):
        raise InvalidRequest(f"{symbol} events: kind must be 0 to {KIND_COUNT - 1}, was {unknown[0]}")
    is_snapshot = (kind == ORDERBOOK) & ((events["flags"] & SNAPSHOT) != 0)
    table_index: npt.NDArray[np.int64] = np.where(is_snapshot, _SNAPSHOTS, _TABLE_OF_KIND[kind])
    falls = np.flatnonzero(seq[1:] < seq[:-1])
    if len(falls):
        raise InvalidRequest(f"{symbol} events: seq must not fall, was {seq[falls[0] + 1]} after {seq[falls[0]]}")
    torn = (seq[1:] == seq[:-1]) & ((recv_ns[1:] != recv_ns[:-1]) | (table_index[1:] != table_index[:-1]))
    if torn.any():
        raise InvalidRequest(
            f"{symbol} events: a message must have one recv_ns and one table, was two at seq {seq[1:][torn][0]}"
        )
    return table_index


def _stage_records(path: Path, records: Events, metadata: dict[str, str]) -> Path:
    table = pa.table(
        {name: pa.array(np.ascontiguousarray(records[name])) for name in _SCHEMA.names},
        schema=_SCHEMA.with_metadata(metadata),
    )

    def write(file: BinaryIO) -> None:
        pq.write_table(
            table,
            file,
            row_group_size=_ROW_GROUP_ROWS,
            compression="zstd",
            compression_level=1,
            use_dictionary=list(_REPEATED),  # type: ignore[arg-type]  # the stubs know only bool, pyarrow takes names too
            column_encoding=dict.fromkeys(_RISING, "DELTA_BINARY_PACKED"),
            write_statistics=["seq", "recv_ns"],
            write_page_checksum=True,
        )

    return stage_file(path, write)


@dataclass(frozen=True, slots=True)
class _RowGroup:
    """One row group of a part, as its footer states it."""

    path: Path
    footer: pq.FileMetaData
    index: int
    kind: int

    @property
    def rows(self) -> int:
        return self.footer.row_group(self.index).num_rows

    @property
    def first_seq(self) -> int:
        return _range(self.path, self.footer, self.index, "seq")[0]


def _row_groups(root: Path, symbol: str, kinds: Collection[int], *, from_ns: int, to_ns: int) -> list[_RowGroup]:
    """The row groups that reach into the period, in the order of their first message."""
    wanted = {CONTROL, *kinds}
    groups: list[_RowGroup] = []
    scales: dict[Instrument, Path] = {}
    for table, kind in _TABLES:
        if kind in wanted:
            for path in _parts(root, table, symbol, from_ns=from_ns, to_ns=to_ns):
                with reading_parquet(path), pq.ParquetFile(path) as file:
                    _agree(scales, _instrument(file, path, symbol), path)
                    groups += [
                        _RowGroup(path, file.metadata, index, kind)
                        for index, (first, last) in enumerate(_recv_ranges(file, path))
                        if first < to_ns and last >= from_ns
                    ]
    return sorted(groups, key=lambda group: group.first_seq)


def _merged(groups: Sequence[_RowGroup], *, from_ns: int, to_ns: int) -> Iterator[Events]:
    """The groups' events of the period in tape order: after each group, what the following ones cannot precede."""
    held: list[Events] = []
    for group, following in itertools.zip_longest(groups, groups[1:]):
        held.append(_read_row_group(group, from_ns=from_ns, to_ns=to_ns))
        if following is None:
            heads, held = held, []
        else:
            cuts = [int(np.searchsorted(events["seq"], following.first_seq)) for events in held]
            heads = [events[:cut] for events, cut in zip(held, cuts, strict=True) if cut > 0]
            held = [events[cut:] for events, cut in zip(held, cuts, strict=True) if cut < len(events)]
        if heads:
            events = _in_order(np.concatenate([_words(head) for head in heads]).view(EVENT))
            first_seq = events["seq"][(events["flags"] & FIRST) != 0]
            repeated = first_seq[1:][first_seq[1:] == first_seq[:-1]]
            if len(repeated):
                raise CorruptStore(f"{group.path}: seq must be in one part, was twice {repeated[0]}")
            yield events


def _read_row_group(group: _RowGroup, *, from_ns: int, to_ns: int) -> Events:
    with (
        reading_parquet(group.path),
        pq.ParquetFile(group.path, metadata=group.footer, page_checksum_verification=True) as file,
    ):
        table = file.read_row_group(group.index)
    events = empty_events(table.num_rows)
    for name in _SCHEMA.names:
        events[name] = table.column(name).to_numpy()
    events["kind"] = group.kind
    in_period = (events["recv_ns"] >= from_ns) & (events["recv_ns"] < to_ns)
    return _in_order(events if in_period.all() else events.take(np.flatnonzero(in_period)))


def _in_order(events: Events) -> Events:
    if np.any(events["seq"][1:] < events["seq"][:-1]):
        # take copies whole records; indexing a structured array goes field by field, fifteen times slower.
        return events.take(np.argsort(events["seq"], kind="stable"))
    return events


def _words(events: Events) -> npt.NDArray[np.int64]:
    """The records' memory: copied as int64 it takes 2 ns a record, field by field 20."""
    return events.view(np.int64)


def _symbol_folder(date_folder: Path, symbol: str) -> Path:
    return date_folder / f"symbol={symbol}"


def _parts(root: Path, table: str, symbol: str, *, from_ns: int | None = None, to_ns: int | None = None) -> list[Path]:
    """The symbol's parts in a table, by date and name; with a period only of the dates that it touches."""
    checked_symbol(symbol)
    first = "" if from_ns is None else f"date={utc_date(from_ns)}"
    last = "date=~" if to_ns is None else f"date={utc_date(to_ns - 1)}"
    folder = root / table
    if not folder.is_dir():
        return []
    dates = sorted(date for date in folder.iterdir() if date.name.startswith("date=") and first <= date.name <= last)
    folders = (_symbol_folder(date, symbol) for date in dates)
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("part-*.parquet"))]


def _instrument(file: pq.ParquetFile, path: Path, symbol: str) -> Instrument:
    """The scale a part states, its columns and its symbol checked."""
    schema = file.schema_arrow
    if not schema.equals(_SCHEMA):
        raise CorruptStore(f"{path}: columns must be those of an event, was {schema.names}")
    stated = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    if stated.get("symbol") != symbol:
        raise CorruptStore(f"{path}: symbol must be its folder's, {symbol}, was {stated.get('symbol')}")
    try:
        return Instrument(symbol, int(stated["price_exponent"]), int(stated["quantity_exponent"]))
    except (KeyError, ValueError, ScaleExceeded) as error:
        raise CorruptStore(f"{path}: metadata must state the scale, was {error!r}") from error


def _agree(scales: dict[Instrument, Path], instrument: Instrument, path: Path) -> None:
    scales.setdefault(instrument, path)
    if len(scales) > 1:
        (one, one_path), (other, other_path) = scales.items()
        raise CorruptStore(f"{other_path}: scale must be that of {one_path}, {one}, was {other}")


def _recv_ranges(file: pq.ParquetFile, path: Path) -> list[tuple[int, int]]:
    """First and last ``recv_ns`` of each row group."""
    return [_range(path, file.metadata, group, "recv_ns") for group in range(file.metadata.num_row_groups)]


def _range(path: Path, footer: pq.FileMetaData, group: int, column: str) -> tuple[int, int]:
    """Least and greatest value of a column in a row group."""
    statistics = footer.row_group(group).column(_SCHEMA.get_field_index(column)).statistics
    if statistics is None or statistics.min is None or statistics.max is None:
        raise CorruptStore(f"{path}: {column} must have statistics in every row group, was without")
    return statistics.min, statistics.max
