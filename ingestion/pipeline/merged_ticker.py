"""The merged ticker of one symbol, and when it is stated on the tape again.

A field that does not change is not sent, and a row looks back an hour alone. So while tickers arrive, what is known is
restated before the hour is over: it stays known as long as the stream is whole, wherever a computation starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from market.clock import MINUTE_NS, SECOND_NS
from market.events import CONTROL, START, TICKER, TICKER_FIELD_COUNT, UNKNOWN, Events
from transforms.ticker import MEMORY_NS

RESTATED_NS: Final = 30 * MINUTE_NS
"""The age at which a field is restated with the next ticker that comes."""


class MergedTicker:
    """Each field as last stated, in the order in which the engine applies records: by the second, then as they came."""

    def __init__(self) -> None:
        self._fields: dict[int, tuple[int, int]] = {}

    def load(self, fields: Sequence[tuple[int, int]], waiting: Events) -> None:
        """Go on from an engine's fields, as (value, recv_ns), and the records that wait in it."""
        self._fields = {field: stated for field, stated in enumerate(fields) if stated[0] != UNKNOWN}
        self.note(waiting[np.isin(waiting["kind"], (TICKER, CONTROL))])

    def note(self, records: Events) -> None:
        """Take what records say."""
        for record in records:
            recv_ns = int(record["recv_ns"])
            if record["kind"] == CONTROL and record["field"] == START and record["px"] in (CONTROL, TICKER):
                self._fields.clear()
            elif record["kind"] == TICKER and record["field"] < TICKER_FIELD_COUNT:
                field = int(record["field"])
                _, stated_ns = self._fields.get(field, (UNKNOWN, 0))
                if recv_ns // SECOND_NS >= stated_ns // SECOND_NS:
                    self._fields[field] = int(record["px"]), recv_ns

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
