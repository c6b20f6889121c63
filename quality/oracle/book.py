"""The order book by the exchange's rules, as two plain sides, and what its messages did to the best level."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from itertools import takewhile
from typing import Final

from quality.oracle.arithmetic import Number, mean

NO_SNAPSHOT: Final = "no snapshot"
VALID: Final = "valid"
BROKEN: Final = "broken"
Levels = list[tuple[Fraction, Fraction]]
"""(price, quantity), best first."""
PlainLevel = tuple[Decimal, Decimal]
"""(price, quantity). Decimals are as exact as fractions, and compare fifty times faster."""


@dataclass(frozen=True)
class Touch:
    """The best level of both sides."""

    bid: Fraction
    bid_qty: Fraction
    ask: Fraction
    ask_qty: Fraction

    @property
    def mid(self) -> Fraction:
        return (self.bid + self.ask) / 2


@dataclass(frozen=True)
class Step:
    """What one message made of the touch; None where the book was unknown or had an empty side."""

    slot: int
    before: Touch | None
    after: Touch | None

    @property
    def changes(self) -> int:
        assert self.before is not None
        assert self.after is not None
        return (self.before.bid != self.after.bid) + (self.before.ask != self.after.ask)

    @cached_property
    def imbalance(self) -> Fraction:
        """Cont, Kukanov, Stoikov (2014), eq. 1."""
        old, new = self.before, self.after
        assert old is not None
        assert new is not None
        total = Fraction(0)
        if new.bid >= old.bid:
            total += new.bid_qty
        if new.bid <= old.bid:
            total -= old.bid_qty
        if new.ask <= old.ask:
            total -= new.ask_qty
        if new.ask >= old.ask:
            total += old.ask_qty
        return total


class Side:
    """The quantity at each price, and the prices in ascending order."""

    def __init__(self) -> None:
        self.prices: list[Decimal] = []
        self.quantities: dict[Decimal, Decimal] = {}

    def set(self, price: Decimal, quantity: Decimal) -> None:
        """A quantity of 0 deletes; to delete what is not there changes nothing."""
        if quantity == 0:
            if self.quantities.pop(price, None) is not None:
                del self.prices[bisect_left(self.prices, price)]
            return
        if price not in self.quantities:
            insort(self.prices, price)
        self.quantities[price] = quantity

    def levels(self) -> Levels:
        """In ascending order."""
        return [(Fraction(price), Fraction(self.quantities[price])) for price in self.prices]


class Book:
    """One symbol's order book and every step of its touch."""

    def __init__(self) -> None:
        self.state = NO_SNAPSHOT
        self.steps: list[Step] = []
        self._bids = Side()
        self._asks = Side()
        self._last_id = 0

    def apply(
        self, slot: int, *, replaces: bool, update_id: int, bids: Iterable[PlainLevel], asks: Iterable[PlainLevel]
    ) -> None:
        """One message. replaces: whether it is called a snapshot; update id 1 is one, whatever it is called."""
        before = self.touch()
        if replaces or update_id == 1:
            self._bids, self._asks = Side(), Side()
            self.state = VALID
        elif self.state != VALID or update_id <= self._last_id:
            return
        elif update_id != self._last_id + 1:
            self.give_up(slot)
            return
        self._last_id = update_id
        for side, levels in ((self._bids, bids), (self._asks, asks)):
            for price, quantity in levels:
                side.set(price, quantity)
        if self._bids.prices and self._asks.prices and self._bids.prices[-1] >= self._asks.prices[0]:
            self.state = BROKEN
        self.steps.append(Step(slot, before, self.touch()))

    def give_up(self, slot: int) -> None:
        """A message is missing: unknown until the next snapshot."""
        before = self.touch()
        self.state = BROKEN
        self.steps.append(Step(slot, before, None))

    def touch(self) -> Touch | None:
        if self.state != VALID or not self._bids.prices or not self._asks.prices:
            return None
        bid, ask = self._bids.prices[-1], self._asks.prices[0]
        return Touch(*map(Fraction, (bid, self._bids.quantities[bid], ask, self._asks.quantities[ask])))

    def levels(self) -> tuple[Levels, Levels]:
        """Bids and asks, best first."""
        return self._bids.levels()[::-1], self._asks.levels()

    def steps_since(self, slot: int) -> list[Step] | None:
        """The steps from a slot on; None when the book was unknown at any moment since that slot began."""
        recent: list[Step] = []
        for step in reversed(self.steps):
            if step.slot < slot:
                break
            recent.append(step)
        if self.touch() is None or any(step.before is None or step.after is None for step in recent):
            return None
        return recent


def slope(levels: Levels) -> tuple[Fraction, Fraction] | None:
    """OLS slope of quantity on relative distance from the best price, and the slope's greatest possible size."""
    best = levels[:10]
    if len(best) < 3:
        return None
    distances = [abs(price - best[0][0]) / best[0][0] for price, _ in best]
    quantities = [quantity for _, quantity in best]
    x, y = mean(distances), mean(quantities)
    pairs = list(zip(distances, quantities, strict=True))
    variance = sum((a - x) ** 2 for a, _ in pairs)
    return (
        sum(((a - x) * (b - y) for a, b in pairs), Fraction(0)) / variance,
        sum((abs(a - x) * abs(b - y) for a, b in pairs), Fraction(0)) / variance,
    )


def book_features(bids: Levels, asks: Levels) -> dict[str, Number | None]:
    """The features of a two-sided book by itself."""
    (bid, bid_qty), (ask, ask_qty) = bids[0], asks[0]
    mid = (bid + ask) / 2
    found: dict[str, Number | None] = {
        "mid_price": mid,
        "spread_abs": ask - bid,
        "spread_rel": (ask - bid) / mid,
        "microprice": (bid * ask_qty + ask * bid_qty) / (bid_qty + ask_qty),
    }
    for n in (5, 10):
        below, above = (sum((q for _, q in side[:n]), Fraction(0)) for side in (bids, asks))
        found[f"depth_bid_top{n}"] = below
        found[f"depth_ask_top{n}"] = above
        found[f"depth_imbalance_top{n}"] = (below - above) / (below + above)
    for bps in (5, 10, 25):
        furthest = mid * Fraction(bps, 10_000)
        near = (takewhile(lambda level: abs(level[0] - mid) <= furthest, side) for side in (bids, asks))  # noqa: B023
        found[f"local_liquidity_density_{bps}bps"] = sum((q for side in near for _, q in side), Fraction(0))
    return found
