"""Scales: a symbol's pinned one for its texts, and a new symbol's pinned by a message that could be read whole."""

from __future__ import annotations

from typing import Protocol

from ingestion.decoding.decoded import checked_symbol
from ingestion.decoding.elements import Element, Scale, remembering_scale
from market.errors import MalformedMessage, ScaleExceeded
from market.events import Events
from market.instruments import Instrument, pin_scale


class Instruments(Protocol):
    """Where the pinned scale of a symbol is kept."""

    def get(self, symbol: str) -> Instrument | None: ...

    def pin(self, symbol: str, price_text: str) -> Instrument: ...


class Scales:
    """The scales of every symbol; holds no state but the texts that they remember."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._scales: dict[str, Scale] = {}

    def to_records(self, symbol: str, element: Element) -> Events:
        """The records of an element at its symbol's scale, which it pins where there is none.

        Raises MalformedMessage; ScaleExceeded, also where there is neither a scale nor a price to pin one from.
        """
        instrument = self._instruments.get(symbol)
        if instrument is not None:
            return element.to_records(self._scale(instrument))
        if element.first_price is None:
            if not element.has_numbers:
                return element.to_records(remembering_scale(Instrument(symbol, 0, 0)))
            raise ScaleExceeded(f"{symbol}: must have a pinned scale or come with a price to pin one, was neither")
        try:
            trial = pin_scale(symbol, element.first_price)
        except ValueError as error:
            raise MalformedMessage(str(error)) from error
        records = element.to_records(remembering_scale(trial))
        instrument = self._instruments.pin(symbol, element.first_price)
        return records if instrument == trial else element.to_records(self._scale(instrument))

    def need(self, symbol: str, price_text: str | None) -> None:
        """See that a symbol has a scale, which the text may pin: a position needs none itself, but its rows do.

        Raises MalformedMessage, ScaleExceeded.
        """
        if self._instruments.get(checked_symbol(symbol)) is not None:
            return
        if not price_text:
            raise ScaleExceeded(f"{symbol}: must have a pinned scale or come with a price to pin one, was neither")
        try:
            self._instruments.pin(symbol, price_text)
        except ValueError as error:
            raise MalformedMessage(str(error)) from error

    def _scale(self, instrument: Instrument) -> Scale:
        scale = self._scales.get(instrument.symbol)
        if scale is None:
            scale = self._scales[instrument.symbol] = remembering_scale(instrument)
        return scale
