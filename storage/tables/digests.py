"""Digests of a key's first rows, by which a log knows that a table only grew; of more rows they go on from fewer."""

from __future__ import annotations

import hashlib
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from transforms.known_rows import KnownRows

_MADE: Final[WeakKeyDictionary[KnownRows, dict[int, list[Any]]]] = WeakKeyDictionary()
"""By how many rows the hash of each column of them, which nobody updates."""


def digest_of(rows: KnownRows, count: int) -> str:
    """Hex digits of the first ``count`` rows."""
    made = _MADE.setdefault(rows, {})
    if count not in made:
        item = [] if rows.item is None else [("item", rows.item)]
        columns = [("event", rows.event_ns), ("known", rows.known_ns), *item, *sorted(rows.columns.items())]
        fewer = max((each for each in made if each < count), default=0)
        hashes = (
            [each.copy() for each in made[fewer]] if fewer else [hashlib.sha256(name.encode()) for name, _ in columns]
        )
        for each, (_, held) in zip(hashes, columns, strict=True):
            each.update(np.ascontiguousarray(held[fewer:count]).data)
        made[count] = hashes
    return hashlib.sha256(b"".join(each.digest() for each in made[count])).hexdigest()


def keep_digests(grown: KnownRows, before: KnownRows) -> None:
    """Let rows that begin with others have the newest of their digests."""
    made = _MADE.get(before, {})
    _MADE[grown] = {count: made[count] for count in sorted(made)[-1:]}
