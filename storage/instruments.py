"""Instrument pins: the decimal scale of each symbol, kept in ``<raw>/instruments.json`` and never changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from market.errors import Conflict, CorruptStore, InvalidRequest, ScaleExceeded, StoreUnavailable
from market.instruments import Instrument, pin_scale
from storage.durable_files import exclusive, replace_file

_FILE_NAME: Final = "instruments.json"
_SCALE_KEYS: Final = {"price_exponent", "quantity_exponent"}
_SYMBOL: Final = re.compile(r"(?!\.)[^/\\%=\x00-\x20\x7f]{1,64}")


class InstrumentPins:
    """The pinned instruments of one raw folder; several processes may use it at once and agree.

    Every method raises CorruptStore when the file does not hold what was written; the writing ones raise
    StoreUnavailable when the disk refuses.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / _FILE_NAME
        # A pin never changes, so what was read once stays true and only an unknown symbol needs the file.
        self._pinned: dict[str, Instrument] = {}

    def get(self, symbol: str) -> Instrument | None:
        """The pinned instrument, or None when nobody pinned it yet."""
        if symbol not in self._pinned:
            self._pinned = _read_pins(self._path)
        return self._pinned.get(symbol)

    def pin(self, symbol: str, price_text: str) -> Instrument:
        """The symbol's instrument, pinned from this price when it has none; on disk before this returns.

        Raises:
            ValueError: nothing is pinned and the text is no positive price.
            InvalidRequest: the symbol cannot name a folder.
        """
        return self.get(symbol) or self._pin_once(pin_scale(checked_symbol(symbol), price_text))

    def declare(self, instrument: Instrument) -> None:
        """Pin a configured instrument; on disk before this returns.

        Raises:
            Conflict: another scale is pinned already.
            InvalidRequest: the symbol cannot name a folder.
        """
        checked_symbol(instrument.symbol)
        pinned = self.get(instrument.symbol) or self._pin_once(instrument)
        if pinned != instrument:
            raise Conflict(
                f"{instrument.symbol} scale: must stay as pinned, price exponent {pinned.price_exponent} and quantity "
                f"exponent {pinned.quantity_exponent}, was {instrument.price_exponent} and "
                f"{instrument.quantity_exponent}"
            )

    def _pin_once(self, instrument: Instrument) -> Instrument:
        """Pin unless another writer was first; returns what is pinned."""
        try:
            with exclusive(self._root / f".{_FILE_NAME}.lock"):
                pins = _read_pins(self._path)
                if instrument.symbol not in pins:
                    pins[instrument.symbol] = instrument
                    _write_pins(self._path, pins)
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: cannot be written: {error}") from error
        self._pinned = pins
        return pins[instrument.symbol]


def checked_symbol(symbol: str) -> str:
    """The symbol, once it is fit to name a folder. Raises InvalidRequest."""
    if _SYMBOL.fullmatch(symbol) is None:
        raise InvalidRequest(
            rf"symbol: must be 1 to 64 characters without / \ % = or spaces and not begin with a dot, was {symbol!r}"
        )
    return symbol


def _read_pins(path: Path) -> dict[str, Instrument]:
    try:
        scales = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CorruptStore(f"{path}: must be JSON, was {error}") from error
    if not isinstance(scales, dict):
        raise CorruptStore(f"{path}: must be an object of symbols, was {type(scales).__name__}")
    pins = {}
    for symbol, scale in scales.items():
        if not isinstance(scale, dict) or scale.keys() != _SCALE_KEYS or {type(v) for v in scale.values()} != {int}:
            raise CorruptStore(f"{path} {symbol}: must have two integers, {sorted(_SCALE_KEYS)}, was {scale!r}")
        try:
            pins[symbol] = Instrument(symbol, **scale)
        except ScaleExceeded as error:
            raise CorruptStore(f"{path} {error}") from error
    return pins


def _write_pins(path: Path, pins: dict[str, Instrument]) -> None:
    scales = {
        symbol: {"price_exponent": pin.price_exponent, "quantity_exponent": pin.quantity_exponent}
        for symbol, pin in sorted(pins.items())
    }
    text = json.dumps(scales, indent=2, ensure_ascii=False) + "\n"
    replace_file(path, lambda file: file.write(text.encode()))
