"""What the service itself says on a tape of messages that are missing, and what replaces a hole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ingestion.decoding.decoded import DecodedMessage
from ingestion.decoding.own import control_message
from ingestion.venues.decoders import Decoders
from market.clock import MINUTE_NS, SECOND_NS, floor_to
from market.events import CONTROL, GAP, KIND_COUNT, KLINE, ORDERBOOK, START, TICKER, TRADE, Events, empty_events
from storage.tape import Hole

RESTART_REASON: Final = "ingest restarted"
LOST_REASON: Final = "messages on the tape cannot be read"
GAP_REASON: Final = "order book lost its sequence"
NO_NEWS_NS: Final = 5 * MINUTE_NS
"""After this long without a trade it is unknown whether nothing was traded."""


def hole_records(decoders: Decoders, symbol: str, hole: Hole) -> Events:
    """The replacement of a hole: a START, because messages before what follows are missing.

    Nothing in that of a damaged head, which costs no message: its seq is that of the frame after it.
    """
    if hole.next_seq == hole.first_seq:
        return empty_events(0)
    body = control_message(START, symbol=symbol, event_ns=hole.recv_ns, reason=LOST_REASON)
    decoded = decoders.decode(body, hole.recv_ns)
    assert decoded is not None
    return decoded.stamped(hole.recv_ns, hole.first_seq)


class Mark(NamedTuple):
    """START or GAP, of a kind, CONTROL for every one."""

    field: int
    kind: int
    recv_ns: int


def absence_marks(since_ns: int, until_ns: int, *, grid_ns: int, is_book_known: bool) -> Iterator[Mark]:
    """The marks of a time in which nothing was read, in order.

    Where no tick of the grid is in it, no row is of it, and what comes next says what is missing. Trades have a mark
    each second: without one a second later nothing was traded in it. After NO_NEWS_NS that is unknown anyway.
    """
    if floor_to(until_ns, grid_ns) > floor_to(since_ns, grid_ns):
        if is_book_known:
            yield Mark(GAP, CONTROL, since_ns)
        for kind in (TRADE, TICKER, KLINE):
            yield Mark(START, kind, since_ns)
        first_ns = floor_to(since_ns, SECOND_NS) + SECOND_NS
        for at_ns in range(first_ns, min(until_ns, since_ns + NO_NEWS_NS), SECOND_NS):
            yield Mark(START, TRADE, at_ns)
    yield Mark(START, CONTROL, until_ns)


def kinds_changed(message: DecodedMessage) -> Iterable[int]:
    """The kinds of messages that a message must not come before, since it says something of what they brought."""
    if message.kind != CONTROL:
        return (message.kind,)
    if message.records["field"][0] == GAP:
        return (CONTROL, ORDERBOOK)
    kind = int(message.records["px"][0])
    return range(KIND_COUNT) if kind == CONTROL else (CONTROL, kind)
