"""Instruments: the decimal scale at which a symbol's prices and quantities become int64 mantissas.

A scale is pinned once a symbol and never changes with the exchange's tick size. Where none is configured it is pinned
from the first price seen: eight significant digits for the price, and the nine decimals of a notional shared between
price and quantity. Nine keeps the window sums of ``price × quantity`` inside int64 up to 9.2e9 quote units traded in
a window, about ten times the busiest five minutes of BTCUSDT. Spot instruments with finer quantities need a scale
of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from market.errors import ScaleExceeded

NOTIONAL_DECIMALS = 9
PRICE_DIGITS = 8
FUNDING_RATE_EXPONENT = 12
POSITION_EXPONENT = 9
# Above 2**53 the conversion of a mantissa to float64 would round before the one division that a feature makes.
LARGEST_MANTISSA = 2**53
LARGEST_NOTIONAL_MANTISSA = 2**62


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol with its pinned scale: value = mantissa / 10**exponent."""

    symbol: str
    price_exponent: int
    quantity_exponent: int

    def __post_init__(self) -> None:
        for name in ("price_exponent", "quantity_exponent"):
            if not 0 <= getattr(self, name) <= NOTIONAL_DECIMALS:
                raise ScaleExceeded(
                    f"{self.symbol}.{name}: must be 0 to {NOTIONAL_DECIMALS}, was {getattr(self, name)}"
                )
        if self.notional_exponent > NOTIONAL_DECIMALS:
            raise ScaleExceeded(
                f"{self.symbol}: price and quantity exponents together must leave window sums of notional inside "
                f"int64, at most {NOTIONAL_DECIMALS}, was {self.notional_exponent}"
            )

    @property
    def notional_exponent(self) -> int:
        return self.price_exponent + self.quantity_exponent

    def price(self, text: str, thing: str = "price") -> int:
        """Mantissa of a price text; must be positive. Raises ScaleExceeded or ValueError."""
        value = mantissa(text, self.price_exponent, f"{self.symbol} {thing}")
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
        value = mantissa(text, self.notional_exponent, f"{self.symbol} {thing}", limit=LARGEST_NOTIONAL_MANTISSA)
        if value < 0:
            raise ValueError(f"{self.symbol} {thing}: must not be negative, was {text!r}")
        return value


def pin_scale(symbol: str, price_text: str) -> Instrument:
    """The instrument pinned from the first price seen of a symbol. Raises ValueError when it is no positive price."""
    whole, _, fraction = price_text.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits or not (whole + fraction).isascii() or not (whole + fraction).isdigit():
        raise ValueError(f"{symbol} price: must be a positive decimal number, was {price_text!r}")
    magnitude = len(digits) - len(fraction)  # digits before the point; 0 for 0.1, -1 for 0.01
    price_exponent = min(max(PRICE_DIGITS - magnitude, 0), NOTIONAL_DECIMALS)
    return Instrument(symbol, price_exponent, NOTIONAL_DECIMALS - price_exponent)


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
