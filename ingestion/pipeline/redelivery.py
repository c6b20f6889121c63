"""Redelivery: which messages, and which trades, the tape of a symbol already holds, within a bounded window.

A broker delivers again what was not acknowledged, at a restart above all. A gateway's message is known by its
``event_id``, a trade by its ``i``: a gateway that reconnects sends trades again under other event ids and in other
messages, so each trade is counted once, whatever message brings it. A book message needs neither: the order book passes
over a ``u`` that it has seen.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ingestion.decoding.decoded import DecodedMessage
from market.clock import MINUTE_NS, SECOND_NS
from transforms.state import SECONDS_KEPT

WINDOW_KEYS: Final = 18_000
"""As many as a worker holds unacknowledged, 2,000 of each of its nine queues, should all be of one symbol."""
TRADES_NS: Final = SECONDS_KEPT * SECOND_NS + MINUTE_NS
"""How long a trade is known at least: a minute more than any window can be."""
MOST_TRADES: Final = 1_000_000
"""Trades known at most, whatever their time: more than a thousand and a half a second over ``TRADES_NS``."""


class SeenMessages:
    """The identities of the last messages of one symbol, each with the seq of the message on the tape.

    window: event ids and, however old, trades that are kept. most_trades: a bound of the memory.
    """

    def __init__(self, window: int = WINDOW_KEYS, *, most_trades: int = MOST_TRADES) -> None:
        self._window = window
        self._most_trades = most_trades
        self._seq_of_event: dict[str, int] = {}
        self._events: deque[str] = deque()
        self._seq_of_trade: dict[str, int] = {}
        self._trades: deque[str] = deque()
        self._trades_recv_ns: deque[int] = deque()  # of ``_trades``; a tuple for each would be a fourth of the memory
        self._newest_ns = 0

    def seq_of(self, message: DecodedMessage) -> int | None:
        """Where the tape holds the message already, each of its trades where it has any, or None."""
        if message.event_id is not None and (seq := self._seq_of_event.get(message.event_id)) is not None:
            return seq
        seqs = [None if trade_id is None else self._seq_of_trade.get(trade_id) for trade_id in message.trade_ids]
        known = [seq for seq in seqs if seq is not None]
        return max(known) if known and len(known) == len(seqs) else None

    def repeated_trades(self, message: DecodedMessage) -> list[int]:
        """The places of the message's trades that the tape holds, or that stand in the message before."""
        met: set[str] = set()
        repeated = []
        for at, trade_id in enumerate(message.trade_ids):
            if trade_id is None:
                continue
            if trade_id in met or trade_id in self._seq_of_trade:
                repeated.append(at)
            met.add(trade_id)
        return repeated

    def remember(self, message: DecodedMessage, seq: int, recv_ns: int) -> None:
        """The message is on the tape at ``seq``, received at ``recv_ns``."""
        if message.event_id is not None:
            if message.event_id not in self._seq_of_event:
                self._events.append(message.event_id)
            self._seq_of_event[message.event_id] = seq
            while len(self._events) > self._window:
                del self._seq_of_event[self._events.popleft()]
        if not message.trade_ids:
            return
        self._newest_ns = max(self._newest_ns, recv_ns)
        for trade_id in message.trade_ids:
            if trade_id is not None:
                if trade_id not in self._seq_of_trade:
                    self._trades.append(trade_id)
                    self._trades_recv_ns.append(recv_ns)
                self._seq_of_trade[trade_id] = seq
        while len(self._trades) > self._most_trades or self._is_oldest_past():
            del self._seq_of_trade[self._trades.popleft()]
            self._trades_recv_ns.popleft()

    def _is_oldest_past(self) -> bool:
        return len(self._trades) > self._window and self._trades_recv_ns[0] < self._newest_ns - TRADES_NS
