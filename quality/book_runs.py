"""Book runs: a stretch of order book messages without those between two whose update ids follow one by one.

What is left says of the sequence what the whole stretch says: where it breaks, is marked or replaced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from market.book_sequence import replacing
from market.events import CONTROL, FIRST, ORDERBOOK, START, Events
from quality.held_messages import HeldMessages, held_messages
from quality.time_ranges import Bools


@dataclass(frozen=True, slots=True)
class BookRuns:
    """Of order book messages and marks, in tape order.

    records: the marks, and the first and last message of each run, (n,). ends_run: of each whether all messages that
    stood between it and the one before follow one by one, as it does, bool (n,). held: of all messages, None without
    any.
    """

    records: Events
    ends_run: Bools
    held: HeldMessages | None


def book_runs(events: Events) -> BookRuns:
    """Of consecutive events; but order books and the marks that are theirs they are passed by."""
    heads = events.take(np.flatnonzero(events["flags"] & FIRST))
    is_book = heads["kind"] == ORDERBOOK
    is_mark = (heads["kind"] == CONTROL) & (heads["field"] == START) & np.isin(heads["px"], (CONTROL, ORDERBOOK))
    books = heads.take(np.flatnonzero(is_book))
    records = heads.take(np.flatnonzero(is_book | is_mark)) if is_mark.any() else books
    is_of_book = records["kind"] == ORDERBOOK
    follows = np.zeros(len(records), np.bool_)
    follows[1:] = is_of_book[1:] & is_of_book[:-1] & (np.diff(records["update_id"]) == 1) & ~replacing(records)[1:]
    is_kept = ~follows
    is_kept[:-1] |= ~follows[1:]
    is_kept[-1:] = True
    chosen = np.flatnonzero(is_kept)
    return BookRuns(records.take(chosen), follows.take(chosen), held_messages(books, books["recv_ns"]))
