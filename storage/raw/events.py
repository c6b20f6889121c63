"""Raw events: reading the event records of a symbol back from raw Parquet, in tape order."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from market.errors import CorruptStore
from market.events import CONTROL, FIRST, KIND_COUNT, ORDERBOOK, Events, empty_events
from storage.parquet_files import opened_parquet
from storage.places import Place
from storage.raw.file import SCHEMA
from storage.raw.manifest import RawFile, RawPart, common_scale
from storage.raw.raw_data import RawData
from storage.raw.streams import in_time, stream_of
from storage.raw.tables import DELTA_TABLE, SNAPSHOT_TABLE, TABLES
from transforms.tape_order import EventColumns, merged

PIECE_RECORDS: Final = 1 << 14
"""About as many records come in one piece: what is made of them and their columns stay in the processor's cache."""
_FEW_RECORDS: Final = 1 << 17
"""Handing these to threads takes longer than reading them in one: a day of candles takes half the time without."""


def read_events(raw: RawData, symbol: str, *, kinds: Collection[int], from_ns: int, to_ns: int) -> Events:
    """The events with ``from_ns <= recv_ns < to_ns`` of these kinds, and CONTROL, in tape order; empty when none.

    Raises:
        CorruptStore: a file is not what was written, parts disagree on the scale, or a message is in two parts.
        InvalidRequest: the symbol cannot name a folder.
    """
    parts = period_parts(raw, symbol, from_ns=from_ns, to_ns=to_ns)
    groups = _row_groups(raw, parts, kinds, from_ns=from_ns, to_ns=to_ns)
    events = empty_events(sum(group.rows for group in groups))
    end = 0
    for piece, _ in _streamed(groups, from_ns=from_ns, to_ns=to_ns, fields=SCHEMA.names):
        start, end = end, end + len(piece)
        events[start:end].view(np.int64)[:] = piece.view(np.int64)  # field by field it takes ten times as long
    return events[:end]


def stream_events(
    raw: RawData,
    symbol: str,
    *,
    kinds: Collection[int],
    from_ns: int,
    to_ns: int,
    fields: Collection[str] = SCHEMA.names,
) -> Iterator[tuple[Events, int]]:
    """What ``read_events`` returns, in consecutive pieces of whole messages, each with what no later event precedes.

    Memory holds some row groups of each table, however long the period; to touch new memory for a month of events costs
    more than to decode them.

    fields: which are read, at least seq and recv_ns; the others are 0, and cost nothing, but flags tell of every
        record whether it is its message's FIRST or LAST. Of CONTROL, of which there are few, all are read.

    Raises what ``read_events`` does, at the piece concerned.
    """
    parts = period_parts(raw, symbol, from_ns=from_ns, to_ns=to_ns)
    groups = _row_groups(raw, parts, kinds, from_ns=from_ns, to_ns=to_ns)
    yield from _streamed(groups, from_ns=from_ns, to_ns=to_ns, fields=fields)


def stream_heads(  # noqa: PLR0913  # what is read, of when, and how much of it
    raw: RawData,
    symbol: str,
    *,
    kinds: Collection[int],
    from_ns: int,
    to_ns: int,
    fields: Collection[str],
    parts: Sequence[RawPart] | None = None,
) -> Iterator[Events]:
    """Of what ``stream_events`` gives the first record of each message, marked FIRST.

    Of an order book's message that brings several updates it is the first of each. A book of fifty levels a message is
    gone through in half the time. fields: at least seq and recv_ns, of order books update_id too. parts: those of
    ``period_parts`` that are read; None reads all.

    Raises what ``read_events`` does, at the piece concerned.
    """
    chosen = period_parts(raw, symbol, from_ns=from_ns, to_ns=to_ns) if parts is None else parts
    groups = _row_groups(raw, chosen, kinds, from_ns=from_ns, to_ns=to_ns)
    for piece, _ in _streamed(groups, from_ns=from_ns, to_ns=to_ns, fields=fields, heads_only=True):
        # A message that two row groups share has a head in each.
        yield piece.take(np.flatnonzero(piece["flags"] & FIRST))


def period_parts(raw: RawData, symbol: str, *, from_ns: int, to_ns: int) -> list[RawPart]:
    """The symbol's parts that reach into the period, in order of seq.

    Raises CorruptStore when they disagree on the scale or a message is in two of them, InvalidRequest.
    """
    parts = [part for part in raw.parts(symbol) if part.first_ns < to_ns and part.last_ns >= from_ns]
    if parts:
        common_scale(parts)
    for part, following in itertools.pairwise(sorted(parts, key=lambda part: (part.first_seq, part.name))):
        if following.first_seq <= part.last_seq:
            raise CorruptStore(
                f"{raw.place} {symbol}: seq must be in one part, was {following.first_seq} in {part.name} and "
                f"{following.name}"
            )
    return parts


