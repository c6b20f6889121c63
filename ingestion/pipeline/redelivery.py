"""Redelivery: which messages of a symbol the tape already holds, within a bounded window.

A broker delivers again what was not acknowledged, at a restart above all. A gateway's message is known by its
``event_id``, a trade by its ``i`` too, since a gateway that reconnects may send one trade under two event ids. A book
message needs neither: the order book passes over a ``u`` that it has seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Final

from ingestion.decoding.decode import DecodedMessage

WINDOW_KEYS: Final = 50_000
"""More than a consumer holds unacknowledged, some minutes of a busy symbol."""


class SeenMessages:
    """The identities of the last messages of one symbol, each with the seq of the message on the tape.

    window: identities kept; a message has at most one and one a trade.
    """

    def __init__(self, window: int = WINDOW_KEYS) -> None:
        self._window = window
        self._seq_of: dict[Hashable, int] = {}
        self._order: deque[Hashable] = deque()

    def seq_of(self, message: DecodedMessage) -> int | None:
        """Where the tape holds the message already, or None.

        A message of several trades is known only when all of them are: it cannot be taken in part.
        """
        if message.event_id is not None and (seq := self._seq_of.get(message.event_id)) is not None:
            return seq
        seqs = [self._seq_of.get((trade_id,)) for trade_id in message.trade_ids]
        known = [seq for seq in seqs if seq is not None]
        return max(known) if known and len(known) == len(seqs) else None

    def remember(self, message: DecodedMessage, seq: int) -> None:
        """The message is on the tape at ``seq``."""
        keys: list[Hashable] = [(trade_id,) for trade_id in message.trade_ids]
        if message.event_id is not None:
            keys.append(message.event_id)
        for key in keys:
            if key not in self._seq_of:
                self._order.append(key)
            self._seq_of[key] = seq
        while len(self._order) > self._window:
            del self._seq_of[self._order.popleft()]
