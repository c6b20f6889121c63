"""The tables of raw Parquet, and which of them each record belongs to."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest
from market.events import (
    ALL_KINDS,
    ARRIVALS,
    CANDLE,
    CONTROL,
    EXECUTION,
    FIRST,
    KLINE,
    LAST,
    ORDERBOOK,
    POSITION,
    SNAPSHOT,
    TICKER,
    TRADE,
    Events,
)
from transforms.jit import for_compiled, jit_alone

TABLES: Final = (
    ("raw_gaps", CONTROL),
    ("raw_orderbook_snapshots", ORDERBOOK),
    ("raw_orderbook_deltas", ORDERBOOK),
    ("raw_trades", TRADE),
    ("raw_kline", KLINE),
    ("raw_ticker", TICKER),
    ("raw_positions", POSITION),
    ("raw_kline_intervals", CANDLE),
    ("raw_executions", EXECUTION),
    ("raw_arrivals", ARRIVALS),
)
FUNDING_TABLE: Final = "raw_funding"
TABLE_NAMES: Final = (*(table for table, _ in TABLES), FUNDING_TABLE)
SNAPSHOT_TABLE: Final = "raw_orderbook_snapshots"
DELTA_TABLE: Final = "raw_orderbook_deltas"
_SNAPSHOTS: Final = 1
_DELTAS: Final = 2
FUNDING_INDEX: Final = TABLE_NAMES.index(FUNDING_TABLE)
TICKER_INDEX: Final = TABLE_NAMES.index("raw_ticker")
_NOTHING, _KIND, _ORDER, _TORN, _UNMARKED = range(5)
"""Rules that records may break."""
# Index into TABLES by kind, order book snapshots apart.
_TABLE_OF_KIND: Final = np.array([0, 2, 3, 4, 5, 6, 7, 8, FUNDING_INDEX, 9])


def table_index(symbol: str, events: Events) -> tuple[npt.NDArray[np.int8], tuple[int, int]]:
    """Index into TABLE_NAMES by record, and the first and the last ``recv_ns``; of one event at least.

    Raises InvalidRequest where the records break a rule of ``write_events``.
    """
    tables = np.empty(len(events), np.int8)
    broken, at, first_ns, last_ns = _find_tables(for_compiled(_find_tables, events), tables)
    if broken == _NOTHING:
        return tables, (int(first_ns), int(last_ns))
    seq = int(events["seq"][at])
    raise InvalidRequest(
        f"{symbol} events: "
        + {
            _KIND: f"kind must be 0 to {ALL_KINDS - 1}, was {events['kind'][at]}",
            _ORDER: f"seq must not fall, was {seq} after {events['seq'][at - 1]}",
            _TORN: f"a message must have one recv_ns and one table, was two at seq {seq}",
            _UNMARKED: "the first record of an update must be FIRST and its last LAST, nothing else, "
            f"was otherwise at seq {seq}",
        }[broken]
    )


@jit_alone
def _find_tables(records: Any, tables: Any) -> tuple[int, int, int, int]:
    """Write each record's index into TABLE_NAMES.

    Returns the rule that the first bad one breaks, and where it is; the least ``recv_ns`` and the greatest.
    """
    count = len(records)
    first_ns = last_ns = records[0].recv_ns
    for at in range(count):
        record = records[at]
        kind = record.kind
        if kind < 0 or kind >= ALL_KINDS:
            return _KIND, at, 0, 0
        is_snapshot = kind == ORDERBOOK and record["flags"] & SNAPSHOT != 0
        table = _SNAPSHOTS if is_snapshot else _TABLE_OF_KIND[kind]
        tables[at] = table
        is_next = at > 0 and records[at - 1].seq == record.seq
        if is_next and (records[at - 1].recv_ns != record.recv_ns or tables[at - 1] != table):
            return _TORN, at, 0, 0
        if at > 0 and records[at - 1].seq > record.seq:
            return _ORDER, at, 0, 0
        if table == _DELTAS:
            marks = 0
            if not (is_next and records[at - 1].update_id == record.update_id):
                marks |= FIRST
            following = min(at + 1, count - 1)
            if (
                following == at
                or records[following].seq != record.seq
                or records[following].update_id != record.update_id
            ):
                marks |= LAST
            if record["flags"] != marks:
                return _UNMARKED, at, 0, 0
        first_ns, last_ns = min(first_ns, record.recv_ns), max(last_ns, record.recv_ns)
    return _NOTHING, 0, first_ns, last_ns
