"""The messages around a time: some of either side, in tape order, each by what it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from market.clock import DAY_NS, MINUTE_NS
from market.events import CONTROL, GAP, ORDERBOOK, SNAPSHOT, TRADE, Events, empty_events, mark_message
from market.instruments import Instrument
from storage.raw.messages import messages_around
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData

BTC = Instrument("BTCUSDT", 3, 6)
NOON_NS = 20_000 * DAY_NS + DAY_NS // 2


def message(seq: int, recv_ns: int, kind: int, *, records: int = 1, flags: int = 0, field: int = 0) -> Events:
    made = empty_events(records)
    made["seq"], made["recv_ns"], made["event_ns"], made["kind"] = seq, recv_ns, recv_ns - 7, kind
    made["flags"], made["field"], made["update_id"] = flags, field, seq if kind == ORDERBOOK else 0
    return mark_message(made)


def test_a_few_messages_of_either_side_are_told_by_their_kind(tmp_path: Path) -> None:
    events = [
        message(1, NOON_NS - MINUTE_NS - 1, TRADE),
        message(2, NOON_NS - 3, ORDERBOOK, records=3, flags=SNAPSHOT),
        message(3, NOON_NS - 2, ORDERBOOK, records=2),
        message(4, NOON_NS - 1, TRADE),
        message(5, NOON_NS, CONTROL, field=GAP),
        # Queues are drained side by side: a message of the row behind one of the next row.
        message(6, NOON_NS - 1, TRADE),
        message(7, NOON_NS + 9, TRADE),
        message(8, NOON_NS + 10, TRADE),
    ]
    write_events(tmp_path, BTC, np.concatenate(events), part="0")
    around = messages_around(RawData(tmp_path), "BTCUSDT", NOON_NS, each_side=2)
    assert [(each.seq, each.kind, each.records) for each in around] == [
        (4, "trade", 1),
        (5, "control gap", 1),
        (6, "trade", 1),
        (7, "trade", 1),
    ]
    around = messages_around(RawData(tmp_path), "BTCUSDT", NOON_NS)
    assert [each.seq for each in around] == [2, 3, 4, 5, 6, 7, 8]
    assert [(each.kind, each.update_id) for each in around[:2]] == [("orderbook snapshot", 2), ("orderbook delta", 3)]
    assert around[0].event_ns == around[0].recv_ns - 7


def test_where_there_is_nothing_there_is_no_message(tmp_path: Path) -> None:
    assert messages_around(RawData(tmp_path), "BTCUSDT", NOON_NS) == []
