"""Sums of trades since a market began, of which a window is the difference of two."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Traded:
    """Sums of all trades so far. They are exact, so that those of a window are a difference of two."""

    count: int = 0
    bought: Fraction = Fraction(0)
    sold: Fraction = Fraction(0)
    notional: Fraction = Fraction(0)

    def plus(self, price: Fraction, quantity: Fraction, *, buy: bool) -> Traded:
        bought, sold = (quantity, 0) if buy else (0, quantity)
        return Traded(self.count + 1, self.bought + bought, self.sold + sold, self.notional + price * quantity)

    def since(self, earlier: Traded) -> Traded:
        return Traded(
            self.count - earlier.count,
            self.bought - earlier.bought,
            self.sold - earlier.sold,
            self.notional - earlier.notional,
        )
