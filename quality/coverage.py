"""The coverage certificate: of every UTC day and stream of a symbol what was expected, what is held, what is missing.

1. Order books are counted by update id: what is missing between two is known to the message. After a mark that is
   followed by a snapshot, and before the first message and after the last, nobody knows how many are missing.
2. Candles are counted by the minute.
3. Trades are counted by the minute too, by what the candle of the minute says was traded. A minute without a candle is
   missing when no trade came around it for a minute, else not proven.
4. Tickers come all the time: a pause longer than a minute is missing, counted in seconds.
5. What is missing makes features unknown as long as they look back at it, where the tape marks it or the book breaks;
   what nothing marks they were computed without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, floor_to, format_iso, utc_date
from market.events import CONTROL, FIRST, KLINE, ORDERBOOK, START, TICKER, TRADE, Events
from quality.book_stream import BookStream
from quality.market_streams import MarketStreams
from transforms.catalogue import GROUPS, group_kinds, group_warm_up_ns
from transforms.rows import FeatureSet

STREAMS: Final = {ORDERBOOK: "orderbook", TRADE: "trades", KLINE: "klines", TICKER: "ticker"}
UNITS: Final = {ORDERBOOK: "messages", TRADE: "minutes", KLINE: "minutes", TICKER: "seconds"}
Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A range [begin, end) of time in which something is missing, ns.

    evidence: how it is known. count: messages that are missing; None where nobody knows. first_id: update id of the
    first of them. makes_unknown: whether features are unknown for it, rather than computed without it. effect_ns: from
    when on they are, and when the stream could be read again, where that is not the range itself.
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
    """A stream over the whole period. not_proven: ranges of which nothing says whether all of it is held."""

    kind: int
    missing: list[Missing] = field(default_factory=list)
    not_proven: list[Range] = field(default_factory=list)


class CoverageTally:
    """Takes the events of a period in tape order, order books and the other kinds each in theirs.

    period: [begin, end), whole minutes, ns. A candle counts for the minute that it is of, a trade for that of its own
    time, whenever they came; order books and tickers for when they came.
    """

    def __init__(self, begin_ns: int, end_ns: int) -> None:
        self._begin_ns, self._end_ns = begin_ns, end_ns
        self._book = BookStream()
        # Prices are not judged here: any scale will do.
        self._market = MarketStreams(price_scale=1.0, quantity_scale=1.0)
        self._ends: dict[int, Range] = {}
        self._held: Counter[tuple[int, int, bool]] = Counter()  # messages by kind, day, whether backfilled
        self._marked: dict[int, list[int]] = {kind: [] for kind in STREAMS}

    def add_book(self, events: Events) -> None:
        """Order book messages and marks received in the period."""
        is_mark = (events["kind"] == CONTROL) & (events["field"] == START)
        of_book = (events["kind"] == ORDERBOOK) | (is_mark & np.isin(events["px"], (CONTROL, ORDERBOOK)))
        self._book.add(events[of_book])
        self._count(events, (ORDERBOOK,))

    def add_market(self, events: Events) -> None:
        """Trades, candles, tickers and marks; trades and candles of the period, whenever they came."""
        is_tickers = (events["recv_ns"] >= self._begin_ns) & (events["recv_ns"] < self._end_ns)
        at_ns = np.where(events["kind"] == KLINE, events["update_id"], events["event_ns"])
        is_inside = (at_ns >= self._begin_ns) & (at_ns < self._end_ns)
        chosen = events[np.where(events["kind"] == TICKER, is_tickers, is_inside)]
        self._market.add(chosen)
        self._count(chosen, (TRADE, KLINE, TICKER))
        marks = events[(events["kind"] == CONTROL) & (events["field"] == START)]
        for mark in marks:
            for kind in STREAMS:
                if mark["px"] in (CONTROL, kind):
                    self._marked[kind].append(int(mark["recv_ns"]))

    def finish(self) -> dict[int, StreamCoverage]:
        """What is missing of each stream, in order of time."""
        found = {kind: StreamCoverage(kind) for kind in STREAMS}
        found[ORDERBOOK].missing = self._missing_books()
        found[KLINE].missing = [
            Missing(begin_ns=begin, end_ns=end, evidence="minutes") for begin, end in _runs(self._missing_candles())
        ]
        self._judge_trades(found[TRADE])
        found[TICKER].missing = self._missing_tickers()
        return found

    def held(self, kind: int, day_ns: int) -> tuple[int, int]:
        """Messages of a day that are held: live, backfilled."""
        return self._held[kind, day_ns, False], self._held[kind, day_ns, True]

    def expected_books(self, day_ns: int, missing: Iterable[Missing]) -> tuple[int, int]:
        """Order book messages of a day: expected, held. What is missing counts for the day on which it was noticed."""
        held = sum(self.held(ORDERBOOK, day_ns))
        lost = sum(each.count or 0 for each in missing if floor_to(each.end_ns - 1, DAY_NS) == day_ns)
        return held + lost, held

    def _count(self, events: Events, kinds: Iterable[int]) -> None:
        for kind in kinds:
            heads = events[((events["flags"] & FIRST) != 0) & (events["kind"] == kind)]
            if len(heads) == 0:
                continue
            first, last = int(heads["recv_ns"].min()), int(heads["recv_ns"].max()) + 1
            before = self._ends.get(kind, (first, last))
            self._ends[kind] = min(first, before[0]), max(last, before[1])
            at_ns = heads["update_id"] if kind == KLINE else heads["recv_ns"]
            days, inverse = np.unique(at_ns // DAY_NS * DAY_NS, return_inverse=True)
            is_backfilled = heads["seq"] < 0
            for at, day in enumerate(days.tolist()):
                count, old = int((inverse == at).sum()), int((is_backfilled & (inverse == at)).sum())
                self._held[kind, day, False] += count - old
                self._held[kind, day, True] += old

    def _missing_books(self) -> list[Missing]:
        found = [
            Missing(
                begin_ns=hole.begin_ns,
                end_ns=hole.found_ns,
                evidence="update ids",
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
        marks = self._marked[TICKER]
        found = [
            Missing(
                begin_ns=begin,
                end_ns=end,
                evidence="heartbeat",
                makes_unknown=any(begin <= at <= end for at in marks),
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
        longest_ns = SECOND_NS
        return [
            Missing(begin_ns=begin, end_ns=end, evidence=why) for begin, end, why in ranges if end - begin > longest_ns
        ]

    def _missing_candles(self) -> set[int]:
        return set(range(self._begin_ns, self._end_ns, MINUTE_NS)) - self._market.candles

    def _judge_trades(self, found: StreamCoverage) -> None:
        market = self._market
        silences = [*market.pauses[TRADE].silences, *((each.begin_ns, each.end_ns) for each in self._edges(TRADE))]
        missing: dict[int, str] = {}
        not_proven: set[int] = set()
        without_candle = self._missing_candles()
        for minute in range(self._begin_ns, self._end_ns, MINUTE_NS):
            traded = market.traded_volume.get(minute, 0)
            if minute not in without_candle:
                if market.candle_volume[minute] != traded:
                    missing[minute] = "volume of the candle"
            elif traded == 0 and any(begin <= minute and minute + MINUTE_NS <= end for begin, end in silences):
                missing[minute] = "silence"
            else:
                not_proven.add(minute)
        marks = self._marked[TRADE]
        found.missing = [
            Missing(
                begin_ns=begin,
                end_ns=end,
                evidence=evidence,
                makes_unknown=any(begin <= at <= end + MINUTE_NS for at in marks),
            )
            for evidence in ("volume of the candle", "silence")
            for begin, end in _runs(minute for minute, why in missing.items() if why == evidence)
        ]
        found.missing.sort(key=lambda each: each.begin_ns)
        found.not_proven = _runs(not_proven)


def coverage_document(
    symbol: str, tally: CoverageTally, chosen: FeatureSet, *, begin_ns: int, end_ns: int
) -> dict[str, Any]:
    """The certificate as JSON: every stream with its missing ranges and its days, oldest first.

    chosen: whose features are told of. expected and held are in the stream's unit, of whole days and of the part of the
    first and the last that lies in the period.
    """
    return {
        "symbol": symbol,
        "from": format_iso(begin_ns),
        "to": format_iso(end_ns),
        "feature_registry_version": chosen.version,
        "streams": {
            STREAMS[kind]: _stream_document(tally, covered, chosen, begin_ns=begin_ns, end_ns=end_ns)
            for kind, covered in tally.finish().items()
        },
    }


def _stream_document(
    tally: CoverageTally, covered: StreamCoverage, chosen: FeatureSet, *, begin_ns: int, end_ns: int
) -> dict[str, Any]:
    days = [
        _day_document(tally, covered, max(day, begin_ns), min(day + DAY_NS, end_ns))
        for day in range(floor_to(begin_ns, DAY_NS), end_ns, DAY_NS)
    ]
    return {
        "unit": UNITS[covered.kind],
        "expected": sum(day["expected"] for day in days),
        "held": sum(day["held"] for day in days),
        "messages_live": sum(day["messages_live"] for day in days),
        "messages_backfilled": sum(day["messages_backfilled"] for day in days),
        "missing": [_missing_document(each, covered.kind, chosen) for each in covered.missing],
        "not_proven": [{"from": format_iso(begin), "to": format_iso(end)} for begin, end in covered.not_proven],
        "days": days,
    }


def _day_document(tally: CoverageTally, covered: StreamCoverage, begin_ns: int, end_ns: int) -> dict[str, Any]:
    """coverage: share of the day's time in which nothing is missing."""
    day_ns = floor_to(begin_ns, DAY_NS)
    ranges = [(max(each.begin_ns, begin_ns), min(each.end_ns, end_ns)) for each in covered.missing]
    lost_ns = sum(end - begin for begin, end in _joined(ranges))
    live, backfilled = tally.held(covered.kind, day_ns)
    if covered.kind == ORDERBOOK:
        expected, held = tally.expected_books(day_ns, covered.missing)
    else:
        unit_ns = SECOND_NS if covered.kind == TICKER else MINUTE_NS
        expected = (end_ns - begin_ns) // unit_ns
        held = expected - -(-lost_ns // unit_ns)
    return {
        "date": utc_date(day_ns),
        "expected": expected,
        "held": held,
        "messages_live": live,
        "messages_backfilled": backfilled,
        "coverage": 1 - lost_ns / (end_ns - begin_ns),
    }


def _missing_document(missing: Missing, kind: int, chosen: FeatureSet) -> dict[str, Any]:
    ids = None
    if missing.first_id is not None and missing.count:
        ids = [missing.first_id, missing.first_id + missing.count - 1]
    begin_ns, end_ns = missing.effect_ns or (missing.begin_ns, missing.end_ns)
    reading = [group.name for group in chosen.groups if group.name in GROUPS and kind in group_kinds(group.name)]
    until = {group: format_iso(end_ns + group_warm_up_ns(group)) for group in reading}
    return {
        "from": format_iso(missing.begin_ns),
        "to": format_iso(missing.end_ns),
        "evidence": missing.evidence,
        "messages": missing.count,
        "update_ids": ids,
        "unknown_from": format_iso(begin_ns) if missing.makes_unknown else None,
        "unknown_until": until if missing.makes_unknown else {},
        "computed_without": [] if missing.makes_unknown else reading,
    }


def _runs(minutes: Iterable[int]) -> list[Range]:
    """Minutes as ranges."""
    return _joined([(minute, minute + MINUTE_NS) for minute in sorted(minutes)])


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges without those that are empty, in order, with those that touch or overlap made one."""
    joined: list[Range] = []
    for begin, end in sorted(each for each in ranges if each[0] < each[1]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return joined


def day_picture(streams: Mapping[str, Any]) -> dict[str, str]:
    """Each stream's days as characters, oldest first: from blank, nothing held, to a full bar, nothing missing."""
    bars = " ░▒▓"
    return {
        name: "".join(
            "█" if day["coverage"] == 1 else bars[-(-int(day["coverage"] * 1000) * (len(bars) - 1) // 1000)]
            for day in stream["days"]
        )
        for name, stream in streams.items()
    }
