"""A market that writes hostile messages: disorder, gaps, restarts, crossings, holes, times on the edges of windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, ceil_to, floor_to
from market.events import (
    ASK,
    BID,
    BUY,
    ENTRY_PRICE,
    FUNDING_RATE,
    GAP,
    INDEX_PRICE,
    MARK_PRICE,
    NEXT_FUNDING,
    OPEN_INTEREST,
    POSITION_SIZE,
    REALIZED_PNL,
    SELL,
    START,
    UNREALIZED_PNL,
    Events,
)
from tests.laws.markets import MOVES, SHADOWS, candle_values
from tests.laws.messages import (
    MID_PX,
    Levels,
    book_message,
    control_message,
    history_message,
    kline_message,
    position_message,
    ticker_message,
    trade_message,
)

_LATE_NS: Final = (0, 0, 0, 0, 1, 300 * MILLISECOND_NS, SECOND_NS, 2 * SECOND_NS)
_AHEAD_NS: Final = (0, -5 * MILLISECOND_NS, 1_500 * MILLISECOND_NS)
_DELAYS_NS: Final = (0, 1, 300 * MILLISECOND_NS, SECOND_NS, MINUTE_NS - 1)
_BAR_DELAYS_NS: Final = (-1_500 * MILLISECOND_NS, -1, 0, 1, 300 * MILLISECOND_NS, SECOND_NS, MINUTE_NS)

_BEFORE_NS: Final = (0, 4 * MINUTE_NS, 4 * MINUTE_NS + 1, 30 * MINUTE_NS, 1500 * MINUTE_NS)

Draw = Callable[[st.SearchStrategy[Any]], Any]


class TapeWriter:
    """A market that writes drawn messages, one after another, keeping its book contiguous unless told otherwise.

    gaps_ns: what to draw the time between two messages from. edges_ns: multiples of these are drawn as well, and the
    nanoseconds before and after them.
    """

    def __init__(self, draw: Draw, *, start_ns: int, gaps_ns: Sequence[int], edges_ns: Sequence[int] = ()) -> None:
        self.draw = draw
        self.now_ns = start_ns
        self.earliest_ns = floor_to(start_ns, SECOND_NS)  # an earlier record would belong to a closed row
        self.gaps_ns = gaps_ns
        self.edges_ns = edges_ns
        self.messages: list[Events] = []
        self.update_id = 10
        self.sides: dict[int, dict[int, int]] = {BID: {}, ASK: {}}

    def wait(self) -> None:
        """Let a drawn time pass."""
        gaps = [st.sampled_from(self.gaps_ns), st.integers(2, 2 * SECOND_NS)]
        if self.edges_ns:
            edges_ns = (ceil_to(self.now_ns + 1, edge_ns) - self.now_ns for edge_ns in self.edges_ns)
            gaps.append(st.sampled_from([edge_ns + off for edge_ns in edges_ns for off in (-1, 0, 1)]))
        self.now_ns += self.draw(st.one_of(gaps))

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
        self.candle_run(self.draw(st.sampled_from((3, 6, 17, 22))))

    def candle_run(self, count: int) -> None:
        """``count`` candles, one a minute; their values come from a drawn seed, since a long run of draws is none."""
        random = np.random.default_rng(self.draw(st.integers(0, 99)))
        delays_ns = random.choice(_DELAYS_NS, count)
        end_ns = ceil_to(self.now_ns, MINUTE_NS)
        for delay_ns, shape in zip(delays_ns.tolist(), candle_values(random), strict=False):
            self.now_ns = end_ns + delay_ns
            self.messages.append(kline_message(self.now_ns, end_ns - MINUTE_NS, **shape))
            end_ns += MINUTE_NS

    def bar(self, recv_ns: int) -> None:
        """A bar that has ended, an earlier one again, or the present one, confirmed before its end or not."""
        minutes = self.draw(st.sampled_from((3, 5, 5, 15, 60)))
        back = self.draw(st.sampled_from((1, 1, 1, 2, 3, 0, 0)))
        start_ns = floor_to(recv_ns, minutes * MINUTE_NS) - back * minutes * MINUTE_NS
        self._candle(recv_ns, start_ns, is_confirmed=back > 0 or self.draw(st.booleans()), minutes=minutes)

    def bars(self, _recv_ns: int) -> None:
        """A run of contiguous bars of five minutes, each before its end, at it or some time after it."""
        random = np.random.default_rng(self.draw(st.integers(0, 99)))
        end_ns = ceil_to(self.now_ns, 5 * MINUTE_NS)
        for off_ns, shape in zip(random.choice(_BAR_DELAYS_NS, 3).tolist(), candle_values(random), strict=False):
            self.now_ns = max(end_ns + off_ns, self.now_ns)
            self.messages.append(kline_message(self.now_ns, end_ns - 5 * MINUTE_NS, **shape, minutes=5))
            end_ns += 5 * MINUTE_NS

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

    def position(self, recv_ns: int) -> None:
        """Some of the fields, nothing held among them."""
        strategy = st.dictionaries(
            st.sampled_from((POSITION_SIZE, UNREALIZED_PNL, REALIZED_PNL, ENTRY_PRICE)),
            st.sampled_from((0, 1, -(10**9), 10**12)) | st.integers(-(2**62), 2**62),
            min_size=1,
        )
        self.messages.append(position_message(recv_ns, self.draw(strategy)))

    def control_start(self, recv_ns: int) -> None:
        self.messages.append(control_message(recv_ns, START))

    def control_history(self, recv_ns: int) -> None:
        self.messages.append(history_message(recv_ns, recv_ns - self.draw(st.sampled_from(_BEFORE_NS))))

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

    def _candle(self, recv_ns: int, start_ns: int, *, is_confirmed: bool, minutes: int = 1) -> None:
        move, shadow = st.sampled_from(MOVES), st.sampled_from(SHADOWS)
        shape = self.draw(
            st.fixed_dictionaries(
                {
                    "close": st.integers(MID_PX - 60, MID_PX + 60),
                    "body": move,
                    "upper": shadow,
                    "lower": shadow,
                    "volume": st.integers(0, 99),
                }
            )
        )
        self.messages.append(kline_message(recv_ns, start_ns, is_confirmed=is_confirmed, **shape, minutes=minutes))
