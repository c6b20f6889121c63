"""Rows of versions that are served next to the active one: each version's packed vector in a field of the same hash.

A field stays where a worker was killed. Its row counts while it is as new as the symbol's own, give or take
MOST_BEHIND_NS; else the version is not served, and requests for it fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from market.clock import SECOND_NS, format_iso
from market.errors import Conflict
from storage.online.scripts import DROP_FIELD, FENCED, WRITE_SHADOW
from storage.online.store import OnlineStore
from storage.online.vector import VECTOR_FIELD, OnlineRow, OnlineVector, layout_of, pack, sortable, unpack

if TYPE_CHECKING:  # a reader needs no kernel, whose compiler takes seconds to import
    from transforms.rows import FeatureSet

MOST_BEHIND_NS: Final = 10 * SECOND_NS


class ShadowRows:
    """Writes the rows of one set next to those of the active version."""

    def __init__(self, store: OnlineStore, feature_set: FeatureSet) -> None:
        self._store = store
        self._names = layout_of(feature_set).packed_names
        self._field = shadow_field(feature_set.version)

    def write(self, rows: Sequence[OnlineRow], *, fences: Mapping[str, int]) -> tuple[str, ...]:
        """Store the newest row of each symbol; the symbols that a writer with a higher fence has written.

        Raises StoreUnavailable.
        """
        fenced_by = [sortable(fences[row.symbol]) if row.symbol in fences else "" for row in rows]
        answers = self._store.run(
            WRITE_SHADOW,
            [
                (self._store.key(row.symbol), fence, self._field, pack(row, self._names))
                for row, fence in zip(rows, fenced_by, strict=True)
            ],
        )
        return tuple(row.symbol for row, answer in zip(rows, answers, strict=True) if answer == FENCED)


def drop_shadows(store: OnlineStore, symbols: Sequence[str], version: str) -> None:
    """Remove the rows of a version that was served next to the active one. Raises StoreUnavailable."""
    store.run(DROP_FIELD, [(store.key(symbol), shadow_field(version)) for symbol in symbols])


def read_version(store: OnlineStore, symbols: Sequence[str], version: str) -> list[OnlineVector | None]:
    """The newest vector of one registry version of each symbol, None for a symbol without a row; one round trip.

    Raises Conflict where another version is served, StoreUnavailable, CorruptStore.
    """
    names = (VECTOR_FIELD, shadow_field(version))
    held = store.fields([(store.key(symbol), names) for symbol in symbols])
    found = []
    for symbol, (packed, beside) in zip(symbols, held, strict=True):
        own = None if packed is None else unpack(packed, symbol=symbol)
        found.append(of_version(symbol, version, own, beside))
    return found


def shadow_field(version: str) -> bytes:
    """The field of a symbol's hash with the version's packed vector."""
    return f"feature_service:shadow:{version}".encode()


def of_version(symbol: str, version: str, own: OnlineVector | None, beside: bytes | None) -> OnlineVector | None:
    """Of a symbol's vector and the packed one next to it, that of the version; None for a symbol without a row.

    Raises Conflict where the version is not served, CorruptStore.
    """
    if own is None or own.version == version:
        return own
    other = None if beside is None else unpack(beside, symbol=symbol)
    if other is None:
        raise Conflict(f"registry version {version}: must be served for {symbol}, was not: {own.version} is")
    if own.row_ns - other.row_ns > MOST_BEHIND_NS:
        raise Conflict(
            f"registry version {version}: must be served for {symbol}, was not since {format_iso(other.row_ns)}: "
            f"{own.version} is"
        )
    return other
