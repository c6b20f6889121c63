"""Streams of event records for the laws: message builders, and hypothesis strategies that draw hostile tapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from market.clock import DAY_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS, ceil_to, floor_to
from market.events import (
    ASK,
    BID,
    BUY,
    CONFIRMED,
    CONTROL,
    FUNDING_RATE,
    GAP,
    INDEX_PRICE,
    KLINE,
    KLINE_FIELD_COUNT,
    MARK_PRICE,
    NEXT_FUNDING,
    NO_LEVEL,
    NO_TICKER_FIELD,
    OPEN_INTEREST,
    ORDERBOOK,
    SELL,
    SNAPSHOT,
    START,
    TICKER,
    TRADE,
    Events,
    empty_events,
    mark_message,
)
from market.instruments import Instrument

INSTRUMENT: Final = Instrument("BTCUSDT", 2, 3)
MIDNIGHT_NS: Final = 1_733_011_200 * SECOND_NS
MID_PX: Final = 100_000

_WINDOWS_S: Final = (1, 3, 10, 15, 60, 120, 180, 300)
SHORT_GAPS_NS: Final = (0, 0, 1, SECOND_NS - 1, SECOND_NS, SECOND_NS + 1, 3 * SECOND_NS)
"""Random gaps never hit a window's edge, so the edges are drawn on purpose."""
GAPS_NS: Final = (
    *SHORT_GAPS_NS,
    *(seconds * SECOND_NS + off for seconds in _WINDOWS_S for off in (-1, 0, 1)),
    2 * MINUTE_NS,
    7 * MINUTE_NS,
)
_LATE_NS: Final = (0, 0, 0, 0, 1, 300 * MILLISECOND_NS, SECOND_NS, 2 * SECOND_NS)
_AHEAD_NS: Final = (0, -5 * MILLISECOND_NS, 1_500 * MILLISECOND_NS)

Levels = Sequence[tuple[int, int]]
Draw = Callable[[st.SearchStrategy[Any]], Any]


def message(
    kind: int,
    recv_ns: int,
    records: Sequence[tuple[int, int, int]],
    *,
    update_id: int = 0,
    flags: int = 0,
    event_ns: int | None = None,
) -> Events:
    """One message; records are (field, px, qty)."""
    events = empty_events(len(records))
    events["kind"] = kind
    events["recv_ns"] = recv_ns
    events["event_ns"] = recv_ns if event_ns is None else event_ns
    events["update_id"] = update_id
    events["flags"] = flags
    for i, (field, px, qty) in enumerate(records):
        events[i]["field"], events[i]["px"], events[i]["qty"] = field, px, qty
    return mark_message(events)


def book_message(
    recv_ns: int, update_id: int, *, bids: Levels = (), asks: Levels = (), is_snapshot: bool = False
) -> Events:
    """A snapshot or delta of the order book; levels are (px, qty)."""
    records = [(BID, px, qty) for px, qty in bids] + [(ASK, px, qty) for px, qty in asks]
    return message(
        ORDERBOOK,
        recv_ns,
        records or [(NO_LEVEL, 0, 0)],
        update_id=update_id,
        flags=SNAPSHOT if is_snapshot else 0,
    )


def trade_message(recv_ns: int, *trades: tuple[int, int, int]) -> Events:
    """Trades of one message, each (taker's side, px, qty)."""
    return message(TRADE, recv_ns, trades)


