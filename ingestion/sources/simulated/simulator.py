"""A deterministic market in Bybit's wire format: seeded order flow around a drifting fair value.

Each symbol is its own market, drawn from its own generator, in steps of one book interval:

1. The fair value and the activity (bursts and quiet spells) move on.
2. Market orders meet the book as it was last published, so a reader can follow each fill in its own book.
3. Quotes change: stale ones are pulled, others cancelled in proportion to the depth, new ones placed; far levels are
   refilled, so that neither side is ever thinner than the published window.
4. What is due is published: the book's changes, a kline, a ticker, all of one state of the market.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from ingestion.messages import TimedMessage
from ingestion.sources.simulated.decimals import DecimalStep
from ingestion.sources.simulated.feed import DAY_MINUTES, FUNDING_CAP, Candle, ContractState, PublicFeed
from ingestion.sources.simulated.matching import Fill, OrderBook
from ingestion.sources.simulated.order_flow import MOST_FILLS, OrderFlow
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, floor_to
from market.errors import InvalidSettings, ScaleExceeded
from market.instruments import mantissa

DEPTHS = (50, 200, 1000)
"""The book depths whose deltas Bybit publishes."""
MOST_ACTIVITY = 10.0
"""Times the usual number of orders; the fills a book can take in one step are bounded."""

_DAY_VOLATILITY = 0.0003
"""Of the log price per minute, in the day before the start that the tickers look back on."""
_DAY_MEAN_LOTS = 2000.0
_MEAN_FUNDING_CHANGE_S = 60.0
_MARK_CHANGE_SHARE = 0.3  # of the tickers
_MEAN_DELAY_NS = 6 * MILLISECOND_NS
_LEAST_DELAY_NS, _LARGEST_DELAY_NS = MILLISECOND_NS, 40 * MILLISECOND_NS


@dataclass(frozen=True, slots=True)
class SimulatedSymbol:
    """A market to simulate; prices and steps are decimal texts, written with the decimals the exchange uses.

    Raises InvalidSettings when a text is not a positive decimal number or the price is no multiple of its tick.
    """

    symbol: str
    start_price: str
    tick_size: str
    lot_size: str

    def __post_init__(self) -> None:
        problems = []
        if not (self.symbol.isascii() and self.symbol.isalnum()):
            problems.append(f"symbol: must be ASCII letters and digits, was {self.symbol!r}")
        for name in ("tick", "lot", "start_tick"):
            try:
                getattr(self, name)
            except (ValueError, ScaleExceeded) as error:
                problems.append(str(error))
        if problems:
            raise InvalidSettings(f"simulated symbol {self.symbol}", list(dict.fromkeys(problems)))

    @property
    def tick(self) -> DecimalStep:
        return DecimalStep.parse(self.tick_size, "tick_size")

    @property
    def lot(self) -> DecimalStep:
        return DecimalStep.parse(self.lot_size, "lot_size")

    @property
    def start_tick(self) -> int:
        """The start price in ticks."""
        tick = self.tick
        count, rest = divmod(mantissa(self.start_price, tick.decimals, "start_price"), tick.mantissa)
        if rest or count <= 0:
            raise ValueError(f"start_price: must be a positive multiple of {self.tick_size}, was {self.start_price!r}")
        return count


DEFAULT_SYMBOLS = (
    SimulatedSymbol("BTCUSDT", "65000.00", "0.10", "0.001"),
    SimulatedSymbol("ETHUSDT", "1900.00", "0.01", "0.01"),
)


def simulate(  # noqa: PLR0913  # each shapes the market that is drawn
    symbols: Sequence[SimulatedSymbol],
    *,
    seed: int,
    start_ns: int,
    duration_ns: int,
    depth: int = 200,
    book_interval_ns: int = 100 * MILLISECOND_NS,
    mean_activity: float = 1.0,
) -> Iterator[TimedMessage]:
    """The messages of all symbols with event times in ``[start_ns, start_ns + duration_ns)``, by ``recv_ns``.

    The same arguments give the same bytes; a symbol's messages do not depend on the other symbols. Every message is
    received 1 to 40 ms after its event, a symbol's in the order of their events. Each ``tickers`` message agrees with
    the last book message before it, and each trade takes the best level that the last book message and the trades
    since have left.

    mean_activity: orders and cancellations, times the usual number; more of them change more levels a message.

    Raises InvalidSettings, before the first message, naming everything that is wrong.
    """
    problems = []
    names = [symbol.symbol for symbol in symbols]
    if not names or len(set(names)) != len(names):
        problems.append(f"symbols: must be at least one, each once, was {names}")
    if seed < 0:
        problems.append(f"seed: must not be negative, was {seed}")
    if start_ns < 0:
        problems.append(f"start_ns: must not be negative, was {start_ns}")
    if duration_ns <= 0:
        problems.append(f"duration_ns: must be positive, was {duration_ns}")
    if depth not in DEPTHS:
        problems.append(f"depth: must be one of {DEPTHS}, was {depth}")
    if not 10 * MILLISECOND_NS <= book_interval_ns <= 200 * MILLISECOND_NS:
        problems.append(f"book_interval_ns: must be 10 to 200 ms, was {book_interval_ns}")
    if not 0 < mean_activity <= MOST_ACTIVITY:
        problems.append(f"mean_activity: must be above 0 and at most {MOST_ACTIVITY:g}, was {mean_activity:g}")
    # Below this the window's far bids could reach a price of zero.
    lowest_tick = 10 * depth
    problems += [
        f"{symbol.symbol}.start_price: must be at least {lowest_tick} ticks at depth {depth}, was {symbol.start_tick}"
        for symbol in symbols
        if symbol.start_tick < lowest_tick
    ]
    if problems:
        raise InvalidSettings("simulator", problems)
    streams = [
        _received(
            _Market(
                symbol,
                seed=seed,
                start_ns=start_ns,
                depth=depth,
                step_ns=book_interval_ns,
                mean_activity=mean_activity,
            ).published(start_ns + duration_ns),
            _generator(seed, symbol.symbol, "network"),
        )
        for symbol in symbols
    ]
    return heapq.merge(*streams, key=attrgetter("recv_ns"))


class _Market:
    """One symbol's market: its book, its traders, and what is due to be published."""

    def __init__(
        self, symbol: SimulatedSymbol, *, seed: int, start_ns: int, depth: int, step_ns: int, mean_activity: float
    ) -> None:
        self._random = _generator(seed, symbol.symbol, "market")
        self._book = OrderBook()
        self._flow = OrderFlow(
            self._book,
            self._random,
            start_tick=symbol.start_tick,
            depth=depth,
            step_ns=step_ns,
            mean_activity=mean_activity,
        )
        price = symbol.start_tick * symbol.tick.mantissa
        self._contract = ContractState(
            mark=price,
            index=price,
            open_interest=int(self._random.integers(20_000_000, 60_000_000)),
            funding_rate=10_000,
        )
        self._tick = symbol.tick
        self._feed = PublicFeed(
            symbol.symbol,
            tick=symbol.tick,
            lot=symbol.lot,
            depth=depth,
            history=self._day_before(symbol.start_tick, start_ns),
            identity=f"{seed}/{start_ns}/{symbol.symbol}",
        )
        self._start_ns = start_ns
        self._step_ns = step_ns
        self._seq = int(self._random.integers(10**11, 10**12))
        self._kline_due_ns = self._later(start_ns, 0.0, 2.0)
        self._ticker_due_ns = start_ns
        self._funding_due_ns = self._later(start_ns, 0.0, 2 * _MEAN_FUNDING_CHANGE_S)

    def published(self, end_ns: int) -> Iterator[tuple[int, bytes]]:
        """(event time, message), in time order, of the events before ``end_ns``."""
        now_ns = self._start_ns
        yield from self._ticker(now_ns)
        update_id = int(self._random.integers(10**7, 10**8))
        yield now_ns, self._feed.book_snapshot(self._book, at_ns=now_ns, seq=self._seq, update_id=update_id)
        while now_ns + self._step_ns < end_ns:
            self._flow.advance()
            traded_ns = now_ns
            fills_left = MOST_FILLS
            for order in self._flow.market_orders():
                if fills_left == 0:
                    break
                traded_ns = now_ns + int(order.phase * self._step_ns)
                fills = self._book.market(order.taker, order.lots, max_fills=fills_left)
                fills_left -= len(fills)
                yield traded_ns, self._trades(order.taker, fills, traded_ns)
            now_ns += self._step_ns
            self._flow.requote()
            self._seq += 2 + int(self._random.poisson(200))
            changed_ns = max(traded_ns, now_ns - int(self._random.integers(10 * MILLISECOND_NS)))
            delta = self._feed.book_delta(self._book, at_ns=now_ns, changed_ns=changed_ns, seq=self._seq)
            if delta is not None:
                yield now_ns, delta
            yield from self._kline(now_ns)
            yield from self._ticker(now_ns)

    def _trades(self, taker: int, fills: list[Fill], now_ns: int) -> bytes:
        self._roll(now_ns)
        self._seq += 1 + int(self._random.poisson(50))
        # A market order opens positions, closes them, or passes them on.
        self._contract.open_interest += int(self._random.integers(-1, 2)) * sum(lots for _, lots in fills)
        return self._feed.trades(fills, taker=taker, at_ns=now_ns, seq=self._seq)

    def _roll(self, now_ns: int) -> None:
        if now_ns >= self._feed.minute_end_ns:
            self._kline_due_ns = self._later(self._feed.minute_end_ns, 0.1, 0.8)
            self._feed.roll(now_ns)

    def _kline(self, now_ns: int) -> Iterator[tuple[int, bytes]]:
        self._roll(now_ns)
        if now_ns >= self._kline_due_ns:
            self._kline_due_ns = self._later(now_ns, 1.5, 2.5)
            yield now_ns, self._feed.kline(now_ns)

    def _ticker(self, now_ns: int) -> Iterator[tuple[int, bytes]]:
        if now_ns < self._ticker_due_ns:
            return
        self._ticker_due_ns = self._later(now_ns, 0.05, 0.25)
        self._move_contract(now_ns)
        message = self._feed.ticker(self._book, self._contract, now_ns=now_ns, seq=self._seq)
        if message is not None:
            yield now_ns, message

    def _move_contract(self, now_ns: int) -> None:
        """Mark and index follow the fair value now and then; the funding rate walks inside its cap."""
        contract = self._contract
        if self._random.random() < _MARK_CHANGE_SHARE:
            fair = self._flow.fair_tick * self._tick.mantissa
            mark_gap, index_gap = (self._random.standard_normal(2) * (1e-5, 2e-5)).tolist()
            contract.mark = round(fair * (1 + mark_gap))
            contract.index = round(fair * (1 + 2e-4 + index_gap))
        if now_ns >= self._funding_due_ns:
            self._funding_due_ns = self._later(now_ns, 0.0, 2 * _MEAN_FUNDING_CHANGE_S)
            change = int(self._random.integers(1, 500)) * int(self._random.choice((-1, 1)))
            contract.funding_rate = max(-FUNDING_CAP, min(FUNDING_CAP, contract.funding_rate + change))

    def _day_before(self, start_tick: int, start_ns: int) -> list[Candle]:
        """A day of candles that ends at the start price, and the open one of the start's minute."""
        minute_ns = floor_to(start_ns, MINUTE_NS)
        steps = self._random.normal(0, _DAY_VOLATILITY, DAY_MINUTES)
        path = np.append(0.0, np.cumsum(steps)) - np.sum(steps)
        prices = np.rint(start_tick * np.exp(path)).astype(np.int64).tolist()
        prices[-1] = start_tick
        wicks = self._random.geometric(1 / 20, (DAY_MINUTES, 2)).tolist()
        volumes = np.ceil(self._random.exponential(_DAY_MEAN_LOTS, DAY_MINUTES)).astype(np.int64).tolist()
        candles = []
        for index, ((up, down), lots) in enumerate(zip(wicks, volumes, strict=True)):
            first, last = prices[index], prices[index + 1]
            high, low = max(first, last) + up, max(min(first, last) - down, 1)
            candle_ns = minute_ns - (DAY_MINUTES - index) * MINUTE_NS
            candles.append(Candle(candle_ns, first, high, low, last, lots, lots * ((first + last) // 2)))
        return [*candles, candles[-1].next()]

    def _later(self, now_ns: int, least_s: float, most_s: float) -> int:
        return now_ns + int(self._random.uniform(least_s, most_s) * SECOND_NS)


def _received(published: Iterator[tuple[int, bytes]], random: np.random.Generator) -> Iterator[TimedMessage]:
    """Each message after its own delay, but never before the one it follows: they share a connection."""
    recv_ns = 0
    for event_ns, body in published:
        delay_ns = _LEAST_DELAY_NS + int(random.exponential(_MEAN_DELAY_NS - _LEAST_DELAY_NS))
        recv_ns = max(recv_ns, event_ns + min(delay_ns, _LARGEST_DELAY_NS))
        yield TimedMessage(recv_ns, body)


def _generator(seed: int, symbol: str, purpose: str) -> np.random.Generator:
    """A stream of its own for each symbol and purpose, the same on every machine."""
    digest = hashlib.sha256(f"{symbol}/{purpose}".encode()).digest()
    return np.random.Generator(np.random.PCG64([seed, int.from_bytes(digest[:8])]))