def last_snapshot_ns(raw: RawData, parts: Sequence[RawPart], latest_ns: int) -> int | None:
    """``recv_ns`` of the newest order book snapshot that came no later than ``latest_ns``; None when there is none.

    parts: of one symbol. Raises CorruptStore.
    """
    newest: int | None = None
    for part in sorted(
        (part for part in parts if part.first_ns <= latest_ns), key=lambda part: part.last_ns, reverse=True
    ):
        if newest is not None and part.last_ns <= newest:
            break
        for stated in part.files:
            if stated.table != SNAPSHOT_TABLE:
                continue
            path = raw.path(stated)
            with opened_parquet(path) as file:
                _check(file, path, part.symbol, stated)
                for index, (first, _) in enumerate(_recv_ranges(file, path)):
                    if first <= latest_ns:
                        times = file.read_row_group(index, columns=["recv_ns"]).column("recv_ns").to_numpy()
                        found = int(times[times <= latest_ns].max())
                        newest = found if newest is None else max(newest, found)
    return newest


def first_message_ns(raw: RawData, parts: Sequence[RawPart]) -> int:
    """``recv_ns`` of the first message on the tape, with which a history begins.

    It need not be the least: a message that came later may state an earlier moment of the same second. What was
    backfilled data is in order of time.

    parts: of one symbol, one at least. Raises CorruptStore.
    """
    backfilled_ns = [part.first_ns for part in parts if part.backfill is not None]
    live = [part for part in parts if part.backfill is None]
    if not live:
        return min(backfilled_ns)
    part = min(live, key=lambda part: part.first_seq)
    heads: list[tuple[int, int]] = []
    fed = {table for table, kind in TABLES if kind < KIND_COUNT}
    for stated in part.files:
        if stated.table not in fed:
            continue  # a history does not begin with what no engine is fed with
        path = raw.path(stated)
        with opened_parquet(path) as file:
            _check(file, path, part.symbol, stated)
            head = next(file.iter_batches(batch_size=1, row_groups=[0], columns=["seq", "recv_ns"]))
            heads.append((head.column("seq")[0].as_py(), head.column("recv_ns")[0].as_py()))
    return min([min(heads)[1], *backfilled_ns])


@dataclass(frozen=True, slots=True)
class _RowGroup:
    """One row group of a part, as its footer states it; a footer takes 0.3 MB of memory, and months have thousands."""

    path: Place
    index: int
    table: str
    kind: int
    rows: int
    first_ns: int
    last_ns: int
    first_seq: int


def _row_groups(
    raw: RawData, parts: Sequence[RawPart], kinds: Collection[int], *, from_ns: int, to_ns: int
) -> list[_RowGroup]:
    """The parts' row groups that reach into the period, in the order of their first message."""
    wanted = {table: kind for table, kind in TABLES if kind in {CONTROL, *kinds}}
    groups: list[_RowGroup] = []
    for part in parts:
        for stated in part.files:
            if stated.table in wanted:
                path = raw.path(stated)
                with opened_parquet(path, is_checked=False) as file:
                    _check(file, path, part.symbol, stated)
                    groups += [
                        _RowGroup(path, index, stated.table, wanted[stated.table], rows, first, last, first_seq)
                        for index, (first, last) in enumerate(_recv_ranges(file, path))
                        if first < to_ns and last >= from_ns
                        for rows in [file.metadata.row_group(index).num_rows]
                        for first_seq, _ in [_range(path, file.metadata, index, "seq")]
                    ]
    return sorted(groups, key=lambda group: group.first_seq)


def _streamed(
    groups: Sequence[_RowGroup], *, from_ns: int, to_ns: int, fields: Collection[str], heads_only: bool = False
) -> Iterator[tuple[Events, int]]:
    """The groups' events of the period: backfilled and live ones, each in tape order."""
    streams = [
        _merged(list(of_stream), from_ns=from_ns, to_ns=to_ns, fields=fields, heads_only=heads_only)
        for _, of_stream in itertools.groupby(groups, lambda group: stream_of(group.first_seq))
    ]
    return streams[0] if len(streams) == 1 else in_time(streams, to_ns)


