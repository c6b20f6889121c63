"""Bybit's order book sequence, in its own words; everything else goes by what is made of it here.

1. A delta's ``u`` is one above that of the message before; each depth has a ``u`` of its own.
2. A snapshot replaces the book, at any ``u``. ``u`` = 1 says that the exchange restarted: whatever the type, it
   replaces the book too. These are the records' own numbers (``market.book_sequence``), so nothing is translated.
3. ``seq`` rises, over restarts and in all depths alike, and is not consecutive: it orders, and shows no gap.

Source: bybit-exchange.github.io/docs/v5/websocket/public/orderbook.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import UnsetType

from market.book_sequence import RESTART_ID, BookPlace

# What a message that replaces the book has in its text; whether it does, decoding says.
_MAY_REPLACE: Final = re.compile(rb'"snapshot"|"u"\s*:\s*%d\s*[,}]' % RESTART_ID)


def is_restart(u: int) -> bool:
    """Whether the exchange restarted its numbering."""
    return u == RESTART_ID


def replaces_book(book_type: str | UnsetType, u: int) -> bool:
    """Whether a message of this type replaces the book."""
    return book_type == "snapshot" or is_restart(u)


def book_place(book_type: str, u: int, *, seq: int | None, depth: int) -> BookPlace:
    """The position of a message in the stream of its depth."""
    return BookPlace(u, u, depth, replaces_book(book_type, u), seq)


def may_replace_book(body: bytes) -> bool:
    """Whether a message is worth decoding to see if it replaces the book; checks its text."""
    return _MAY_REPLACE.search(body) is not None and b'"orderbook.' in body
