"""Event records of any kind without a tape: one message, tapes of them to be drawn, and what makes two the same."""

from __future__ import annotations

from typing import Final, TypedDict

import numpy as np
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS
from market.events import EVENT, FIRST, KIND_COUNT, LAST, ORDERBOOK, SNAPSHOT, Events, empty_events, mark_message
from market.instruments import Instrument

BTC = Instrument("BTCUSDT", 3, 6)
MIDNIGHT_NS = 20_000 * DAY_NS  # 2024-10-04
ALL_KINDS = range(KIND_COUNT)


class Period(TypedDict):
    from_ns: int
    to_ns: int


EVER: Final[Period] = {"from_ns": -(2**62), "to_ns": 2**62}
INT64 = st.integers(-(2**63), 2**63 - 1)


def message(seq: int, recv_ns: int, kind: int, *, is_snapshot: bool = False, levels: int = 1) -> Events:
    records = empty_events(levels)
    records["seq"], records["recv_ns"], records["kind"] = seq, recv_ns, kind
    records["event_ns"] = recv_ns - 5
    records["px"] = np.arange(levels) - 7
    records["qty"] = 1000
    records["flags"] = SNAPSHOT if is_snapshot else 0
    return mark_message(records)


def same(one: Events, other: Events) -> bool:
    """Every bit of every field; the padding between records means nothing and numpy leaves it to chance."""
    return one.dtype == other.dtype == EVENT and np.array_equal(one, other)


@st.composite
def tapes(draw: st.DrawFn) -> list[Events]:
    messages = []
    seq, recv_ns = 0, MIDNIGHT_NS
    for _ in range(draw(st.integers(0, 12))):
        seq += draw(st.integers(1, 3))
        recv_ns += draw(st.sampled_from([0, 1, -1, SECOND_NS, DAY_NS - 1, DAY_NS, -DAY_NS]))
        records = message(
            seq,
            recv_ns,
            draw(st.sampled_from(ALL_KINDS)),
            is_snapshot=draw(st.booleans()),
            levels=draw(st.integers(1, 4)),
        )
        for name in ("event_ns", "update_id", "px", "qty"):
            records[name] = draw(st.lists(INT64, min_size=len(records), max_size=len(records)))
        if records["kind"][0] == ORDERBOOK:
            _mark_updates(records)
        records["field"] = draw(st.integers(-128, 127))
        messages.append(records)
    return messages


def _mark_updates(records: Events) -> None:
    """A snapshot is one update; a delta may bring several, each marked FIRST and LAST."""
    if records["flags"][0] & SNAPSHOT:
        records["update_id"] = records["update_id"][0]
        return
    changes = records["update_id"][1:] != records["update_id"][:-1]
    records["flags"] = np.where(np.r_[True, changes], FIRST, 0) | np.where(np.r_[changes, True], LAST, 0)
