"""Holes in what the gateway's queues bring: times in which a queue was not read, told on the tapes while they last.

1. While a queue is not read, a START of trades and of order books is written a second: nothing heard is not nothing
   traded. Once it is read again the windows over that time are unknown, and what was kept for us is in no window.
2. A queue that was deleted, or that dropped its oldest messages, lost data that will not come back: its order books
   and its tickers are lost too. A candle that is missing shows itself.
3. Each hole is logged once, with its length, when it is over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ingestion.decoding.decoded import SYMBOL
from ingestion.decoding.own import control_message
from ingestion.venues.bybit.topics import routed_topic
from market.clock import SECOND_NS
from market.events import GAP, ORDERBOOK, START, TICKER, TRADE

MARK_NS: Final = SECOND_NS
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Queue:
    """heard: kind and symbol of what it brought, by topic. away_ns: since when it is not read; None while it is."""

    heard: dict[str, tuple[int, str]] = field(default_factory=dict)
    away_ns: int | None = None
    marked_ns: int = 0
    is_lost: bool = False


class QueueHoles:
    """What to write on the tapes of the symbols that queues brought before; times are those of our clock, in ns."""

    def __init__(self) -> None:
        self.count = 0
        self._queues: dict[str, _Queue] = {}

    def hear(self, queue: str, topic: str) -> None:
        """The topic of a message that a queue brought; a known one costs a lookup, one of no symbol is not kept."""
        heard = self._of(queue).heard
        if topic in heard or (routed := routed_topic(topic)) is None:
            return
        if SYMBOL.fullmatch(routed[1]) is not None:  # of others there is no tape to write on
            heard[topic] = routed

    def end(self, queue: str, now_ns: int, *, is_gone: bool) -> None:
        """The queue is not read any more. is_gone: it was deleted."""
        known = self._of(queue)
        if known.away_ns is None:
            known.away_ns, known.marked_ns = now_ns, 0
        known.is_lost |= is_gone

    def forget(self, queue: str) -> None:
        """Another process reads the queue, and reports its holes."""
        self._queues.pop(queue, None)

    def begin(self, queue: str, now_ns: int, *, is_full: bool) -> list[bytes]:
        """The queue is read again: the last marks of its hole. is_full: it may have dropped its oldest messages."""
        known = self._of(queue)
        known.is_lost |= is_full
        if not known.heard or (known.away_ns is None and not known.is_lost):
            known.away_ns, known.is_lost = None, False
            return []
        lost = "its messages are lost" if known.is_lost else "its messages were kept"
        length_s = (now_ns - (known.away_ns or now_ns)) / SECOND_NS
        reason = f"queue {queue} was not read for {length_s:.1f} s, {lost}"
        _log.warning("%s", reason)
        marks = list(_marks(known, reason, now_ns))
        self.count += 1
        known.away_ns, known.is_lost = None, False
        return marks

    def due(self, now_ns: int) -> list[bytes]:
        """The marks of every queue that is not read, once a second."""
        marks: list[bytes] = []
        for queue, known in self._queues.items():
            if known.away_ns is not None and now_ns - known.marked_ns >= MARK_NS:
                known.marked_ns = now_ns
                marks += _marks(known, f"queue {queue} is not read", now_ns)
        return marks

    def _of(self, queue: str) -> _Queue:
        return self._queues.setdefault(queue, _Queue())


def _marks(queue: _Queue, reason: str, now_ns: int) -> Iterator[bytes]:
    for kind, symbol in sorted(set(queue.heard.values())):
        if kind == ORDERBOOK and queue.is_lost:
            yield control_message(GAP, symbol=symbol, event_ns=now_ns, reason=reason)
        if kind in (ORDERBOOK, TRADE) or (kind == TICKER and queue.is_lost):
            yield control_message(START, symbol=symbol, event_ns=now_ns, reason=reason, kind=kind)
