"""An order book taken out of an engine's state, with which another engine may begin in the middle of a history.

What a book was made of may be hours of messages; what it is, is some hundred levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from market.events import ORDERBOOK
from transforms.order_book import VALID
from transforms.state import BOOK, State

SIDES: Final = ("bids", "asks")
_SCALARS: Final = tuple(name for name in BOOK.names or () if name not in SIDES)


@dataclass(frozen=True, slots=True)
class KnownBook:
    """A book as every message before ``closed_ns`` has made it.

    sides: of bids and asks the place of the first level and int64 (2, levels), price and quantity mantissas, the best
    last. scalars: what the state keeps of it besides. last_seen_ns: the newest of its messages.
    """

    closed_ns: int
    sides: dict[str, tuple[int, Any]]
    scalars: dict[str, int]
    last_seen_ns: int


def known_book(state: State, closed_ns: int) -> KnownBook | None:
    """The book of a state in which everything before ``closed_ns`` is applied; None where it is not known."""
    book = state["book"][0]
    if book["validity"] != VALID:
        return None
    sides = {}
    for name in SIDES:
        first, end = int(book[name]["first"]), int(book[name]["end"])
        sides[name] = first, np.stack([book[name]["px"][first:end], book[name]["qty"][first:end]])
    scalars = {name: int(book[name]) for name in _SCALARS}
    return KnownBook(closed_ns, sides, scalars, int(state["last_seen_ns"][0][ORDERBOOK]))


def put_book(state: State, known: KnownBook) -> None:
    """Let a state that has begun at ``known.closed_ns`` have the book."""
    book = state["book"][0]
    for name, (first, levels) in known.sides.items():
        side, end = book[name], first + levels.shape[1]
        side["first"], side["end"] = first, end
        side["px"][first:end], side["qty"][first:end] = levels
    for name, value in known.scalars.items():
        book[name] = value
    state["last_seen_ns"][0][ORDERBOOK] = known.last_seen_ns
