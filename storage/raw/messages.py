"""Raw messages: which messages of a symbol stand around a time, for a person who asks why a row is what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from market.clock import MINUTE_NS
from market.events import CONTROL, FIRST, GAP, HISTORY, KIND_COUNT, KIND_NAMES, ORDERBOOK, SNAPSHOT, START, Events
from storage.raw.events import read_events
from storage.raw.raw_data import RawData

AROUND_NS: Final = MINUTE_NS
"""Messages further away than this, on either side, are not looked for."""

_CONTROL_NAMES: Final = {START: "start", GAP: "gap", HISTORY: "history"}


@dataclass(frozen=True, slots=True)
class RawMessage:
    """One message. records: how many facts it states. update_id: the book's ``u``, a candle's start in ns, else 0."""

    seq: int
    recv_ns: int
    event_ns: int
    kind: str
    records: int
    update_id: int


def messages_around(raw: RawData, symbol: str, at_ns: int, *, each_side: int = 5) -> list[RawMessage]:
    """The last messages with ``recv_ns < at_ns`` and the first of the others, in tape order.

    At most ``each_side`` of either, none further from ``at_ns`` than AROUND_NS. Raises CorruptStore, InvalidRequest.
    """
    events = read_events(raw, symbol, kinds=range(KIND_COUNT), from_ns=at_ns - AROUND_NS, to_ns=at_ns + AROUND_NS)
    firsts = np.flatnonzero((events["flags"] & FIRST) != 0)
    is_before = events["recv_ns"][firsts] < at_ns
    chosen = np.sort(np.concatenate([np.flatnonzero(is_before)[-each_side:], np.flatnonzero(~is_before)[:each_side]]))
    counts = np.diff(np.append(firsts, len(events)))
    return [_message(events[int(firsts[at])], int(counts[at])) for at in chosen]


def raw_messages(events: Events) -> list[RawMessage]:
    """Whole messages, in tape order, from their records."""
    firsts = np.flatnonzero((events["flags"] & FIRST) != 0)
    counts = np.diff(np.append(firsts, len(events)))
    return [_message(events[first], count) for first, count in zip(firsts.tolist(), counts.tolist(), strict=True)]


def _message(first: Events, records: int) -> RawMessage:
    kind = int(first["kind"])
    name = KIND_NAMES[kind]
    if kind == ORDERBOOK:
        name += " snapshot" if first["flags"] & SNAPSHOT else " delta"
    elif kind == CONTROL:
        name += f" {_CONTROL_NAMES[int(first['field'])]}"
    return RawMessage(
        int(first["seq"]), int(first["recv_ns"]), int(first["event_ns"]), name, records, int(first["update_id"])
    )
