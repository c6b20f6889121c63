"""A moment of the past: a symbol's row and order book at a tick, and the exact messages that a value of it depends on.

1. The row comes out of the same kernel as a rebuild's, so it is bit for bit what was served. Events of each kind are
   read as far back as the row sees them: a day of candles and minutes of the order book, not a day of both.
2. A value depends on the messages of the kinds that its feature reads, received within what it looks back at of each
   kind from the row: of trades its window. For the order book, on those from the last snapshot before that on. To
   change any other never changes it.
3. Where no trade is in the window, the newest one before it is why the value is not NO_DATA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from market.clock import MILLISECOND_NS, SECOND_NS, format_iso, format_period
from market.errors import InvalidRequest
from market.events import TRADE
from storage.raw.events import first_message_ns, read_events, stream_events
from storage.raw.messages import RawMessage, raw_messages
from storage.raw.raw_data import RawData
from training_sets.rebuild.rebuild import start_before
from transforms.book_levels import Levels, book_levels
from transforms.catalogue import column_horizon_ns, column_reaches_ns, set_horizon_ns, set_reaches_ns
from transforms.engine import FIELDS, Engine
from transforms.kernel import Kernel
from transforms.rows import FeatureRows, FeatureSet
from transforms.state import ORDER_NS


@dataclass(frozen=True, slots=True)
class Moment:
    """rows: one row.

    bids, asks: int64 (n, 2), price and quantity in mantissas, best first; None while the book is not known.
    """

    rows: FeatureRows
    bids: Levels | None
    asks: Levels | None


def moment_at(raw: RawData, symbol: str, kernel: Kernel, row_ns: int) -> Moment:
    """The row at a multiple of ORDER_NS after the first message, and the book that it was computed from.

    Raises NotFound when there is no raw data of the symbol, InvalidRequest for a time outside of it, CorruptStore.
    """
    first_ns, last_ns = raw.period(symbol)
    if row_ns % ORDER_NS != 0 or not first_ns < row_ns <= last_ns + ORDER_NS:
        raise InvalidRequest(
            f"moment of {symbol}: must be a multiple of {ORDER_NS // MILLISECOND_NS} ms in the raw data, "
            f"{format_period(first_ns, last_ns)}, was {format_iso(row_ns)}"
        )
    chosen = kernel.feature_set
    begins = kind_begins(raw, symbol, set_reaches_ns(chosen), row_ns, first_ns)
    read = stretches(begins, row_ns, since_ns=max(first_ns, row_ns - set_horizon_ns(chosen)))
    begin_ns = read[0][1]
    start_ns = begin_ns if begin_ns > first_ns else first_message_ns(raw, raw.parts(symbol))
    # The coarser grid where it has the row: a row is the same on each.
    grid_ns = SECOND_NS if row_ns % SECOND_NS == 0 else ORDER_NS
    engine = Engine(kernel, raw.instrument(symbol), start_ns=start_ns, grid_ns=grid_ns)
    for kinds, from_ns, to_ns in read:
        for events, _ in stream_events(raw, symbol, kinds=kinds, from_ns=from_ns, to_ns=to_ns, fields=FIELDS):
            engine.feed(events)
    rows = engine.rows_at(np.array([row_ns], np.int64), row_ns)
    bids, asks = book_levels(engine) or (None, None)
    return Moment(rows, bids, asks)


def messages_behind(raw: RawData, symbol: str, chosen: FeatureSet, column: str, row_ns: int) -> list[RawMessage]:
    """The messages that the value of a column at a row depends on, in tape order; none for one of the time alone.

    Raises NotFound when there is no raw data of the symbol, InvalidRequest for a column of no such set, CorruptStore.
    """
    if column not in chosen.columns:
        raise InvalidRequest(f"feature: must be one of registry {chosen.version}, was {column!r}")
    reaches = column_reaches_ns(chosen, column)
    if not reaches:
        return []
    first_ns, _ = raw.period(symbol)
    begins = kind_begins(raw, symbol, reaches, row_ns, first_ns)
    pieces = [
        read_events(raw, symbol, kinds=kinds, from_ns=from_ns, to_ns=to_ns)
        for kinds, from_ns, to_ns in stretches(begins, row_ns)
    ]
    counted = np.concatenate(pieces)
    found = raw_messages(counted)
    if TRADE in reaches and not (counted["kind"] == TRADE).any():
        horizon_ns, near_ns = column_horizon_ns(chosen, column), row_ns - reaches[TRADE]
        found = newest_trade(raw, symbol, from_ns=row_ns - horizon_ns, to_ns=near_ns) + found
    return found


def kind_begins(raw: RawData, symbol: str, reaches_ns: Mapping[int, int], row_ns: int, first_ns: int) -> dict[int, int]:
    """By event kind, from when on a row needs its events; of the order book, from a snapshot on that is so old."""
    parts = raw.parts(symbol)
    # What comes at the time of the row is not in it.
    latest_ns = {kind: row_ns - max(reach_ns, 1) for kind, reach_ns in reaches_ns.items()}
    return {kind: start_before(raw, parts, {kind}, latest_ns[kind], first_ns) for kind in latest_ns}


def stretches(
    begins: Mapping[int, int], row_ns: int, *, since_ns: int | None = None
) -> list[tuple[set[int], int, int]]:
    """What is read up to a row: the kinds, from and to of stretches that follow each other, later ones of more kinds.

    since_ns: that is where the first begins if no kind does earlier. What tells of gaps and starts is read with each.
    """
    edges = sorted({*begins.values(), row_ns, *(() if since_ns is None else (since_ns,))})
    return [
        ({kind for kind, begin_ns in begins.items() if begin_ns <= from_ns}, from_ns, to_ns)
        for from_ns, to_ns in pairwise(edges)
    ]


def newest_trade(raw: RawData, symbol: str, *, from_ns: int, to_ns: int) -> list[RawMessage]:
    """The last message with trades of ``from_ns <= recv_ns < to_ns``, alone; none where nothing traded."""
    events = read_events(raw, symbol, kinds={TRADE}, from_ns=from_ns, to_ns=to_ns)
    return raw_messages(events[events["kind"] == TRADE])[-1:]
