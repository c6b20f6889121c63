"""Elements: what a message carries, read and not yet turned into records, and the scale that this needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from market.book_sequence import BookPlace
from market.errors import MalformedMessage, ScaleExceeded
from market.events import UNKNOWN, Events
from market.instruments import Instrument

# Texts recur: 99 % of prices and 93 % of sizes of a real book were among the last 4,096 (1.2 µs a level became 0.3).
_REMEMBERED_TEXTS = 4096


@dataclass(frozen=True, slots=True)
class Scale:
    """An instrument whose conversions remember the texts they met last, in bounded memory."""

    instrument: Instrument
    price: Callable[[str], int]
    quantity: Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Element:
    """A read element: the symbol that it names, the text that may pin the scale, and the way to its records.

    to_records: raises MalformedMessage, ScaleExceeded.
    """

    symbol: str | None
    first_price: str | None
    to_records: Callable[[Scale], Events]
    trade_ids: tuple[str | None, ...] = ()
    book: BookPlace | None = None
    has_numbers: bool = True
    """Whether there is any number that a scale is needed for."""


def parse(convert: Callable[[str, str], int], text: str, thing: str) -> int:
    """What ``convert`` makes of a text. Raises MalformedMessage where it raises ValueError, ScaleExceeded."""
    try:
        return convert(text, thing)
    except ValueError as error:
        raise MalformedMessage(str(error)) from error


def fitting(convert: Callable[[str, str], int], text: str, thing: str) -> int:
    """The mantissa, UNKNOWN where it does not fit its scale: what else the message states is good."""
    try:
        return parse(convert, text, thing)
    except ScaleExceeded:
        return UNKNOWN


def remembering_scale(instrument: Instrument) -> Scale:
    """The scale of an instrument; its conversions raise MalformedMessage or ScaleExceeded."""
    remember = lru_cache(_REMEMBERED_TEXTS)
    return Scale(
        instrument,
        remember(lambda text: parse(instrument.price, text, "price")),
        remember(lambda text: parse(instrument.quantity, text, "size")),
    )
