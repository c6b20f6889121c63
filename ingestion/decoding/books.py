"""Order books: the levels of one message as event records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ingestion.decoding.elements import Scale
from ingestion.decoding.wire import Level
from market.book_sequence import RESTART_ID, BookPlace
from market.errors import MalformedMessage
from market.events import ASK, FIRST, LAST, NO_LEVEL, ORDERBOOK, SNAPSHOT, Events, empty_events

MOST_UPDATES: Final = 100_000
"""That one message brings: each has a record."""


def book_records(
    bids: Sequence[Level],
    asks: Sequence[Level],
    place: BookPlace,
    scale: Scale,
    *,
    event_ns: int,
    is_snapshot: bool,
) -> Events:
    """The levels of a message, bids first, at its last update; one record that says so where there is none.

    A message that brings several updates has a record without a level for each of those before the last, since records
    are numbered without a gap: what is repeated of them is skipped, and what is missing before them shows.

    Raises MalformedMessage, ScaleExceeded.
    """
    levels = [*bids, *asks]
    records = empty_events(max(len(levels), 1))
    records["event_ns"] = event_ns
    records["update_id"] = place.last_id
    records["kind"] = ORDERBOOK
    records["flags"] = SNAPSHOT if is_snapshot else 0
    if levels:
        price, quantity = scale.price, scale.quantity
        records["px"] = [price(level[0]) for level in levels]
        records["qty"] = [quantity(level[1]) for level in levels]
        records["field"][len(bids) :] = ASK
    else:
        records["field"] = NO_LEVEL
    if place.first_id == place.last_id:
        return records
    records["flags"][0] |= FIRST
    return np.concatenate([_updates_before(place, event_ns), records])


def _updates_before(place: BookPlace, event_ns: int) -> Events:
    """A message without a level for each update before the last."""
    count = place.last_id - place.first_id
    if not 0 < count < MOST_UPDATES or place.first_id <= RESTART_ID or place.replaces:
        raise MalformedMessage(
            f"order book updates: must be up to {MOST_UPDATES} above {RESTART_ID} of a book that goes on, "
            f"was {place.first_id} to {place.last_id}"
        )
    records = empty_events(count)
    records["event_ns"] = event_ns
    records["update_id"] = range(place.first_id, place.last_id)
    records["kind"] = ORDERBOOK
    records["field"] = NO_LEVEL
    records["flags"] = FIRST | LAST
    return records
