"""Decimal numbers as the exchange writes them: ticks and lots, and the text of a mantissa."""

from __future__ import annotations

from dataclasses import dataclass

from market.instruments import mantissa


@dataclass(frozen=True, slots=True)
class DecimalStep:
    """A tick or a lot: ``mantissa / 10**decimals``, with the decimals the exchange writes."""

    mantissa: int
    decimals: int

    @classmethod
    def parse(cls, text: str, thing: str) -> DecimalStep:
        """The step of a text such as "0.10". Raises ValueError when it is not a positive plain decimal number."""
        decimals = len(text.partition(".")[2])
        value = mantissa(text, decimals, thing)
        if value <= 0:
            raise ValueError(f"{thing}: must be positive, was {text!r}")
        return cls(value, decimals)

    def text(self, count: int) -> str:
        """``count`` steps, exactly."""
        return decimal_text(count * self.mantissa, self.decimals)


def decimal_text(value: int, decimals: int) -> str:
    """``value / 10**decimals`` with all its decimals."""
    if decimals == 0:
        return str(value)
    whole, fraction = divmod(abs(value), 10**decimals)
    return f"{'-' if value < 0 else ''}{whole}.{fraction:0{decimals}d}"


def short_text(value: int, decimals: int) -> str:
    """``value / 10**decimals`` without trailing zeros, as klines and funding rates are written."""
    text = decimal_text(value, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text
