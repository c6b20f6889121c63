"""Zero-intelligence order flow around a drifting fair value: who trades in the simulated market."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingestion.sources.simulated.matching import BookSide, OrderBook
from market.clock import SECOND_NS
from market.events import ASK, BID, BUY, SELL

MOST_FILLS = 40
"""Resting orders that the market orders of one step may meet, so that they stay inside the thinnest window, 50."""

# Per second, at activity 1. The recordings show 4 to 10 book messages a second of 10 to 16 levels each.
_LIMIT_RATE = 80.0
_CANCEL_RATE = 0.06  # of each resting order
_MARKET_RATE = 1.6
_VOLATILITY = 2.0e-5  # of the log fair value, per square root of a second
_FAIR_REVERSION_S = 4 * 3600.0

_ACTIVITY_MEMORY_S = 10.0
_ACTIVITY_DEVIATION = 0.8
_LARGEST_BURST = 8.0

_STALE_SURVIVAL = 0.4  # chance that the makers of a level beyond the fair value are too slow to pull it in a step
_NEAR_SHARE = 0.6
_NEAR_MEAN_TICKS = 2.5
_FAR_MEAN_DEPTHS = 0.6
_REACH_DEPTHS = 3  # ticks from the best price, per level of the window: farther out there are no quotes

_LOTS_LOG_MEAN, _LOTS_LOG_DEVIATION = 2.3, 1.4
_LARGEST_ORDER_LOTS = 100_000
_SWEEP_SHARE, _SWEEP_FACTOR = 0.04, 40
_LARGEST_LEAN = 0.4  # market orders are on the fair side of the mid with probability 0.5 plus at most this
_LEAN_TICKS = 3.0


@dataclass(frozen=True, slots=True)
class MarketOrder:
    """``phase`` is when in the step it comes, 0 to below 1; ``taker`` is BUY or SELL."""

    phase: float
    taker: int
    lots: int


class OrderFlow:
    """The traders of one market, acting on ``book`` step by step.

    Each side of the book has at least ``depth`` levels at all times, given MOST_FILLS; when ``requote`` returns, that
    many more.
    """

    def __init__(
        self,
        book: OrderBook,
        random: np.random.Generator,
        *,
        start_tick: int,
        depth: int,
        step_ns: int,
        mean_activity: float = 1.0,
    ) -> None:
        self._book = book
        self._random = random
        self._step_s = step_ns / SECOND_NS
        self._start_tick = start_tick
        self._far_mean_ticks = _FAR_MEAN_DEPTHS * depth
        self._reach = _REACH_DEPTHS * depth
        self._fewest_levels = depth + MOST_FILLS
        # Some more than is missing, so that the next refill is not due at once.
        self._refilled_levels = self._fewest_levels + depth // 8
        self._log_return = 0.0
        self._mean_activity = mean_activity
        self._log_activity = 0.0
        self._activity = mean_activity
        for side, tick in ((BID, start_tick), (ASK, start_tick + 1)):
            book.limit(side, tick, int(self._lots(1)[0]))
            self._refill(side)

    @property
    def fair_tick(self) -> float:
        """The fair value in ticks; its fraction counts."""
        return self._start_tick * math.exp(self._log_return)

    def advance(self) -> None:
        """Let one step pass: the fair value drifts, reverting within hours; the activity within seconds."""
        step = self._step_s
        shock, noise = self._random.standard_normal(2).tolist()
        keep = math.exp(-step / _ACTIVITY_MEMORY_S)
        self._log_activity = keep * self._log_activity + _ACTIVITY_DEVIATION * math.sqrt(1 - keep * keep) * noise
        burst = min(math.exp(self._log_activity - _ACTIVITY_DEVIATION**2 / 2), _LARGEST_BURST)
        self._activity = self._mean_activity * burst
        self._log_return *= 1 - step / _FAIR_REVERSION_S
        self._log_return += _VOLATILITY * math.sqrt(step * self._activity) * shock

    def market_orders(self) -> list[MarketOrder]:
        """The market orders of the step, in time order; they lean to the side the fair value is on."""
        count = int(self._random.poisson(_MARKET_RATE * self._step_s * self._activity))
        if count == 0:
            return []
        mid = (self._book.bids.best + self._book.asks.best) / 2
        buy_share = 0.5 + _LARGEST_LEAN * math.tanh((self.fair_tick - mid) / _LEAN_TICKS)
        draws = self._random.random((count, 3))
        sweeps = np.where(draws[:, 2] < _SWEEP_SHARE, _SWEEP_FACTOR, 1)
        lots = np.minimum(self._lots(count) * sweeps, _LARGEST_ORDER_LOTS).tolist()
        takers = np.where(draws[:, 1] < buy_share, BUY, SELL).tolist()
        return [MarketOrder(*order) for order in zip(np.sort(draws[:, 0]).tolist(), takers, lots, strict=True)]

    def requote(self) -> None:
        """Pull stale quotes, cancel others, place new ones; in the end no level is out of reach and no side thin."""
        self._pull_stale()
        self._cancel()
        self._place()
        for side in (BID, ASK):
            orders = self._side(side)
            while abs(orders.worst - orders.best) > self._reach:
                orders.cancel_level(len(orders) - 1)
            self._refill(side)

    def _pull_stale(self) -> None:
        self._refill(BID)
        self._refill(ASK)
        fair, book = math.floor(self.fair_tick), self._book
        while book.bids.best > fair and self._random.random() > _STALE_SURVIVAL:
            book.bids.cancel_level(0)
            self._refill(BID)
        while book.asks.best <= fair and self._random.random() > _STALE_SURVIVAL:
            book.asks.cancel_level(0)
            self._refill(ASK)

    def _cancel(self) -> None:
        bids, asks = self._book.bids, self._book.asks
        resting = bids.order_count + asks.order_count
        count = int(self._random.poisson(_CANCEL_RATE * resting * self._step_s * self._activity))
        for which in self._random.random(count).tolist():
            rank = int(which * (bids.order_count + asks.order_count))
            if rank < bids.order_count:
                bids.cancel(rank)
                self._refill(BID)
            else:
                asks.cancel(rank - bids.order_count)
                self._refill(ASK)

    def _place(self) -> None:
        count = int(self._random.poisson(_LIMIT_RATE * self._step_s * self._activity))
        if count == 0:
            return
        fair, book = math.floor(self.fair_tick), self._book
        sides = self._random.integers(BID, ASK + 1, count).tolist()
        near = self._random.random(count) < _NEAR_SHARE
        mean_ticks = np.where(near, _NEAR_MEAN_TICKS, self._far_mean_ticks)
        distances = np.minimum(self._random.geometric(1 / mean_ticks) - 1, self._reach).tolist()
        for side, distance, lots in zip(sides, distances, self._lots(count).tolist(), strict=True):
            if side == BID:
                book.limit(BID, min(fair, book.asks.best - 1) - distance, lots)
            else:
                book.limit(ASK, max(fair + 1, book.bids.best + 1) + distance, lots)

    def _refill(self, side: int) -> None:
        """Quote at random prices within reach when the side has become too thin."""
        orders = self._side(side)
        if len(orders) >= self._fewest_levels:
            return
        while (missing := self._refilled_levels - len(orders)) > 0:
            distances = self._random.integers(1, self._reach + 1, missing).tolist()
            for distance, lots in zip(distances, self._lots(missing).tolist(), strict=True):
                self._book.limit(side, orders.best + (distance if side == ASK else -distance), lots)

    def _side(self, side: int) -> BookSide:
        return self._book.bids if side == BID else self._book.asks

    def _lots(self, count: int) -> npt.NDArray[np.int64]:
        lots = self._random.lognormal(_LOTS_LOG_MEAN, _LOTS_LOG_DEVIATION, count)
        return np.clip(lots, 1, _LARGEST_ORDER_LOTS).astype(np.int64)
