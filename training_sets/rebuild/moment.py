"""A moment of the past: a symbol's row and order book at a tick, and the exact messages that a value of it depends on.

1. The row comes out of the same kernel as a rebuild's, so it is bit for bit what was served. Events of each kind are
   read as far back as the row sees them: a day of candles and minutes of the order book, not a day of both.
2. A value depends on the messages of the kinds that its feature reads, received within what it looks back at from the
   row: of trades its window. For the order book, on those from the last snapshot before that on. To change any other
   never changes it.
3. Where no trade is in the window, the newest one before it is why the value is not NO_DATA.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from market.clock import MILLISECOND_NS, SECOND_NS, format_iso, format_period
from market.errors import InvalidRequest
from market.events import CONTROL, ORDERBOOK, TRADE, Events
from storage.raw.events import first_message_ns, read_events, stream_events
from storage.raw.messages import RawMessage, raw_messages
from storage.raw.raw_data import RawData
from training_sets.rebuild.rebuild import start_before
from transforms.book_levels import Levels, book_levels
from transforms.catalogue import FEATURES, column_horizon_ns, column_reach_ns, set_horizon_ns, set_reaches_ns
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
    parts, chosen = raw.parts(symbol), kernel.feature_set
    begins = {
        kind: start_before(raw, parts, {kind}, row_ns - reach_ns, first_ns)
        for kind, reach_ns in set_reaches_ns(chosen).items()
    }
    # What tells of gaps and starts is read all the way: what is known of a history follows from it.
    edges = sorted({max(first_ns, row_ns - set_horizon_ns(chosen)), *begins.values(), row_ns})
    start_ns = edges[0] if edges[0] > first_ns else first_message_ns(raw, parts)
    # The coarser grid where it has the row: a row is the same on each.
    grid_ns = SECOND_NS if row_ns % SECOND_NS == 0 else ORDER_NS
    engine = Engine(kernel, raw.instrument(symbol), start_ns=start_ns, grid_ns=grid_ns)
    for from_ns, to_ns in pairwise(edges):
        kinds = {kind for kind, begin_ns in begins.items() if begin_ns <= from_ns}
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
    kinds = column_kinds(chosen, column)
    if not kinds:
        return []
    near_ns = row_ns - column_reach_ns(chosen, column)
    first_ns, _ = raw.period(symbol)
    book_ns = start_before(raw, raw.parts(symbol), kinds, near_ns, first_ns)
    events = read_events(raw, symbol, kinds=kinds, from_ns=min(near_ns, book_ns), to_ns=row_ns)
    counted = events[depended_on(events, near_ns=near_ns, book_ns=book_ns)]
    found = raw_messages(counted)
    if TRADE in kinds and not (counted["kind"] == TRADE).any():
        found = newest_trade(raw, symbol, from_ns=row_ns - column_horizon_ns(chosen, column), to_ns=near_ns) + found
    return found


def newest_trade(raw: RawData, symbol: str, *, from_ns: int, to_ns: int) -> list[RawMessage]:
    """The last message with trades of ``from_ns <= recv_ns < to_ns``, alone; none where nothing traded."""
    events = read_events(raw, symbol, kinds={TRADE}, from_ns=from_ns, to_ns=to_ns)
    return raw_messages(events[events["kind"] == TRADE])[-1:]


def column_kinds(chosen: FeatureSet, column: str) -> frozenset[int]:
    """The event kinds that a column is made of, besides CONTROL; none for one of the time alone."""
    feature = next((each.feature for each in chosen.normalisations if each.name == column), column)
    return FEATURES[feature].kinds


def depended_on(events: Events, *, near_ns: int, book_ns: int) -> npt.NDArray[np.bool_]:
    """Which events of the kinds count: the book's from ``book_ns`` on, others from ``near_ns`` on."""
    reaches_back = np.isin(events["kind"], (ORDERBOOK, CONTROL))
    counted: npt.NDArray[np.bool_] = events["recv_ns"] >= np.where(reaches_back, min(book_ns, near_ns), near_ns)
    return counted
