"""The merged ticker of one symbol, and when it is stated on the tape again.

A field that does not change is not sent, and a row looks back an hour alone. So while tickers arrive, what is known is
restated before the hour is over: it stays known as long as the stream is whole, wherever a computation starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from market.clock import MINUTE_NS
from market.errors import MalformedMessage
from market.events import (
    CONTROL,
    INDEX_PRICE,
    MARK_PRICE,
    OPEN_INTEREST,
    START,
    TICKER,
    TICKER_FIELD_COUNT,
    UNKNOWN,
    Events,
)
from transforms.state import ORDER_NS
from transforms.ticker import MEMORY_NS

RESTATED_NS: Final = 30 * MINUTE_NS
"""The age at which a field is restated with the next ticker that comes."""
MOST_PRICES_APART: Final = 10
"""The mark and the index price of one market, and each of them from one ticker to the next."""
MOST_INTEREST_RISE: Final = 1000
"""So many times the open interest may be from one ticker to the next; it may fall to anything."""
_PRICES: Final = {MARK_PRICE: "mark price", INDEX_PRICE: "index price"}


class MergedTicker:
    """Each field as last stated, in the order in which the engine applies records: by the slot, then as they came."""

    def __init__(self) -> None:
        self._fields: dict[int, tuple[int, int]] = {}
        self._start_slot = 0  # of the last START that made every field unknown
        self._oldest_ns = 0  # no field was stated earlier

    def load(self, fields: Sequence[tuple[int, int]], waiting: Events) -> None:
        """Go on from an engine's fields, as (value, recv_ns), and the records that wait in it."""
        self._fields = {field: stated for field, stated in enumerate(fields) if stated[0] != UNKNOWN}
        self._oldest_ns = 0
        self.note(waiting[np.isin(waiting["kind"], (TICKER, CONTROL))])

    def note(self, records: Events) -> None:
        """Take what records say, if any of it is of tickers."""
        columns = (records[name].tolist() for name in ("kind", "field", "px", "recv_ns"))
        for kind, field, value, recv_ns in zip(*columns, strict=True):
            if kind == TICKER:
                self.state(((field, value),), recv_ns)
            elif kind == CONTROL and field == START and value in (CONTROL, TICKER):
                self._start(recv_ns // ORDER_NS)

    def state(self, stated: Iterable[tuple[int, int]], recv_ns: int) -> None:
        """Take the fields and values of a ticker."""
        slot = recv_ns // ORDER_NS
        for field, value in stated:
            if field < TICKER_FIELD_COUNT:
                _, before_ns = self._fields.get(field, (UNKNOWN, 0))
                if slot >= max(before_ns // ORDER_NS, self._start_slot):
                    self._fields[field] = value, recv_ns
                    self._oldest_ns = min(self._oldest_ns, recv_ns)

    def may_be_due(self, recv_ns: int) -> bool:
        """Whether ``due`` may say that there is something to restate."""
        return self._oldest_ns <= recv_ns - RESTATED_NS

    def due(self, recv_ns: int) -> dict[int, int]:
        """Every known field's value when one is so old at ``recv_ns`` that they must be restated, else none."""
        if not self.may_be_due(recv_ns):
            return {}
        known = {field: value for field in self._fields if (value := self._value(field, recv_ns)) is not None}
        self._oldest_ns = min((self._fields[field][1] for field in known), default=recv_ns)
        return known if self.may_be_due(recv_ns) else {}

    def objection(self, stated: Iterable[tuple[int, int]], recv_ns: int) -> MalformedMessage | None:
        """Why the fields and values of a ticker cannot follow on what is known, None where they can.

        A delta states one field, whose absurd value nothing in the message itself contradicts.
        """
        for field, value in stated:
            if value == UNKNOWN:
                continue
            if field in _PRICES:
                for other, name in _PRICES.items():
                    known = self._value(other, recv_ns)
                    if known is not None and max(value, known) > MOST_PRICES_APART * min(value, known):
                        rule = f"must be within {MOST_PRICES_APART} times the {name} known before"
                        return MalformedMessage(f"{_PRICES[field]}: {rule}, was {value / known:g} times")
            elif field == OPEN_INTEREST:
                before = self._value(field, recv_ns) or 0
                if 0 < before * MOST_INTEREST_RISE < value:
                    rule = f"must be at most {MOST_INTEREST_RISE} times the one known before"
                    return MalformedMessage(f"open interest: {rule}, was {value / before:g} times")
        return None

    def _value(self, field: int, recv_ns: int) -> int | None:
        """What is known of a field at that time."""
        value, stated_ns = self._fields.get(field, (UNKNOWN, 0))
        return None if value == UNKNOWN or stated_ns < recv_ns - MEMORY_NS else value

    def _start(self, slot: int) -> None:
        self._fields = {
            field: (value, stated_ns)
            for field, (value, stated_ns) in self._fields.items()
            if stated_ns // ORDER_NS > slot
        }
        self._start_slot = max(self._start_slot, slot)
