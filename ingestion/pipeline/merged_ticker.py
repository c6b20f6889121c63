"""The merged ticker of one symbol, and when it is stated on the tape again.

A field that does not change is not sent, and a row looks back an hour alone. So while tickers arrive, what is known is
restated before the hour is over: it stays known as long as the stream is whole, wherever a computation starts.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    def load(self, fields: Sequence[tuple[int, int]], waiting: Events) -> None:
        """Go on from an engine's fields, as (value, recv_ns), and the records that wait in it."""
        self._fields = {field: stated for field, stated in enumerate(fields) if stated[0] != UNKNOWN}
        self.note(waiting[np.isin(waiting["kind"], (TICKER, CONTROL))])

    def note(self, records: Events) -> None:
        """Take what records say, if any of it is of tickers."""
        for record in records:
            if record["kind"] == TICKER and record["field"] < TICKER_FIELD_COUNT:
                self._state(int(record["field"]), int(record["px"]), int(record["recv_ns"]))
            elif record["kind"] == CONTROL and record["field"] == START and record["px"] in (CONTROL, TICKER):
                self._start(int(record["recv_ns"]) // ORDER_NS)

    def due(self, recv_ns: int) -> dict[int, int]:
        """Every known field's value when one is so old at ``recv_ns`` that they must be restated, else none."""
        known = {
            field: (value, stated_ns)
            for field, (value, stated_ns) in self._fields.items()
            if value != UNKNOWN and stated_ns >= recv_ns - MEMORY_NS
        }
        if all(stated_ns > recv_ns - RESTATED_NS for _, stated_ns in known.values()):
            return {}
        return {field: value for field, (value, _) in known.items()}

    def objection(self, records: Events, recv_ns: int) -> MalformedMessage | None:
        """Why what a ticker states cannot follow on what is known, None where it can.

        A delta states one field, whose absurd value nothing in the message itself contradicts.
        """
        known = {
            field: value
            for field, (value, stated_ns) in self._fields.items()
            if value != UNKNOWN and stated_ns >= recv_ns - MEMORY_NS
        }
        for field, value in zip(records["field"].tolist(), records["px"].tolist(), strict=True):
            if value == UNKNOWN:
                continue
            for other in _PRICES.keys() & known.keys() if field in _PRICES else ():
                if max(value, known[other]) > MOST_PRICES_APART * min(value, known[other]):
                    rule = f"must be within {MOST_PRICES_APART} times the {_PRICES[other]} known before"
                    return MalformedMessage(f"{_PRICES[field]}: {rule}, was {value / known[other]:g} times")
            before = known.get(OPEN_INTEREST, 0)
            if field == OPEN_INTEREST and 0 < before * MOST_INTEREST_RISE < value:
                rule = f"must be at most {MOST_INTEREST_RISE} times the one known before"
                return MalformedMessage(f"open interest: {rule}, was {value / before:g} times")
        return None

    def _state(self, field: int, value: int, recv_ns: int) -> None:
        _, before_ns = self._fields.get(field, (UNKNOWN, 0))
        if recv_ns // ORDER_NS >= max(before_ns // ORDER_NS, self._start_slot):
            self._fields[field] = value, recv_ns

    def _start(self, slot: int) -> None:
        self._fields = {
            field: (value, stated_ns)
            for field, (value, stated_ns) in self._fields.items()
            if stated_ns // ORDER_NS > slot
        }
        self._start_slot = max(self._start_slot, slot)