def kline_message(
    recv_ns: int, start_ns: int, close: int, *, volume: int = 7, spread: int = 3, is_confirmed: bool = True
) -> Events:
    """A candle around ``close``."""
    values = [close - spread // 2, close + spread, close - spread, close, volume, close * volume]
    return message(
        KLINE,
        recv_ns,
        [(field, values[field], 0) for field in range(KLINE_FIELD_COUNT)],
        update_id=start_ns,
        flags=CONFIRMED if is_confirmed else 0,
    )


def ticker_message(recv_ns: int, fields: Mapping[int, int]) -> Events:
    """A ticker's fields, any subset of them."""
    records = [(field, value, 0) for field, value in fields.items()]
    return message(TICKER, recv_ns, records or [(NO_TICKER_FIELD, 0, 0)])


def control_message(recv_ns: int, field: int) -> Events:
    """START or GAP."""
    return message(CONTROL, recv_ns, [(field, 0, 0)])


def tape(messages: Sequence[Events]) -> Events:
    """The messages in order of arrival, with their ``seq``."""
    events = np.concatenate(messages) if messages else empty_events()
    events["seq"] = np.repeat(np.arange(len(messages)), [len(records) for records in messages])
    return events


class TapeWriter:
    """A market that writes drawn messages, one after another, keeping its book contiguous unless told otherwise.

    gaps_ns: what to draw the time between two messages from.
    """

    def __init__(self, draw: Draw, *, start_ns: int, gaps_ns: Sequence[int]) -> None:
        self.draw = draw
        self.now_ns = start_ns
        self.earliest_ns = floor_to(start_ns, SECOND_NS)  # an earlier record would belong to a closed row
        self.gaps_ns = gaps_ns
        self.messages: list[Events] = []
        self.update_id = 10
        self.sides: dict[int, dict[int, int]] = {BID: {}, ASK: {}}

    def wait(self) -> None:
        """Let a drawn time pass."""
        random_ns = st.integers(2, 2 * SECOND_NS)
        self.now_ns += self.draw(st.one_of(st.sampled_from(self.gaps_ns), random_ns))

    def step(self, kind: str) -> None:
        """Let time pass and write one message of the kind."""
        self.wait()
        recv_ns = max(self.now_ns - self.draw(st.sampled_from(_LATE_NS)), self.earliest_ns)
        written = len(self.messages)
        getattr(self, kind)(recv_ns)
        for events in self.messages[written:]:
            events["event_ns"] += self.draw(st.sampled_from(_AHEAD_NS))

    def cut(self) -> int:
        """Let time pass and write a snapshot of the running book, before which nothing later is stamped; its time."""
        self.wait()
        self.earliest_ns = self.now_ns
        for side, px in ((BID, MID_PX), (ASK, MID_PX + 1)):
            if not self.sides[side]:
                self.sides[side][px] = 5
        self._snapshot_of_sides(self.now_ns)
        return self.now_ns

    def snapshot(self, recv_ns: int) -> None:
        self.sides = {side: dict(self._levels(side, qty_from=1, min_size=1)) for side in (BID, ASK)}
        self.update_id = self.draw(st.integers(2, 1_000))
        self._snapshot_of_sides(recv_ns)

    def restart(self, recv_ns: int) -> None:
        self.sides = {side: dict(self._levels(side, qty_from=1, min_size=1)) for side in (BID, ASK)}
        self.update_id = 1
        self._book_message(recv_ns, *(list(self.sides[side].items()) for side in (BID, ASK)))

    def delta(self, recv_ns: int) -> None:
        self._change(recv_ns, self._levels(BID, qty_from=0), self._levels(ASK, qty_from=0))

    def deletion(self, recv_ns: int) -> None:
        """Delete a side's best level, or a whole side."""
        side = self.draw(st.sampled_from((BID, ASK)))
        levels = sorted(self.sides[side], reverse=side == BID)
        gone = [(px, 0) for px in (levels if self.draw(st.booleans()) else levels[:1])]
        self._change(recv_ns, *((gone, []) if side == BID else ([], gone)))

    def crossing(self, recv_ns: int) -> None:
        """A bid at or above an ask. The writer's own book forgets it, so that its next snapshot is sound."""
        self.update_id += 1
        self._book_message(recv_ns, [(MID_PX + 1_000, 1)], [(MID_PX + self.draw(st.integers(-9, 1_000)), 1)])

    def duplicate(self, recv_ns: int) -> None:
        self.messages.append(
            book_message(recv_ns, max(self.update_id - self.draw(st.integers(0, 2)), 2), bids=[(5, 5)])
        )

    def gap(self, recv_ns: int) -> None:
        self.update_id += self.draw(st.integers(1, 3))
        self._change(recv_ns, self._levels(BID, qty_from=1), [])

    def trades(self, recv_ns: int) -> None:
        trade = st.tuples(st.sampled_from((BUY, SELL)), st.integers(MID_PX - 300, MID_PX + 300), st.integers(1, 9_000))
        self.messages.append(trade_message(recv_ns, *self.draw(st.lists(trade, min_size=1, max_size=3))))

    def kline(self, recv_ns: int) -> None:
        """The candle that just closed, an earlier one again, or the present one unconfirmed."""
        back = self.draw(st.sampled_from((1, 1, 1, 2, 3, 0)))
        self._candle(recv_ns, floor_to(recv_ns, MINUTE_NS) - back * MINUTE_NS, is_confirmed=back > 0)

    def candles(self, _recv_ns: int) -> None:
        """A run of contiguous candles, one a minute, each some time after its end."""
        delays_ns = st.sampled_from((0, 1, 300 * MILLISECOND_NS, SECOND_NS, MINUTE_NS - 1))
        end_ns = ceil_to(self.now_ns, MINUTE_NS)
        for _ in range(self.draw(st.sampled_from((3, 6, 17, 22)))):
            self.now_ns = end_ns + self.draw(delays_ns)
            self._candle(self.now_ns, end_ns - MINUTE_NS, is_confirmed=True)
            end_ns += MINUTE_NS

    def resent(self, recv_ns: int) -> None:
        """Several earlier candles again, at once."""
        for back in range(self.draw(st.integers(3, 7)), self.draw(st.integers(1, 2)), -1):
            self._candle(recv_ns, floor_to(recv_ns, MINUTE_NS) - back * MINUTE_NS, is_confirmed=True)

    def ticker(self, recv_ns: int) -> None:
        """Any subset of the fields."""
        strategy = st.fixed_dictionaries(
            {},
            optional={
                FUNDING_RATE: st.integers(-(10**9), 10**9),
                NEXT_FUNDING: st.sampled_from((recv_ns, ceil_to(recv_ns + 1, 8 * 60 * MINUTE_NS), recv_ns + MINUTE_NS)),
                OPEN_INTEREST: st.integers(0, 10**9),
                MARK_PRICE: st.integers(MID_PX - 50, MID_PX + 50),
                INDEX_PRICE: st.integers(MID_PX - 50, MID_PX + 50),
            },
        )
        self.messages.append(ticker_message(recv_ns, self.draw(strategy)))

    def control_start(self, recv_ns: int) -> None:
        self.messages.append(control_message(recv_ns, START))

    def control_gap(self, recv_ns: int) -> None:
        self.messages.append(control_message(recv_ns, GAP))

    def _levels(self, side: int, *, qty_from: int, min_size: int = 0) -> list[tuple[int, int]]:
        level = st.tuples(st.integers(0, 40), st.integers(qty_from, 9_000))
        drawn = self.draw(st.lists(level, min_size=min_size, max_size=12, unique_by=lambda pair: pair[0]))
        return [(MID_PX - 7 * off if side == BID else MID_PX + 1 + 7 * off, qty) for off, qty in drawn]

    def _change(self, recv_ns: int, bids: Levels, asks: Levels) -> None:
        self.update_id += 1
        for side, levels in ((BID, bids), (ASK, asks)):
            for px, qty in levels:
                if qty:
                    self.sides[side][px] = qty
                else:
                    self.sides[side].pop(px, None)
        self._book_message(recv_ns, bids, asks)

    def _snapshot_of_sides(self, recv_ns: int) -> None:
        bids, asks = (list(self.sides[side].items()) for side in (BID, ASK))
        self.messages.append(book_message(recv_ns, self.update_id, bids=bids, asks=asks, is_snapshot=True))

    def _book_message(self, recv_ns: int, bids: Levels, asks: Levels) -> None:
        self.messages.append(book_message(recv_ns, self.update_id, bids=bids, asks=asks))

    def _candle(self, recv_ns: int, start_ns: int, *, is_confirmed: bool) -> None:
        close, volume, spread = self.draw(
            st.tuples(st.integers(99_000, 101_000), st.integers(0, 99), st.integers(0, 90))
        )
        self.messages.append(
            kline_message(recv_ns, start_ns, close, volume=volume, spread=spread, is_confirmed=is_confirmed)
        )


CALM_KINDS: Final = ("delta", "deletion", "trades", "kline", "candles", "resent", "ticker")
"""What never ends a broken book."""
KINDS: Final = (
    *("delta", "trades", "ticker", "snapshot", "kline"),
    *CALM_KINDS,
    *("restart", "crossing", "duplicate", "gap", "control_start", "control_gap"),
)
SHORT_KINDS: Final = tuple(kind for kind in KINDS if kind != "candles")

_STARTS_NS: Final = st.sampled_from(
    tuple(MIDNIGHT_NS + off for off in (0, 1, -1, -3 * SECOND_NS, -MINUTE_NS, 12_345_678_901_234, DAY_NS // 2))
)


@st.composite
def writers(draw: Draw, *, gaps_ns: Sequence[int] = GAPS_NS) -> TapeWriter:
    """A writer that has written a first message: mostly a snapshot, so that the book is known."""
    writer = TapeWriter(draw, start_ns=draw(_STARTS_NS), gaps_ns=gaps_ns)
    first = draw(st.sampled_from(("snapshot", "snapshot", "snapshot", "trades", "ticker", "control_start")))
    getattr(writer, first)(writer.now_ns)
    return writer


def kinds(*, among: Sequence[str] = KINDS, max_size: int = 30) -> st.SearchStrategy[list[str]]:
    """The kinds of the messages to come; never few, since left alone half of all tapes hold no more than four."""
    return st.lists(st.sampled_from(among), min_size=max_size // 2, max_size=max_size)


@st.composite
def tapes(draw: Draw, *, gaps_ns: Sequence[int] = GAPS_NS, among: Sequence[str] = KINDS, max_size: int = 30) -> Events:
    """A tape of one symbol."""
    writer = draw(writers(gaps_ns=gaps_ns))
    for kind in draw(kinds(among=among, max_size=max_size)):
        writer.step(kind)
    return tape(writer.messages)


@st.composite
def tapes_with_cut(draw: Draw, *, gaps_ns: Sequence[int] = GAPS_NS, among: Sequence[str] = KINDS) -> tuple[Events, int]:
    """A tape and the time of a snapshot in it, from which a computation may start."""
    writer = draw(writers(gaps_ns=gaps_ns))
    for kind in draw(kinds(among=among, max_size=12)):
        writer.step(kind)
    cut_ns = writer.cut()
    for kind in draw(kinds(among=among, max_size=20)):
        writer.step(kind)
    return tape(writer.messages), cut_ns


@st.composite
def tapes_with_break(draw: Draw) -> tuple[Events, int, int]:
    """A tape whose book breaks once: its events, the time of the break and of the snapshot that ends it."""
    writer = draw(writers())
    for kind in draw(kinds(max_size=8)):
        writer.step(kind)
    writer.cut()
    writer.wait()
    broken_ns = writer.earliest_ns = writer.now_ns
    getattr(writer, draw(st.sampled_from(("gap", "crossing", "control_gap"))))(broken_ns)
    for kind in draw(kinds(among=(*CALM_KINDS, "gap", "duplicate", "crossing", "control_gap"), max_size=12)):
        writer.step(kind)
    mended_ns = writer.cut()
    return tape(writer.messages), broken_ns, mended_ns


def synthetic_tape(*, seed: int, messages: int, seconds: int) -> Events:
    """A dense market: a book, trades and tickers at random times within ``seconds``."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, seconds * SECOND_NS, messages)) + MIDNIGHT_NS
    px = MID_PX
    written = [
        book_message(
            MIDNIGHT_NS,
            2,
            bids=[(px - 1 - i, 5 + i) for i in range(30)],
            asks=[(px + 1 + i, 4 + i) for i in range(30)],
            is_snapshot=True,
        )
    ]
    update_id = 2
    for recv_ns in times.tolist():
        choice = random.integers(10)
        if choice < 7:
            update_id += 1
            bids = [(px - int(random.integers(1, 40)), int(random.integers(0, 900))) for _ in range(5)]
            asks = [(px + int(random.integers(1, 40)), int(random.integers(0, 900))) for _ in range(5)]
            written.append(book_message(recv_ns, update_id, bids=bids, asks=asks))
        elif choice < 9:
            written.append(trade_message(recv_ns, (int(random.integers(2)), px, int(random.integers(1, 9_999)))))
        else:
            written.append(
                ticker_message(recv_ns, {OPEN_INTEREST: int(random.integers(1, 10**9)), FUNDING_RATE: 10**8})
            )
    return tape(written)


def candle_tape(*, seed: int, count: int) -> Events:
    """``count`` contiguous candles, each received one second after its end."""
    random = np.random.default_rng(seed)
    closes, volumes, spreads = (
        random.integers(99_000, 101_000, count),
        random.integers(1, 999, count),
        random.integers(90, size=count),
    )
    return tape(
        [
            kline_message(
                MIDNIGHT_NS + (i + 1) * MINUTE_NS + SECOND_NS,
                MIDNIGHT_NS + i * MINUTE_NS,
                int(closes[i]),
                volume=int(volumes[i]),
                spread=int(spreads[i]),
            )
            for i in range(count)
        ]
    )
