"""Digests of a key's first rows, by which a log knows that a table only grew; each is made once of the same rows."""

from __future__ import annotations

import hashlib
from typing import Final
from weakref import WeakKeyDictionary

from transforms.known_rows import KnownRows

_MADE: Final[WeakKeyDictionary[KnownRows, dict[int, str]]] = WeakKeyDictionary()


def digest_of(rows: KnownRows, count: int) -> str:
    """Hex digits of the first ``count`` rows."""
    made = _MADE.setdefault(rows, {})
    if count not in made:
        digest = hashlib.sha256()
        item = [] if rows.item is None else [("item", rows.item)]
        for name, held in (("event", rows.event_ns), ("known", rows.known_ns), *item, *sorted(rows.columns.items())):
            digest.update(name.encode())
            digest.update(held[:count].tobytes())
        made[count] = digest.hexdigest()
    return made[count]


def keep_digests(grown: KnownRows, before: KnownRows) -> None:
    """Let rows that begin with others have their digests."""
    _MADE[grown] = dict(_MADE.get(before, {}))
