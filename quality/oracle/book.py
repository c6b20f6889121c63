"""The order book by the exchange's rules, as two plain sides, and what its messages did to the best level."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Final

from quality.oracle.arithmetic import Number, exact_decimals

NO_SNAPSHOT: Final = "no snapshot"
VALID: Final = "valid"
BROKEN: Final = "broken"
PlainLevel = tuple[Decimal, Decimal]
"""(price, quantity). Decimals are as exact as fractions, and compare fifty times faster."""
Levels = Sequence[PlainLevel]
"""Best first."""


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

    @property
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

    def levels(self) -> list[PlainLevel]:
        """In ascending order."""
        return [(price, self.quantities[price]) for price in self.prices]


@dataclass(frozen=True)
class Sums:
    """Of all steps so far; unknown: how many had no touch before or after them."""

    imbalance: Fraction = Fraction(0)
    changes: int = 0
    unknown: int = 0

    def plus(self, step: Step) -> Sums:
        if step.before is None or step.after is None:
            return Sums(self.imbalance, self.changes, self.unknown + 1)
        return Sums(self.imbalance + step.imbalance, self.changes + step.changes, self.unknown)

    def since(self, earlier: Sums) -> Sums:
        return Sums(self.imbalance - earlier.imbalance, self.changes - earlier.changes, self.unknown - earlier.unknown)


class Book:
    """One symbol's order book, and the sums of the steps of its touch after each of them."""

    def __init__(self) -> None:
        self.state = NO_SNAPSHOT
        self._step_slots: list[int] = []
        self._sums = [Sums()]
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
        self._add(Step(slot, before, self.touch()))

    def give_up(self, slot: int) -> None:
        """A message is missing: unknown until the next snapshot."""
        before = self.touch()
        self.state = BROKEN
        self._add(Step(slot, before, None))

    def _add(self, step: Step) -> None:
        self._step_slots.append(step.slot)
        self._sums.append(self._sums[-1].plus(step))

    def touch(self) -> Touch | None:
        if self.state != VALID or not self._bids.prices or not self._asks.prices:
            return None
        bid, ask = self._bids.prices[-1], self._asks.prices[0]
        return Touch(*map(Fraction, (bid, self._bids.quantities[bid], ask, self._asks.quantities[ask])))

    def levels(self) -> tuple[Levels, Levels]:
        """Bids and asks, best first."""
        return self._bids.levels()[::-1], self._asks.levels()

    def steps_since(self, slot: int) -> Sums | None:
        """Of the steps from a slot on; None when the book was unknown at any moment since that slot began."""
        recent = self._sums[-1].since(self._sums[bisect_left(self._step_slots, slot)])
        return None if self.touch() is None or recent.unknown else recent


def slope(levels: Levels) -> tuple[Fraction, Fraction] | None:
    """OLS slope of quantity on relative distance from the best price, and the slope's greatest possible size."""
    best = levels[:10]
    if len(best) < 3:
        return None
    with exact_decimals():
        first = Decimal(best[0][0])
        x = _from_the_mean([abs(price - first) for price, _ in best])
        y = _from_the_mean([quantity for _, quantity in best])
        pairs = list(zip(x, y, strict=True))
        # Distances are relative to the best price, by which the slope is multiplied.
        rise = first * sum((a * b for a, b in pairs), Decimal(0))
        greatest = first * sum((abs(a * b) for a, b in pairs), Decimal(0))
        variance = Fraction(sum((a * a for a in x), Decimal(0)))
    return Fraction(rise) / variance, Fraction(greatest) / variance


def _from_the_mean(numbers: Sequence[Decimal]) -> list[Decimal]:
    """Each number less the mean, times how many there are, which divides nothing."""
    total = sum(numbers, Decimal(0))
    return [len(numbers) * number - total for number in numbers]


def book_features(bids: Levels, asks: Levels) -> dict[str, Number | None]:
    """The features of a two-sided book alone."""
    (bid, bid_qty), (ask, ask_qty) = ([Fraction(number) for number in side[0]] for side in (bids, asks))
    mid = (bid + ask) / 2
    found: dict[str, Number | None] = {
        "mid_price": mid,
        "spread_abs": ask - bid,
        "spread_rel": (ask - bid) / mid,
        "microprice": (bid * ask_qty + ask * bid_qty) / (bid_qty + ask_qty),
    }
    with exact_decimals():
        centre = (bids[0][0] + asks[0][0]) / 2
        depths = [list(accumulate((quantity for _, quantity in side), initial=Decimal(0))) for side in (bids, asks)]
        for n in (5, 10):
            below, above = (Fraction(depth[min(n, len(depth) - 1)]) for depth in depths)
            found[f"depth_bid_top{n}"] = below
            found[f"depth_ask_top{n}"] = above
            found[f"depth_imbalance_top{n}"] = (below - above) / (below + above)
        for bps in (5, 10, 25):
            furthest = centre * bps / 10_000
            near = (bisect_right(side, furthest, key=lambda level: abs(level[0] - centre)) for side in (bids, asks))
            found[f"local_liquidity_density_{bps}bps"] = Fraction(
                sum((depth[count] for depth, count in zip(depths, near, strict=True)), Decimal(0))
            )
    return found
