"""The merged ticker of one symbol, and when it is stated on the tape again.

A field that does not change is not sent, and a row looks back an hour alone. So while tickers arrive, what is known is
restated before the hour is over: it stays known as long as the stream is whole, wherever a computation starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from market.clock import MINUTE_NS
from market.events import CONTROL, START, TICKER, TICKER_FIELD_COUNT, UNKNOWN, Events
from transforms.state import ORDER_NS
from transforms.ticker import MEMORY_NS

RESTATED_NS: Final = 30 * MINUTE_NS
"""The age at which a field is restated with the next ticker that comes."""


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
