"""The newest row of each symbol that this process computed: it answers while the online store is away."""

from __future__ import annotations

from collections.abc import Sequence

from market.errors import StoreUnavailable
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow, OnlineVector, vector_of


class OnlineMemory:
    """Filled by the one who writes to the online store, read by those of the same process; bounded by the symbols."""

    def __init__(self) -> None:
        self.is_store_away = False
        """Whether the online store did not answer the last write, so that newer rows wait for it."""
        self._rows: dict[str, OnlineRow] = {}

    def keep(self, rows: Sequence[OnlineRow]) -> None:
        """Remember each row that is not older than the one of its symbol."""
        for row in rows:
            held = self._rows.get(row.symbol)
            if held is None or (row.row_ns, row.available_ns) >= (held.row_ns, held.available_ns):
                self._rows[row.symbol] = row

    def get(self, symbol: str) -> OnlineVector | None:
        """The newest vector of the symbol; None where this process computed none."""
        row = self._rows.get(symbol)
        return None if row is None else vector_of(row)


def newest_vectors(store: OnlineStore, memory: OnlineMemory, symbols: Sequence[str]) -> list[OnlineVector | None]:
    """Of each symbol the newer of what the store and the memory hold; the memory's alone while the store is away.

    One round trip. Raises StoreUnavailable when the store does not answer and the memory lacks one of the symbols.
    """
    own = [memory.get(symbol) for symbol in symbols]
    has_all = None not in own
    if has_all and memory.is_store_away:
        return own  # asking the store would only wait for it
    try:
        stored = store.read(symbols)
    except StoreUnavailable:
        if not has_all:
            raise
        return own
    return [_newer(*pair) for pair in zip(stored, own, strict=True)]


def _newer(*vectors: OnlineVector | None) -> OnlineVector | None:
    held = [vector for vector in vectors if vector is not None]
    return max(held, key=lambda vector: (vector.row_ns, vector.available_ns), default=None)
