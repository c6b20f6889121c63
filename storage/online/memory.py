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


def newest_vector(store: OnlineStore, memory: OnlineMemory, symbol: str) -> OnlineVector | None:
    """The newer of what the store and the memory hold of a symbol; the memory's alone while the store is away.

    Raises StoreUnavailable when the store does not answer and the memory has nothing.
    """
    own = memory.get(symbol)
    if own is not None and memory.is_store_away:
        return own  # asking the store would only wait for it
    try:
        [stored] = store.read([symbol])
    except StoreUnavailable:
        if own is None:
            raise
        return own
    held = [vector for vector in (stored, own) if vector is not None]
    return max(held, key=lambda vector: (vector.row_ns, vector.available_ns), default=None)
