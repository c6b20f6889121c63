"""Rebuild: the same compiled kernel fed from raw Parquet instead of from messages.

1. A run starts from the last book snapshot that lies the horizon before its first row, or from the first message: its
   rows are those of any other start, bit for bit.
2. Events stream in, a few row groups at a time; rows close behind them, as far as no later event can reach back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, groupby, pairwise

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, SECOND_NS, floor_to, format_period
from market.errors import InvalidRequest
from market.events import ORDERBOOK, Events, empty_events
from storage.raw.events import first_message_ns, last_snapshot_ns, stream_events
from storage.raw.manifest import RawPart
from storage.raw.raw_data import RawData
from storage.raw.tables import DELTA_TABLE, SNAPSHOT_TABLE
from transforms.catalogue import set_horizon_ns, set_kinds
from transforms.engine import FIELDS, Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, joined_rows
from transforms.silences import Period
from transforms.state import ORDER_NS


def rebuild_rows(
    raw: RawData, symbol: str, kernel: Kernel, *, from_ns: int | None = None, to_ns: int | None = None
) -> FeatureRows:
    """The rows of a symbol with ``from_ns <= row time <= to_ns``, bit for bit those of an undisturbed live run.

    to_ns: None ends with the last second that the raw data closes; a later one adds the silent seconds after it, as
        they were served while other symbols went on.

    Raises NotFound when there is no raw data of the symbol, InvalidRequest when the period is outside of it.
    """
    return joined_rows(list(stream_rows(raw, symbol, kernel, from_ns=from_ns, to_ns=to_ns)))


def stream_rows(
    raw: RawData,
    symbol: str,
    kernel: Kernel,
    *,
    from_ns: int | None = None,
    to_ns: int | None = None,
    without: Sequence[Period] = (),
) -> Iterator[FeatureRows]:
    """What ``rebuild_rows`` returns, in consecutive pieces, one at least; memory holds one, and some row groups.

    without: periods in order of which no row is needed, with ends at whole seconds.

    Raises what ``rebuild_rows`` does, at the first piece.
    """
    first_ns, last_ns = raw.period(symbol)
    end_ns = floor_to(last_ns if to_ns is None else to_ns, SECOND_NS)
    begin_ns = first_ns if from_ns is None else from_ns
    if end_ns <= first_ns or begin_ns > min(end_ns, floor_to(last_ns, SECOND_NS)):
        raise InvalidRequest(
            f"rebuild of {symbol}: must reach into the raw data, {format_period(first_ns, last_ns)}, "
            f"was {format_period(begin_ns, end_ns)}"
        )
    engine, events = begin_engine(raw, symbol, kernel, begin_ns, end_ns, grid_ns=SECOND_NS)
    skipped = (0, begin_ns + -begin_ns % SECOND_NS), *without
    for piece, least_ns in events:
        engine.feed(piece)
        yield from engine.advance_in_pieces(min(least_ns, end_ns), without=skipped)
    yield from engine.advance_in_pieces(end_ns, without=skipped)


def rebuild_rows_at(raw: RawData, symbol: str, kernel: Kernel, row_ns: npt.NDArray[np.int64]) -> FeatureRows:
    """The rows of a symbol at chosen times, bit for bit those of an undisturbed live run.

    row_ns: int64 (n,), n >= 1, ascending, multiples of ORDER_NS after the first message; those after the last are of
        silence.

    Raises NotFound when there is no raw data of the symbol, InvalidRequest when a time is not so.
    """
    first_ns, last_ns = raw.period(symbol)
    begin_ns, end_ns = int(row_ns[0]), int(row_ns[-1])
    if begin_ns <= first_ns or begin_ns > last_ns:
        raise InvalidRequest(
            f"rebuild of {symbol}: must reach into the raw data, {format_period(first_ns, last_ns)}, "
            f"was {format_period(begin_ns, end_ns)}"
        )
    if (off_grid := row_ns[row_ns % ORDER_NS != 0]).size > 0:
        raise InvalidRequest(f"rebuild of {symbol}: must be at multiples of {ORDER_NS} ns, was {off_grid[0]}")
    # The coarsest grid that holds them all: a row is the same on each.
    grid_ns = int(np.gcd.reduce(row_ns, initial=SECOND_NS))
    engine, events = begin_engine(raw, symbol, kernel, begin_ns, end_ns, grid_ns=grid_ns)
    pieces = []
    given = 0
    for piece, least_ns in chain(events, [(empty_events(), end_ns)]):
        engine.feed(piece)
        closes_ns = min(least_ns, end_ns)
        due = int(np.searchsorted(row_ns, closes_ns, side="right"))
        pieces.append(engine.rows_at(row_ns[given:due], closes_ns))
        given = due
    return joined_rows(pieces)


def begin_engine(
    raw: RawData, symbol: str, kernel: Kernel, begin_ns: int, end_ns: int, *, grid_ns: int
) -> tuple[Engine, Iterator[tuple[Events, int]]]:
    """An engine at a start from which rows from ``begin_ns`` on are right, and the events from there up to the end."""
    kinds = set_kinds(kernel.feature_set)
    latest_ns = begin_ns - set_horizon_ns(kernel.feature_set)
    first_ns, _ = raw.period(symbol)
    parts = raw.parts(symbol)
    start_ns = start_before(raw, parts, kinds, latest_ns, first_ns)
    history_ns = start_ns if start_ns > first_ns else first_message_ns(raw, parts)
    engine = Engine(kernel, raw.instrument(symbol), start_ns=history_ns, grid_ns=grid_ns)
    return engine, stream_events(raw, symbol, kinds=kinds, from_ns=start_ns, to_ns=end_ns, fields=FIELDS)


def start_before(raw: RawData, parts: Sequence[RawPart], kinds: Collection[int], latest_ns: int, first_ns: int) -> int:
    """Where to begin so that every row from ``latest_ns`` plus the horizon on is right."""
    if latest_ns <= first_ns:
        return first_ns
    if ORDERBOOK not in kinds:
        return latest_ns
    snapshot_ns = last_snapshot_ns(raw, parts, latest_ns)
    if snapshot_ns is not None:
        return snapshot_ns
    # Without a book before it nothing is known of one that an earlier start would know.
    has_book = any(
        file.table in {SNAPSHOT_TABLE, DELTA_TABLE}
        for part in parts
        if part.first_ns <= latest_ns
        for file in part.files
    )
    return first_ns if has_book else latest_ns


def rows_by_day(pieces: Iterable[FeatureRows]) -> Iterator[tuple[int, Iterator[FeatureRows]]]:
    """The begin of each UTC day that consecutive pieces touch, and its rows in pieces, to be taken before the next day.

    A day is known to be whole once the next one begins, or the pieces end.
    """
    for day, of_day in groupby(_cut_at_midnight(pieces), lambda piece: int(piece.row_ns[0]) // DAY_NS):
        yield day * DAY_NS, of_day


def _cut_at_midnight(pieces: Iterable[FeatureRows]) -> Iterator[FeatureRows]:
    for piece in pieces:
        cuts = np.flatnonzero(np.diff(piece.row_ns // DAY_NS)) + 1
        for begin, end in pairwise([0, *cuts.tolist(), len(piece)]):
            if end > begin:
                yield piece.only(slice(begin, end), reasons=False)


def rows_in_groups(pieces: Iterable[FeatureRows], count: int) -> Iterator[FeatureRows]:
    """Consecutive pieces split again: ``count`` rows each, the last one the rest. Holds no more than one of them."""
    held: list[FeatureRows] = []
    lacking = count
    for piece in pieces:
        begin = 0
        while len(piece) - begin >= lacking:
            rest = piece.only(slice(begin, begin + lacking), reasons=False)
            group = joined_rows([*held, rest]) if held else rest
            begin += lacking
            held, lacking = [], count
            yield group  # and the pieces that it was made of are let go of while it is worked on
        if begin < len(piece):
            held.append(piece.only(slice(begin, len(piece)), reasons=False))
            lacking -= len(piece) - begin
    if held:
        yield joined_rows(held)
