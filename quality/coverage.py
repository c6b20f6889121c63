"""The coverage certificate: of every UTC day and stream of a symbol what was expected, what is held, what is missing.

1. Order books are counted by update id: what is missing between two is known to the message. After a mark that is
   followed by a snapshot, and before the first message and after the last, the number of missing ones is unknown.
2. Candles are counted by the minute.
3. Trades are counted by their numbers where the venue numbers them one by one; else by the minute, by what the candle
   of the minute says was traded. A minute without a candle is missing when no trade came around it for a minute, else
   not proven.
4. Tickers come all the time: a pause longer than a minute is missing, counted in seconds.
5. What is missing makes features unknown as long as they look back at it, where the tape marks it or the book breaks;
   what nothing marks they were computed without.
6. What is held is live or backfilled, range by range: candles by the minute, the rest from one message to the next.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, floor_to
from market.events import CONFIRMED, CONTROL, FIRST, KLINE, ORDERBOOK, START, TICKER, TRADE, Events
from quality.book_holes import BookHoles
from quality.book_runs import BookRuns, book_runs
from quality.held_messages import HeldMessages, held_messages
from quality.market_streams import MarketStreams
from quality.time_ranges import Bools, Int64s, Range, joined, minute_marks, of_minutes, without
from quality.trade_numbers import TradeNumbers

STREAMS: Final = {ORDERBOOK: "orderbook", TRADE: "trades", KLINE: "klines", TICKER: "ticker"}
BY_IDS: Final = "update ids"
BY_NUMBERS: Final = "trade numbers"
BY_MINUTES: Final = "minutes"
BY_VOLUME: Final = "volume of the candle"
BY_HEARTBEAT: Final = "heartbeat"
EVIDENCE: Final = {ORDERBOOK: BY_IDS, TRADE: BY_VOLUME, KLINE: BY_MINUTES, TICKER: BY_HEARTBEAT}
"""What certifies a stream, unless its trades are numbered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A range [begin, end) of time in which something is missing, ns.

    evidence: how it is known. count: messages, of numbered trades trades, that are missing; None if unknown.
    first_id: update id or trade number of the first of them. makes_unknown: whether features are unknown for it, rather
    than computed without it. effect_ns: from when on they are, and when the stream could be read again, where that is
    not the range itself.
    """

    begin_ns: int
    end_ns: int
    evidence: str
    count: int | None = None
    first_id: int | None = None
    makes_unknown: bool = True
    effect_ns: Range | None = None


@dataclass(slots=True)
class StreamCoverage:
    """A stream over the whole period.

    evidence: what certifies it. not_proven: ranges of which nothing says whether all of it is held. live, backfilled:
    ranges of what is held and from where, without what is missing.
    """

    kind: int
    evidence: str
    missing: list[Missing] = field(default_factory=list)
    not_proven: list[Range] = field(default_factory=list)
    live: list[Range] = field(default_factory=list)
    backfilled: list[Range] = field(default_factory=list)

    @property
    def is_counted(self) -> bool:
        """Whether its messages, or trades, are counted one by one rather than by time."""
        return self.evidence in {BY_IDS, BY_NUMBERS}


class CoverageTally:
    """Takes the events of a period in tape order, order books and the other kinds each in theirs.

    period: [begin, end), whole minutes, ns. A candle counts for the minute that it is of, a trade for that of its own
    time, whenever they came; order books and tickers for when they came.
    """

    def __init__(self, begin_ns: int, end_ns: int) -> None:
        self._begin_ns, self._end_ns = begin_ns, end_ns
        self._book = BookHoles()
        self._market = MarketStreams(scales=None)
        self._numbers = TradeNumbers()
        self._trades: Counter[int] = Counter()  # by day
        self._ends: dict[int, Range] = {}
        self._sources: dict[int, list[tuple[Range, bool]]] = {kind: [] for kind in STREAMS}  # and whether backfilled
        self._minutes: list[tuple[Int64s, Bools]] = []  # of candles, and whether backfilled
        self._held: Counter[tuple[int, int, bool]] = Counter()  # messages by kind, day, whether backfilled
        self._marked: dict[int, list[int]] = {kind: [] for kind in STREAMS}

    def add_book(self, events: Events) -> None:
        """Order book messages and marks received in the period."""
        self.add_book_runs(book_runs(events))

    def add_book_runs(self, runs: BookRuns) -> None:
        """The same, of which the messages that follow one by one were left out."""
        self._book.add(runs.records, runs.ends_run)
        self._hold(ORDERBOOK, runs.held)

    def add_market(self, events: Events) -> None:
        """Trades, candles, tickers and marks; trades and candles of the period, whenever they came."""
        for kind, counts_at in ((TRADE, "event_ns"), (KLINE, "update_id"), (TICKER, "recv_ns")):
            at_ns = events[counts_at]
            is_chosen = (events["kind"] == kind) & (at_ns >= self._begin_ns) & (at_ns < self._end_ns)
            if not is_chosen.any():
                continue
            chosen = events if is_chosen.all() else events.take(np.flatnonzero(is_chosen))
            self._market.add(chosen)
            heads = chosen.take(np.flatnonzero(chosen["flags"] & FIRST))
            self._hold(kind, held_messages(heads, heads["update_id" if kind == KLINE else "recv_ns"]))
            if kind == TRADE:
                self._numbers.add(chosen)
                days, counts = np.unique(chosen["event_ns"] // DAY_NS * DAY_NS, return_counts=True)
                self._trades.update(dict(zip(days.tolist(), counts.tolist(), strict=True)))
            elif kind == KLINE:
                confirmed = heads[(heads["flags"] & CONFIRMED) != 0]
                self._minutes.append((confirmed["update_id"], confirmed["seq"] < 0))
        marks = events[(events["kind"] == CONTROL) & (events["field"] == START)]
        for kind in STREAMS:
            self._marked[kind] += marks["recv_ns"][np.isin(marks["px"], (CONTROL, kind))].tolist()

    def finish(self, kinds: Collection[int] = tuple(STREAMS)) -> dict[int, StreamCoverage]:
        """What is missing of each stream of these kinds, in order of time."""
        found = {kind: StreamCoverage(kind, EVIDENCE[kind]) for kind in STREAMS if kind in kinds}
        for kind, covered in found.items():
            if kind == ORDERBOOK:
                covered.missing = self._missing_books()
            elif kind == KLINE:
                lacking = self._ranges(~self._marks(self._market.candles))
                covered.missing = [Missing(begin_ns=begin, end_ns=end, evidence=BY_MINUTES) for begin, end in lacking]
            elif kind == TICKER:
                covered.missing = self._missing_tickers()
            elif self._numbers.is_numbered:
                covered.evidence = BY_NUMBERS
                covered.missing = self._missing_numbers()
            else:
                self._judge_trades(covered)
            covered.live, covered.backfilled = (self._held_ranges(covered, is_old=is_old) for is_old in (False, True))
        return found

    def held(self, kind: int, day_ns: int) -> tuple[int, int]:
        """Messages of a day that are held: live, backfilled."""
        return self._held[kind, day_ns, False], self._held[kind, day_ns, True]

    def counted(self, covered: StreamCoverage, day_ns: int) -> tuple[int, int]:
        """Of a stream that is counted one by one: expected and held of a day.

        What is missing counts for the day on which it was noticed.
        """
        held = self._trades[day_ns] if covered.kind == TRADE else sum(self.held(covered.kind, day_ns))
        lost = sum(each.count or 0 for each in covered.missing if floor_to(each.end_ns - 1, DAY_NS) == day_ns)
        return held + lost, held

    def _hold(self, kind: int, held: HeldMessages | None) -> None:
        if held is None:
            return
        first, last = self._ends.get(kind, held.span)
        self._ends[kind] = min(held.span[0], first), max(held.span[1], last)
        for (day_ns, is_old), count in held.by_day.items():
            self._held[kind, day_ns, is_old] += count
        runs = self._sources[kind]
        for span, is_old in held.sources:
            if runs and runs[-1][1] == is_old:
                before = runs[-1][0]
                runs[-1] = (min(before[0], span[0]), max(before[1], span[1])), is_old
            else:
                runs.append((span, is_old))

    def _held_ranges(self, covered: StreamCoverage, *, is_old: bool) -> list[Range]:
        """What is held of one source, without what is missing."""
        if covered.kind == KLINE:
            minutes, is_backfilled = (
                np.concatenate([empty, *(each[at] for each in self._minutes)])
                for at, empty in enumerate((np.empty(0, np.int64), np.empty(0, np.bool_)))
            )
            live = minutes[~is_backfilled]
            return of_minutes(minutes[is_backfilled & ~np.isin(minutes, live)] if is_old else live)
        lost = joined((each.begin_ns, each.end_ns) for each in covered.missing)
        runs = joined(span for span, each in self._sources[covered.kind] if each == is_old)
        return [held for span in runs for held in without(span, lost)]

    def _missing_numbers(self) -> list[Missing]:
        found = [
            Missing(
                begin_ns=hole.begin_ns,
                end_ns=hole.end_ns,
                evidence=BY_NUMBERS,
                count=hole.last - hole.first + 1,
                first_id=hole.first,
                makes_unknown=self._is_marked(TRADE, hole.begin_ns, hole.end_ns + MINUTE_NS),
            )
            for hole in self._numbers.holes
        ]
        edges = [each for each in self._edges(TRADE) if each.end_ns - each.begin_ns > MINUTE_NS]
        return sorted([*found, *edges], key=lambda each: each.begin_ns)

    def _is_marked(self, kind: int, begin_ns: int, end_ns: int) -> bool:
        """Whether the tape says around a range that messages may have been missed."""
        return any(begin_ns <= at <= end_ns for at in self._marked[kind])

    def _missing_books(self) -> list[Missing]:
        found = [
            Missing(
                begin_ns=hole.begin_ns,
                end_ns=hole.found_ns,
                evidence=BY_IDS,
                count=hole.missing,
                first_id=hole.first_id,
                effect_ns=(hole.found_ns, self._end_ns if hole.repaired_ns is None else hole.repaired_ns),
            )
            for hole in self._book.holes
        ]
        found += [
            Missing(begin_ns=begin, end_ns=end, evidence="mark before a snapshot") for begin, end in self._book.replaced
        ]
        return sorted([*found, *self._edges(ORDERBOOK)], key=lambda each: each.begin_ns)

    def _missing_tickers(self) -> list[Missing]:
        pauses = self._market.pauses[TICKER]
        found = [
            Missing(
                begin_ns=begin,
                end_ns=end,
                evidence=BY_HEARTBEAT,
                makes_unknown=self._is_marked(TICKER, begin, end),
            )
            for begin, end in pauses.silences
        ]
        edges = [each for each in self._edges(TICKER) if each.end_ns - each.begin_ns > pauses.longest_ns]
        return sorted([*found, *edges], key=lambda each: each.begin_ns)

    def _edges(self, kind: int) -> list[Missing]:
        """What lies before the first message and after the last."""
        if kind not in self._ends:
            return [Missing(begin_ns=self._begin_ns, end_ns=self._end_ns, evidence="nothing is held")]
        first, last = self._ends[kind]
        ranges = ((self._begin_ns, first, "before the first message"), (last, self._end_ns, "after the last message"))
        return [
            Missing(begin_ns=begin, end_ns=end, evidence=why) for begin, end, why in ranges if end - begin > SECOND_NS
        ]

    def _marks(self, begins_ns: Iterable[int]) -> Bools:
        return minute_marks((self._begin_ns, self._end_ns), np.fromiter(begins_ns, np.int64))

    def _ranges(self, marks: Bools) -> list[Range]:
        return of_minutes(self._begin_ns + np.flatnonzero(marks) * MINUTE_NS)

    def _judge_trades(self, found: StreamCoverage) -> None:
        of_candles, traded = self._market.candle_volume, self._market.traded_volume
        has_candle = self._marks(of_candles)
        has_trades = self._marks(itertools.compress(traded, traded.values()))
        agrees = self._marks(at for at, volume in traded.items() if of_candles.get(at) == volume)
        differs = (has_trades | self._marks(itertools.compress(of_candles, of_candles.values()))) & has_candle & ~agrees
        is_silent = np.zeros(len(has_candle), np.bool_)
        silences = [
            *self._market.pauses[TRADE].silences,
            *((each.begin_ns, each.end_ns) for each in self._edges(TRADE)),
        ]
        for begin_ns, end_ns in silences:
            first, last = -((self._begin_ns - begin_ns) // MINUTE_NS), (end_ns - self._begin_ns) // MINUTE_NS
            is_silent[max(first, 0) : max(last, 0)] = True
        is_silent &= ~has_candle & ~has_trades
        found.missing = [
            Missing(
                begin_ns=begin,
                end_ns=end,
                evidence=evidence,
                makes_unknown=TRADE not in self._ends or self._is_marked(TRADE, begin, end + MINUTE_NS),
            )
            for evidence, marks in ((BY_VOLUME, differs), ("silence", is_silent))
            for begin, end in self._ranges(marks)
        ]
        found.missing.sort(key=lambda each: each.begin_ns)
        found.not_proven = self._ranges(~has_candle & ~is_silent)
