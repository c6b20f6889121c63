"""Redelivery: which messages, and which trades, the tape of a symbol already holds, within a bounded window.

A broker delivers again what was not acknowledged, at a restart above all. A gateway's message is known by its
``event_id``, a trade by its ``i``: a gateway that reconnects sends trades again under other event ids and in other
messages, so each trade is counted once, whatever message brings it. A book message needs neither: the order book passes
over a ``u`` that it has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ingestion.decoding.decoded import DecodedMessage
from ingestion.pipeline.kept_ids import WAITING, KeptIds
from market.clock import MINUTE_NS, SECOND_NS
from transforms.state import SECONDS_KEPT

WINDOW_KEYS: Final = 18_000
"""As many as a worker holds unacknowledged, 2,000 of each of its nine queues, should all be of one symbol."""
TRADES_NS: Final = SECONDS_KEPT * SECOND_NS + MINUTE_NS
"""How long a trade is known at least: a minute more than any window can be."""
MOST_TRADES: Final = 1_000_000
"""Trades known at most, whatever their time: more than a thousand and a half a second over ``TRADES_NS``."""


class SeenEntries(NamedTuple):
    """All identities of a symbol, for a checkpoint. newest_ns: of the newest message with trades, 0 before one."""

    events: bytes
    trades: bytes
    newest_ns: int


class SeenMessages:
    """The identities of the last messages of one symbol, each with the seq of the message on the tape.

    window: event ids and, however old, trades that are kept. most_trades: a bound of the memory. waiting: see KeptIds.
    """

    def __init__(self, window: int = WINDOW_KEYS, *, most_trades: int = MOST_TRADES, waiting: int = WAITING) -> None:
        self._window = window
        self._most_trades = most_trades
        self._events = KeptIds(waiting=waiting)
        self._trades = KeptIds(has_times=True, waiting=waiting)
        self._newest_ns = 0

    def is_new(self, event_id: str | None, trade_ids: Sequence[str | None]) -> bool:
        """Whether the tape holds neither a message nor any of its trades, none of which it states twice."""
        if event_id is not None and self._events.seq_of(event_id) is not None:
            return False
        if len(trade_ids) == 1:
            return trade_ids[0] is None or self._trades.seq_of(trade_ids[0]) is None
        named = [trade_id for trade_id in trade_ids if trade_id is not None]
        return not named or (len(set(named)) == len(named) and not self._trades.keeps_any(named))

    def seq_of(self, message: DecodedMessage) -> int | None:
        """Where the tape holds the message already, each of its trades where it has any, or None."""
        if message.event_id is not None and (seq := self._events.seq_of(message.event_id)) is not None:
            return seq
        latest = None
        for trade_id in message.trade_ids:
            seq = None if trade_id is None else self._trades.seq_of(trade_id)
            if seq is None:
                return None
            latest = seq if latest is None else max(latest, seq)
        return latest

    def repeated_trades(self, message: DecodedMessage) -> list[int]:
        """The places of the message's trades that the tape holds, or that stand in the message before."""
        met: set[str] = set()
        repeated = []
        for at, trade_id in enumerate(message.trade_ids):
            if trade_id is None:
                continue
            if trade_id in met or self._trades.seq_of(trade_id) is not None:
                repeated.append(at)
            met.add(trade_id)
        return repeated

    def remember(self, message: DecodedMessage, seq: int, recv_ns: int) -> None:
        """The message is on the tape at ``seq``, received at ``recv_ns``."""
        self.keep(message.event_id, message.trade_ids, seq, recv_ns)

    def keep(self, event_id: str | None, trade_ids: Sequence[str | None], seq: int, recv_ns: int) -> None:
        """``remember`` for a message of that id with these trades."""
        if event_id is not None:
            self._events.keep(event_id, seq)
            if (excess := len(self._events) - self._window) > 0:
                self._events.forget(excess)
        if not trade_ids:
            return
        self._newest_ns = max(self._newest_ns, recv_ns)
        for trade_id in trade_ids:
            if trade_id is not None:
                self._trades.keep(trade_id, seq, recv_ns)
        if (excess := len(self._trades) - self._window) > 0:
            past = self._trades.count_before(self._newest_ns - TRADES_NS, excess)
            self._trades.forget(max(past, len(self._trades) - self._most_trades))

    def entries(self) -> SeenEntries:
        """What ``restore`` continues from."""
        return SeenEntries(self._events.entries(), self._trades.entries(), self._newest_ns)

    def restore(self, entries: SeenEntries) -> None:
        """Know what was known when ``entries`` was called, and nothing else."""
        self._events.restore(entries.events)
        self._trades.restore(entries.trades)
        self._newest_ns = entries.newest_ns
