"""Instrument pins: the decimal scale of each symbol, kept in ``<raw>/instruments.jsonl`` and never changed.

One line a symbol, appended when it is pinned, with a checksum. What raw Parquet states of a symbol's scale must agree,
and is what a lost file is restored from.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Final, Protocol
from zlib import crc32

import msgspec

from market.errors import Conflict, CorruptStore, InvalidRequest, ScaleExceeded, StoreUnavailable
from market.instruments import Instrument, pin_scale
from storage.durable_files import FileVersion, file_version, sync_folder
from storage.file_locks import exclusive
from storage.places import matching

FILE_NAME: Final = "instruments.jsonl"
_SYMBOL: Final = re.compile(r"(?!\.)[^/\\%=\x00-\x20\x7f]{1,64}")
_log: Final = logging.getLogger(__name__)


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """crc32: in hex, of the three values before it."""

    symbol: str
    price_exponent: int
    quantity_exponent: int
    crc32: str


_LINE: Final = msgspec.json.Decoder(_Line, strict=True)


class Stated(Protocol):
    """What raw Parquet states of a symbol's scale."""

    def __call__(self, symbol: str, *, is_pinned: bool) -> Instrument | None: ...


def _nothing_stated(symbol: str, *, is_pinned: bool) -> Instrument | None:  # noqa: ARG001  # nobody is asked
    return None


class InstrumentPins:
    """The pinned instruments of one raw folder; several processes may use it at once and agree.

    stated: the scale that raw Parquet states of a symbol, None where there is none of it, or where it is pinned here
        and nobody can be asked.

    Every method raises CorruptStore, naming the file, when it does not hold what was written or raw Parquet states
    another scale; the writing ones raise StoreUnavailable when the disk refuses.
    """

    def __init__(self, root: Path, *, stated: Stated = _nothing_stated) -> None:
        self._root = root
        self._path = root / FILE_NAME
        self._stated = stated
        # A pin never changes, so what was read and compared once stays true and only an unknown symbol needs the file.
        self._pinned: dict[str, Instrument] = {}
        self._read: tuple[FileVersion, dict[str, Instrument]] | None = None

    def get(self, symbol: str) -> Instrument | None:
        """The pinned instrument, or None if it is not pinned yet."""
        known = self._pinned.get(symbol)
        if known is not None:
            return known
        pinned = self._pins().get(symbol)
        stated = self._stated(symbol, is_pinned=pinned is not None)
        if pinned is None and stated is not None:
            _log.warning("%s: had no scale for %s, restored from raw Parquet", self._path, symbol)
            pinned = self._pin_once(stated)
        if pinned is None:
            return None
        if stated is not None and pinned != stated:
            raise CorruptStore(
                f"{self._path} {symbol}: must be the scale of its raw Parquet, price exponent {stated.price_exponent} "
                f"and quantity exponent {stated.quantity_exponent}, was {pinned.price_exponent} and "
                f"{pinned.quantity_exponent}"
            )
        self._pinned[symbol] = pinned
        return pinned

    def pin(self, symbol: str, price_text: str) -> Instrument:
        """The symbol's instrument, pinned from this price when it has none; on disk before this returns.

        Raises:
            ValueError: nothing is pinned and the text is no positive price.
            InvalidRequest: the symbol cannot name a folder.
        """
        return self.get(symbol) or self._pin_anew(pin_scale(checked_symbol(symbol), price_text))

    def declare(self, instrument: Instrument) -> None:
        """Pin a configured instrument; on disk before this returns.

        Raises:
            Conflict: another scale is pinned already.
            InvalidRequest: the symbol cannot name a folder.
        """
        checked_symbol(instrument.symbol)
        pinned = self.get(instrument.symbol) or self._pin_anew(instrument)
        if pinned != instrument:
            raise Conflict(
                f"{instrument.symbol} scale: must stay as pinned, price exponent {pinned.price_exponent} and quantity "
                f"exponent {pinned.quantity_exponent}, was {instrument.price_exponent} and "
                f"{instrument.quantity_exponent}"
            )

    def _pins(self) -> dict[str, Instrument]:
        """What the file holds, read once for all symbols as long as nobody touches it."""
        try:
            version = file_version(self._path)
        except FileNotFoundError:
            return {}
        if self._read is None or self._read[0] != version:
            self._read = version, _read_pins(self._path)
        return self._read[1]

    def _pin_anew(self, instrument: Instrument) -> Instrument:
        symbol = instrument.symbol
        if matching(self._root / "tape" / symbol, "*/*.log"):
            _log.warning(
                "%s: had no scale for %s, which has a tape, and no raw Parquet states it: pinned "
                "again, price exponent %d and quantity exponent %d",
                self._path,
                symbol,
                instrument.price_exponent,
                instrument.quantity_exponent,
            )
        self._pinned[symbol] = pinned = self._pin_once(instrument)
        return pinned

    def _pin_once(self, instrument: Instrument) -> Instrument:
        """Pin unless another writer was first; returns what is pinned."""
        try:
            with exclusive(self._root / f".{FILE_NAME}.lock"):
                pinned = _read_pins(self._path).get(instrument.symbol)
                if pinned is None:
                    _append(self._path, instrument)
                    pinned = instrument
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: cannot be written: {error}") from error
        return pinned


def checked_symbol(symbol: str) -> str:
    """The symbol, once it is fit to name a folder. Raises InvalidRequest."""
    if _SYMBOL.fullmatch(symbol) is None:
        raise InvalidRequest(
            rf"symbol: must be 1 to 64 characters without / \ % = or spaces and not begin with a dot, was {symbol!r}"
        )
    return symbol


def _read_pins(path: Path) -> dict[str, Instrument]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    *texts, torn = content.split(b"\n")
    pins: dict[str, Instrument] = {}
    for number, text in enumerate(texts, start=1):
        instrument = _read_line(text)
        if instrument is None or pins.setdefault(instrument.symbol, instrument) != instrument:
            raise CorruptStore(
                f"{path} line {number}: must be a symbol's one scale with its checksum, was {text[:200]!r}"
            )
    # A crash may have torn the last line, which was not used; one that only lost its end was used.
    if torn and (_read_line(torn) or _read_line(torn[:-1])):
        raise CorruptStore(f"{path} line {len(texts) + 1}: must end with its line, was {torn[:200]!r}")
    return pins


def _read_line(text: bytes) -> Instrument | None:
    """The instrument of a line; None when it is not what was written."""
    try:
        line = _LINE.decode(text)
        instrument = Instrument(line.symbol, line.price_exponent, line.quantity_exponent)
    except (msgspec.DecodeError, UnicodeDecodeError, ScaleExceeded):
        return None
    return instrument if text == _line_text(instrument) else None


def _line_text(instrument: Instrument) -> bytes:
    values = instrument.symbol, instrument.price_exponent, instrument.quantity_exponent
    checksum = f"{crc32(' '.join(map(str, values)).encode()):08x}"
    return msgspec.json.encode(
        _Line(symbol=values[0], price_exponent=values[1], quantity_exponent=values[2], crc32=checksum)
    )


def _append(path: Path, instrument: Instrument) -> None:
    is_new = not path.is_file()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        whole = content.rfind(b"\n") + 1
        os.ftruncate(descriptor, whole)
        text = _line_text(instrument) + b"\n"
        written = 0
        while written < len(text):
            written += os.pwrite(descriptor, text[written:], whole + written)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        sync_folder(path.parent)