def _merged(
    groups: Sequence[_RowGroup], *, from_ns: int, to_ns: int, fields: Collection[str], heads_only: bool = False
) -> Iterator[tuple[Events, int]]:
    """The groups' events of the period in tape order: after each group, what the following ones cannot precede.

    Each piece comes with the least ``recv_ns`` of all that follow, ``to_ns`` at the end: receive times may fall.
    """
    held: list[EventColumns] = []
    least_ns = [*itertools.accumulate((group.first_ns for group in reversed(groups)), min, initial=to_ns)][::-1]
    for index, (group, following) in enumerate(itertools.zip_longest(groups, groups[1:])):
        table = _read_row_group(group, from_ns=from_ns, to_ns=to_ns, fields=fields)
        held.append(_heads(table) if heads_only else table)
        if following is None:
            heads, held = [table for table in held if len(table)], []
        else:
            cuts = [int(np.searchsorted(table.of("seq"), following.first_seq)) for table in held]
            heads = [table.rows(slice(cut)) for table, cut in zip(held, cuts, strict=True) if cut > 0]
            held = [table.rows(slice(cut, None)) for table, cut in zip(held, cuts, strict=True) if cut < len(table)]
        if heads:
            yield from _in_pieces(heads, min([least_ns[index + 1], *(int(left.of("recv_ns").min()) for left in held)]))


def _in_pieces(tables: Sequence[EventColumns], following_ns: int) -> Iterator[tuple[Events, int]]:
    """The tables merged, in pieces of whole messages, each with the least ``recv_ns`` of all that follow."""
    seq = max(tables, key=len).of("seq")
    limits = np.unique(seq[PIECE_RECORDS::PIECE_RECORDS])
    limits = limits[limits > seq[0]]
    cuts = [[0, *np.searchsorted(table.of("seq"), limits).tolist(), len(table)] for table in tables]
    pieces = [
        [table.rows(slice(start, end)) for table, (start, end) in zip(tables, bounds, strict=True) if start < end]
        for bounds in zip(*(itertools.pairwise(cut) for cut in cuts), strict=True)
    ]
    least_ns = (min(int(table.of("recv_ns").min()) for table in piece) for piece in reversed(pieces))
    following = [*itertools.accumulate(least_ns, min, initial=following_ns)][-2::-1]
    for piece, piece_following_ns in zip(pieces, following, strict=True):
        yield merged(piece), piece_following_ns


def _read_row_group(group: _RowGroup, *, from_ns: int, to_ns: int, fields: Collection[str]) -> EventColumns:
    # Those of a delta say no more than where its message begins and ends, which its seq tells for less.
    unread = {"flags"} if group.table == DELTA_TABLE else ()
    wanted = SCHEMA.names if group.kind == CONTROL else fields
    names = [name for name in SCHEMA.names if name in wanted and name not in unread]
    with opened_parquet(group.path) as file:
        read = file.read_row_group(group.index, columns=names, use_threads=group.rows > _FEW_RECORDS)
    table = EventColumns(group.kind, {name: read.column(name).to_numpy() for name in names})
    if group.first_ns >= from_ns and group.last_ns < to_ns:
        return table
    recv_ns = table.of("recv_ns")
    return table.rows(np.flatnonzero((recv_ns >= from_ns) & (recv_ns < to_ns)))


def _heads(table: EventColumns) -> EventColumns:
    """The first record of each message, and of each update of an order book."""
    seq, update_id = table.of("seq"), table.of("update_id")
    starts = seq[1:] != seq[:-1]
    if table.kind == ORDERBOOK:
        starts |= update_id[1:] != update_id[:-1]
    return table.rows(np.concatenate([[0], np.flatnonzero(starts) + 1])) if len(table) else table


def _check(file: pq.ParquetFile, path: Place, symbol: str, stated: RawFile) -> None:
    """The file against its entry in the manifest."""
    # Whether they may be null is not compared: those of older files may.
    if [(field.name, field.type) for field in file.schema_arrow] != [(field.name, field.type) for field in SCHEMA]:
        raise CorruptStore(f"{path}: columns must be those of an event, was {file.schema_arrow.names}")
    metadata = file.schema_arrow.metadata or {}
    if metadata.get(b"symbol") != symbol.encode() or file.metadata.num_rows != stated.records:
        raise CorruptStore(
            f"{path}: must hold {stated.records} records of {symbol}, was {file.metadata.num_rows} of "
            f"{metadata.get(b'symbol', b'').decode()}"
        )
    size = path.stat().st_size
    if size != stated.size:
        raise CorruptStore(f"{path}: must have the {stated.size} bytes of its manifest, was {size}")


def _recv_ranges(file: pq.ParquetFile, path: Place) -> list[tuple[int, int]]:
    """First and last ``recv_ns`` of each row group."""
    return [_range(path, file.metadata, group, "recv_ns") for group in range(file.metadata.num_row_groups)]


def _range(path: Place, footer: pq.FileMetaData, group: int, column: str) -> tuple[int, int]:
    """Least and greatest value of a column in a row group."""
    statistics = footer.row_group(group).column(SCHEMA.get_field_index(column)).statistics
    if statistics is None or statistics.min is None or statistics.max is None:
        raise CorruptStore(f"{path}: {column} must have statistics in every row group, was without")
    return statistics.min, statistics.max
