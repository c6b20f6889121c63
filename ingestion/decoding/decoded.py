"""A decoded message: what every venue's decoder makes of the bytes of one."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from market.book_sequence import BookPlace
from market.errors import MalformedMessage
from market.events import Events

# Symbols become folder names, and readers of folders of Parquet pass over names that start with "." or "_".
SYMBOL: Final = re.compile(r"[A-Z0-9][A-Z0-9_.-]{0,39}")


def checked_symbol(symbol: str) -> str:
    """The symbol. Raises MalformedMessage on one that cannot name anything."""
    if SYMBOL.fullmatch(symbol) is None:
        raise MalformedMessage(f"symbol: must match {SYMBOL.pattern}, was {symbol[:80]!r}")
    return symbol


class DecodedMessage(NamedTuple):
    """One message as event records.

    kind: of ``market.events``; all records have it.
    received_ns: the gateway's ``received_at``; None when the message did not come through the gateway.
    records: EVENT (n >= 1,), in message order, marked FIRST and LAST; ``seq`` and ``recv_ns`` are 0, to be stamped.
        ``event_ns`` is each trade's and each candle's own, otherwise the message's.
    """

    symbol: str
    kind: int
    topic: str
    received_ns: int | None
    trace_id: str | None
    records: Events
    event_id: str | None = None
    """The gateway's, the same when the message is delivered again."""
    trade_ids: tuple[str | None, ...] = ()
    """The exchange's id of each trade of the message, None for one that states none."""
    book: BookPlace | None = None
    """The position of an order book message in its stream; None for every other kind."""

    @property
    def fields(self) -> list[tuple[int, int]]:
        """Field and value of each record."""
        return list(zip(self.records["field"].tolist(), self.records["px"].tolist(), strict=True))

    def stamped(self, recv_ns: int, seq: int) -> Events:
        """The records, with the place on the tape that the message has."""
        self.records["recv_ns"] = recv_ns
        self.records["seq"] = seq
        return self.records
