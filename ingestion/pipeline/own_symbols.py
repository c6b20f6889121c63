"""Own symbols: the scales of the symbols that a pipeline was given, and of no others."""

from __future__ import annotations

from collections.abc import Collection

from ingestion.decoding.scales import Instruments
from market.instruments import Instrument


class ForeignSymbol(Exception):
    """A message is of a symbol that the pipeline was not given: it is counted and leaves nothing."""


class OwnInstruments:
    """Scales of the symbols that were given; asking for another's ends the decoding of its message."""

    def __init__(self, instruments: Instruments, symbols: Collection[str]) -> None:
        self._instruments = instruments
        self._symbols = frozenset(symbols)

    def get(self, symbol: str) -> Instrument | None:
        """The pinned instrument, None before it is pinned. Raises ForeignSymbol."""
        self._check(symbol)
        return self._instruments.get(symbol)

    def pin(self, symbol: str, price_text: str) -> Instrument:
        """The symbol's instrument, pinned now when it has none. Raises ForeignSymbol."""
        self._check(symbol)
        return self._instruments.pin(symbol, price_text)

    def _check(self, symbol: str) -> None:
        if symbol not in self._symbols:
            raise ForeignSymbol(symbol)
