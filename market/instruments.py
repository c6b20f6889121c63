"""Instruments: the decimal scale at which a symbol's prices and quantities become int64 mantissas.

A scale is pinned once a symbol and never changes with the exchange's tick size. Where none is declared it is pinned
from the first price seen, so wide that every lot and tick of the exchange fits, whichever price came first: ``_SCALES``
says how many decimals prices and quantities have at which price. Its bounds are at 3 times a power of ten, where no
price is pegged.

Headroom, in int64: a price below 2**48 leaves ten thousand times twice a mid, the largest product of prices, below
2**63; a quantity below 2**53 is exact in float64, as the one division that a feature makes needs it, and a thousand of
them in one sum. Sums of price × quantity are wider than 64 bits.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from market.errors import ScaleExceeded

PRICE_DECIMALS: Final = 12
"""Of the finest scale of a price."""
QUANTITY_DECIMALS: Final = 9
TURNOVER_DECIMALS: Final = 9
"""A turnover, which no feature reads, has no more: a minute of the busiest market fits int64."""
FUNDING_RATE_EXPONENT = 12
POSITION_EXPONENT = 9
LARGEST_PRICE_MANTISSA: Final = 2**48
# Above 2**53 the conversion of a mantissa to float64 would round before the one division that a feature makes.
LARGEST_MANTISSA = 2**53
LARGEST_NOTIONAL_MANTISSA = 2**62

_SCALES: Final = (
    # price from, decimals of prices, decimals of quantities
    ("0", 12, 2),
    ("0.0000003", 12, 2),
    ("0.000003", 12, 2),
    ("0.00003", 12, 3),
    ("0.0003", 11, 3),
    ("0.003", 10, 4),
    ("0.03", 9, 4),
    ("0.3", 8, 5),
    ("3", 7, 6),
    ("30", 6, 6),
    ("300", 4, 5),
    ("3000", 4, 6),
    ("30000", 3, 6),
    ("300000", 2, 7),
    ("3000000", 1, 8),
    ("30000000", 0, 9),
)
"""Eight digits of a price, two more than the exchange's finest tick has, and lots of a hundredth of a cent or less."""
_FROM_PRICES: Final = [Decimal(price) for price, _, _ in _SCALES]


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol with its pinned scale: value = mantissa / 10**exponent."""

    symbol: str
    price_exponent: int
    quantity_exponent: int

    def __post_init__(self) -> None:
        for name, most in (("price_exponent", PRICE_DECIMALS), ("quantity_exponent", QUANTITY_DECIMALS)):
            if not 0 <= getattr(self, name) <= most:
                raise ScaleExceeded(f"{self.symbol}.{name}: must be 0 to {most}, was {getattr(self, name)}")

    @property
    def notional_exponent(self) -> int:
        return self.price_exponent + self.quantity_exponent

    @property
    def turnover_exponent(self) -> int:
        return min(self.notional_exponent, TURNOVER_DECIMALS)

    def price(self, text: str, thing: str = "price") -> int:
        """Mantissa of a price text; must be positive. Raises ScaleExceeded or ValueError."""
        value = mantissa(text, self.price_exponent, f"{self.symbol} {thing}", limit=LARGEST_PRICE_MANTISSA)
        if value <= 0:
            raise ValueError(f"{self.symbol} {thing}: must be positive, was {text!r}")
        return value

    def quantity(self, text: str, thing: str = "size") -> int:
        """Mantissa of a quantity text; must not be negative. Raises ScaleExceeded or ValueError."""
        value = mantissa(text, self.quantity_exponent, f"{self.symbol} {thing}")
        if value < 0:
            raise ValueError(f"{self.symbol} {thing}: must not be negative, was {text!r}")
        return value

    def turnover(self, text: str, thing: str = "turnover") -> int:
        """Mantissa of a notional text; must not be negative. Raises ScaleExceeded or ValueError.

        A minute of BTCUSDT turns over more than float64 holds exactly at nine decimals; no feature divides a turnover.
        """
        value = mantissa(text, self.turnover_exponent, f"{self.symbol} {thing}", limit=LARGEST_NOTIONAL_MANTISSA)
        if value < 0:
            raise ValueError(f"{self.symbol} {thing}: must not be negative, was {text!r}")
        return value


def pin_scale(symbol: str, price_text: str) -> Instrument:
    """The instrument pinned from the first price seen of a symbol. Raises ValueError when it is no positive price."""
    digits = price_text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()) or price_text.startswith(".") or not digits.strip("0"):
        raise ValueError(f"{symbol} price: must be a positive decimal number, was {price_text!r}")
    _, price_exponent, quantity_exponent = _SCALES[bisect_right(_FROM_PRICES, Decimal(price_text)) - 1]
    return Instrument(symbol, price_exponent, quantity_exponent)


def decimal_text(value: int, exponent: int) -> str:
    """The plain decimal number ``value / 10**exponent``, exactly."""
    return f"{Decimal(value).scaleb(-exponent):f}"


def mantissa(text: str, exponent: int, thing: str, *, limit: int = LARGEST_MANTISSA) -> int:
    """The integer ``text × 10**exponent``, exactly.

    Raises:
        ValueError: the text is not a plain decimal number.
        ScaleExceeded: it has more decimals than the scale, or its mantissa reaches ``limit``.
    """
    negative = text.startswith("-")
    whole, _, fraction = (text[1:] if negative else text).partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and whole):
        raise ValueError(f"{thing}: must be a plain decimal number, was {text!r}")
    if len(fraction) > exponent:
        if fraction[exponent:].strip("0"):
            raise ScaleExceeded(f"{thing}: must have at most {exponent} decimals, was {text!r}")
        fraction = fraction[:exponent]
    value = int(whole + fraction.ljust(exponent, "0"))
    if value >= limit:
        raise ScaleExceeded(f"{thing}: must be below {limit} at {exponent} decimals, was {text!r}")
    return -value if negative else value
