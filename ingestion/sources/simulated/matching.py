"""A limit order book with price-time priority, in whole ticks and lots: the matching engine of the simulated market."""

from __future__ import annotations

from bisect import bisect_left

from market.events import ASK, BID, BUY

Fill = tuple[int, int]
"""(price in ticks, quantity in lots) of one resting order that was matched, wholly or in part."""


class BookSide:
    """The resting orders of one side. Levels are counted from the best, which is 0."""

    __slots__ = ("_keys", "_lots", "_orders", "_queues", "_sign", "order_count")

    def __init__(self, side: int) -> None:
        self._sign = -1 if side == BID else 1
        # sign × tick: ascending from the best price on both sides.
        self._keys: list[int] = []
        # Orders at each of them: who cancels by rank counts through half a side.
        self._orders: list[int] = []
        self._queues: dict[int, list[int]] = {}
        self._lots: dict[int, int] = {}
        self.order_count = 0

    def __len__(self) -> int:
        """Number of price levels."""
        return len(self._keys)

    @property
    def best(self) -> int:
        """Best price in ticks. Raises IndexError when the side is empty."""
        return self._sign * self._keys[0]

    @property
    def worst(self) -> int:
        """Price in ticks of the level farthest from the market. Raises IndexError when the side is empty."""
        return self._sign * self._keys[-1]

    @property
    def best_lots(self) -> int:
        return self._lots[self._keys[0]]

    def top(self, depth: int) -> dict[int, int]:
        """Lots by price in ticks of the best ``depth`` levels, best first."""
        sign, lots = self._sign, self._lots
        return {sign * key: lots[key] for key in self._keys[:depth]}

    def add(self, tick: int, lots: int) -> None:
        """Rest an order behind those already at its price."""
        key = self._sign * tick
        at = bisect_left(self._keys, key)
        if key in self._queues:
            self._orders[at] += 1
            self._queues[key].append(lots)
            self._lots[key] += lots
        else:
            self._keys.insert(at, key)
            self._orders.insert(at, 1)
            self._queues[key] = [lots]
            self._lots[key] = lots
        self.order_count += 1

    def cancel(self, rank: int) -> None:
        """Withdraw one order, counted from the best price and, at a price, from the oldest.

        Raises IndexError when there are not that many.
        """
        for at, orders in enumerate(self._orders):  # noqa: B007  # where it ended is what is searched
            if rank < orders:
                break
            rank -= orders
        else:
            raise IndexError(f"cancel: must be one of {self.order_count} orders, was {rank} past the last")
        key = self._keys[at]
        self._lots[key] -= self._queues[key].pop(rank)
        self._orders[at] -= 1
        self.order_count -= 1
        if self._orders[at] == 0:
            self._drop(at)

    def cancel_level(self, level: int) -> None:
        """Withdraw every order of that level."""
        self.order_count -= self._orders[level]
        self._drop(level)

    def take(self, lots: int, *, max_fills: int) -> list[Fill]:
        """Match up to ``lots`` against the oldest orders at the best prices; what finds no order is cancelled."""
        fills: list[Fill] = []
        while lots > 0 and self._keys and len(fills) < max_fills:
            key = self._keys[0]
            queue = self._queues[key]
            filled = min(queue[0], lots)
            fills.append((self._sign * key, filled))
            lots -= filled
            if filled == queue[0]:
                self.cancel(0)
            else:
                queue[0] -= filled
                self._lots[key] -= filled
        return fills

    def _drop(self, level: int) -> None:
        key = self._keys.pop(level)
        del self._orders[level], self._queues[key], self._lots[key]


class OrderBook:
    """Bids and asks that never cross or lock: limit orders only rest, market orders only take."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = BookSide(BID)
        self.asks = BookSide(ASK)

    def limit(self, side: int, tick: int, lots: int) -> None:
        """Rest a post-only order of ``side`` (BID or ASK).

        Raises ValueError when it would meet the other side, or is not positive.
        """
        if tick <= 0 or lots <= 0:
            raise ValueError(f"limit order: must have a positive price and quantity, was {lots} lots at tick {tick}")
        if side == BID:
            if self.asks and tick >= self.asks.best:
                raise ValueError(f"bid: must be below the best ask {self.asks.best}, was {tick}")
            self.bids.add(tick, lots)
        else:
            if self.bids and tick <= self.bids.best:
                raise ValueError(f"ask: must be above the best bid {self.bids.best}, was {tick}")
            self.asks.add(tick, lots)

    def market(self, taker: int, lots: int, *, max_fills: int) -> list[Fill]:
        """Match an order of ``taker`` (BUY or SELL) at once; at most ``max_fills`` resting orders are met."""
        return (self.asks if taker == BUY else self.bids).take(lots, max_fills=max_fills)
