"""Event records: one fixed-width record for each fact that a message states.

A message becomes one or more records in its own order, the first marked FIRST and the last LAST; they share its
``seq`` and its ``recv_ns``, so a message is applied whole or not at all. ``event_ns`` is the message's, or a
trade's and a candle's own, of ARRIVALS the begin of the minute that is counted.

| kind      | field            | px                                    | qty      | update_id         |
|-----------|------------------|---------------------------------------|----------|-------------------|
| CONTROL   | START            | the kind concerned, 0 is every kind   | 0        | 0                 |
|           | GAP              | 0                                     | 0        | 0                 |
|           | HISTORY          | the kind concerned                    | 0        | since when it is known, ns |
| ORDERBOOK | BID, ASK         | price                                 | quantity (0 deletes) | see below |
|           | NO_LEVEL         | 0 (a message that changes no level)   | 0        | see below         |
| TRADE     | BUY, SELL (taker)| price                                 | quantity | 0                 |
| KLINE     | OPEN … TURNOVER  | the field's value, at its own scale   | 0        | start of candle, ns |
| TICKER    | FUNDING_RATE …   | the value at its own scale, or UNKNOWN | 0       | 0                 |
| POSITION  | POSITION_SIZE …  | the field's value, at POSITION_EXPONENT | 0      | 0                 |
| CANDLE    | OPEN … TURNOVER  | as of a KLINE                         | minutes of its interval | start of candle, ns |
| EXECUTION | ORDER_PRICE …    | the field's value, at POSITION_EXPONENT | status | digest of the order's id |
| FUNDING   | FUNDING_RATE, NEXT_FUNDING | as of a TICKER              | 0        | 0                 |
| ARRIVALS  | the kind counted | messages that came late               | that came again | how late at most, ns |

The updates of an order book are numbered one by one, as ``market.book_sequence`` says; of a message that brings several
each is marked FIRST and LAST.

Scales: prices at the instrument's price exponent, quantities, volume and open interest at its quantity exponent,
turnover at their sum but TURNOVER_DECIMALS at most, funding rates at FUNDING_RATE_EXPONENT; NEXT_FUNDING is a time in
ns. A ticker's field and a turnover that do not fit are UNKNOWN, and whatever else a message states is taken. Position
fields are not the exchange's prices but a manager's averages with any number of digits: they alone are rounded, to
POSITION_EXPONENT.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

EVENT: Final = np.dtype(
    [
        ("recv_ns", np.int64),
        ("event_ns", np.int64),
        ("seq", np.int64),
        ("update_id", np.int64),
        ("px", np.int64),
        ("qty", np.int64),
        ("kind", np.int8),
        ("field", np.int8),
        ("flags", np.int8),
    ],
    align=True,
)
Events = npt.NDArray[Any]
"""A one-dimensional array of EVENT records, in tape order."""

UNKNOWN: Final = int(np.iinfo(np.int64).min)
"""A value that is not known, where every other integer is possible."""

# kind
CONTROL: Final = 0
ORDERBOOK: Final = 1
TRADE: Final = 2
KLINE: Final = 3
TICKER: Final = 4
POSITION: Final = 5
CANDLE: Final = 6
KIND_COUNT: Final = 7
"""Of the kinds that an engine reads. Those that follow are kept, and no engine is fed with them."""
EXECUTION: Final = 7
FUNDING: Final = 8
ARRIVALS: Final = 9
ALL_KINDS: Final = 10
KIND_NAMES: Final = (
    "control",
    "orderbook",
    "trade",
    "kline",
    "ticker",
    "position",
    "candle",
    "execution",
    "funding",
    "arrivals",
)

# field, by kind
START: Final = 0
GAP: Final = 1
HISTORY: Final = 2

BID: Final = 0
ASK: Final = 1
NO_LEVEL: Final = 2

BUY: Final = 0
SELL: Final = 1

OPEN: Final = 0
HIGH: Final = 1
LOW: Final = 2
CLOSE: Final = 3
VOLUME: Final = 4
TURNOVER: Final = 5
KLINE_FIELD_COUNT: Final = 6

FUNDING_RATE: Final = 0
NEXT_FUNDING: Final = 1
OPEN_INTEREST: Final = 2
MARK_PRICE: Final = 3
INDEX_PRICE: Final = 4
NO_TICKER_FIELD: Final = 5
TICKER_FIELD_COUNT: Final = 5

POSITION_SIZE: Final = 0
UNREALIZED_PNL: Final = 1
REALIZED_PNL: Final = 2
ENTRY_PRICE: Final = 3
POSITION_FIELD_COUNT: Final = 4

ORDER_PRICE: Final = 0
ORDER_QUANTITY: Final = 1
FILLED_PRICE: Final = 2
FILLED_QUANTITY: Final = 3
ORDER_FEE: Final = 4
ORDER_STATUSES: Final = ("other", "new", "partly_filled", "filled", "cancelled", "rejected")
"""``qty`` of an execution's records is the place of its status."""

# flags
FIRST: Final = 1
LAST: Final = 2
SNAPSHOT: Final = 4
CONFIRMED: Final = 8


def empty_events(count: int = 0) -> Events:
    """``count`` zeroed records."""
    return np.zeros(count, EVENT)


def mark_message(records: Events) -> Events:
    """Set FIRST and LAST on the records of one message, in place; returns the same array."""
    records["flags"][0] |= FIRST
    records["flags"][-1] |= LAST
    return records
