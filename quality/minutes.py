"""The data quality of one minute of a symbol: its figures, and what is wrong, from its begin to its end.

1. A minute is judged with what the one before left to it, so that a cut between two hides nothing.
2. What is wrong has a begin that stays the same: told again in a later minute, with its end, it is the same event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from market.clock import MINUTE_NS, SECOND_NS
from market.events import KIND_NAMES, ORDERBOOK, TRADE, Events
from quality.arrivals import Arrivals
from quality.book_holes import BookHoles, Hole
from quality.limits import QualityLimits, is_odd
from quality.market_streams import MarketStreams

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a minute leaves to the next; None and empty where nothing is known.

    last_ns: of the last message, by kind. broken_by: the hole that no snapshot repaired. offset_ns: the median of the
    clock offset. candle_ns: start of the last confirmed candle. received: messages by kind.
    """

    update_id: int | None = None
    last_ns: Mapping[int, int] = field(default_factory=dict)
    broken_by: Hole | None = None
    offset_ns: int | None = None
    candle_ns: int | None = None
    received: Mapping[int, int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        hole = self.broken_by
        return {
            "update_id": self.update_id,
            "last_ns": {KIND_NAMES[kind]: at_ns for kind, at_ns in self.last_ns.items()},
            "broken_by": None if hole is None else [hole.begin_ns, hole.found_ns, hole.missing, hole.first_id],
            "offset_ns": self.offset_ns,
            "candle_ns": self.candle_ns,
            "received": {KIND_NAMES[kind]: count for kind, count in self.received.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Carried:
        """What ``document`` gave."""
        hole = document["broken_by"]
        return cls(
            update_id=document["update_id"],
            last_ns={KIND_NAMES.index(name): at_ns for name, at_ns in document["last_ns"].items()},
            broken_by=None if hole is None else Hole(hole[0], hole[1], hole[2], first_id=(hole[3:] or [None])[0]),
            offset_ns=document["offset_ns"],
            candle_ns=document["candle_ns"],
            # A version before this one left none.
            received={KIND_NAMES.index(name): count for name, count in document.get("received", {}).items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityEvent:
    """Something wrong with a stream of a symbol. end_ns: None while it lasts."""

    stream: str
    what: str
    severity: Severity
    begin_ns: int
    end_ns: int | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteQuality:
    """The figures of a minute, from ``begin_ns``; a rate is None where there was nothing to judge.

    received: messages by stream. completeness: share of the minute in which the book was whole and no stream silent;
    None before anything was received.
    """

    begin_ns: int
    received: Mapping[str, int]
    missing_rate: float | None
    anomaly_rate: float | None
    sequence_gaps: int
    desynchronizations: int
    completeness: float | None
    events: tuple[QualityEvent, ...]
    carried: Carried


def judge_minute(
    events: Events, begin_ns: int, before: Carried, *, scales: tuple[float, float], limits: QualityLimits
) -> MinuteQuality:
    """Judge the events of the minute from ``begin_ns`` on, in tape order. scales: of prices and of quantities."""
    last_ns = before.last_ns.get(ORDERBOOK)
    book = BookHoles(last_id=before.update_id, last_ns=last_ns, broken_by=before.broken_by, limits=limits)
    market = MarketStreams(scales=scales, last_ns=before.last_ns, limits=limits)
    book.add(events)
    book.offset.finish()
    market.add(events)
    after = _carried(book, market, before)
    missing_candle = _missing_candle(market, begin_ns, before)
    expected = book.expected + (missing_candle is not None)
    missing = book.missing + bool(missing_candle)
    missing_rate = missing / expected if expected else None
    outliers = market.outliers
    anomaly_rate = len(outliers.found) / outliers.judged if outliers.judged else None
    found = [*_holes(book, before, limits.repair_s * SECOND_NS), *_interruptions(book)]
    found += _silences(book, market, after, begin_ns + MINUTE_NS, limits.silences_ns)
    wrong = [(each.begin_ns, each.end_ns or begin_ns + MINUTE_NS) for each in found]
    if missing_rate is not None and book.missing and missing_rate >= limits.missing_rate:
        found.append(_of_minute("orderbook", "missing", begin_ns, f"{missing_rate:.2%}"))
    if missing_candle:
        # One of many messages, and the only one of its minute.
        found.append(_of_minute("kline", "missing", begin_ns, "the candle of the previous minute did not arrive"))
    if anomaly_rate is not None and outliers.found and anomaly_rate >= limits.anomaly_rate:
        first = outliers.found[0]
        told = f"a {first.what} of {first.value:g} against {first.reference:g}, {anomaly_rate:.2%} of the trades"
        found.append(_of_minute("trade", "outliers", begin_ns, told))
    if None not in {before.offset_ns, after.offset_ns} and before.offset_ns != after.offset_ns:
        found += _offset_jump(begin_ns, before, after, limits.clock_jump_ns)
    found += _odd_arrivals(events, begin_ns, before, limits)
    return MinuteQuality(
        begin_ns=begin_ns,
        received={KIND_NAMES[kind]: count for kind, count in after.received.items()},
        missing_rate=missing_rate,
        anomaly_rate=anomaly_rate,
        sequence_gaps=len(book.holes),
        desynchronizations=len(book.holes) + len(book.outages),
        completeness=1.0 - _share(wrong, begin_ns) if after.last_ns else None,
        events=tuple(found),
        carried=after,
    )


def _carried(book: BookHoles, market: MarketStreams, before: Carried) -> Carried:
    last_ns = {kind: pauses.last_ns for kind, pauses in market.pauses.items()}
    last_ns[ORDERBOOK] = book.received_ns
    return Carried(
        update_id=book.last_id,
        last_ns={kind: at_ns for kind, at_ns in last_ns.items() if at_ns is not None},
        broken_by=book.broken_by,
        offset_ns=book.offset.minutes[-1][1] if book.offset.minutes else None,
        received={ORDERBOOK: book.received, **{kind: pauses.received for kind, pauses in market.pauses.items()}},
        candle_ns=max([*market.candles, *([] if before.candle_ns is None else [before.candle_ns])], default=None),
    )


def _missing_candle(market: MarketStreams, begin_ns: int, before: Carried) -> bool | None:
    """Whether the candle of the previous minute did not arrive; None when it is not known that candles come."""
    if before.candle_ns is None:
        return None
    return max([before.candle_ns, *market.candles]) < begin_ns - MINUTE_NS


def _holes(book: BookHoles, before: Carried, quick_repair_ns: int) -> list[QualityEvent]:
    """Holes up to the snapshot that repaired them; those before one snapshot are one event."""
    leading: list[Hole] = []
    for hole in [*([] if before.broken_by is None else [before.broken_by]), *book.holes]:
        repaired_ns = leading[-1].repaired_ns if leading else 0
        if repaired_ns is not None and hole.found_ns > repaired_ns:
            leading.append(hole)
    return [
        QualityEvent(
            stream="orderbook",
            what="gap",
            severity="critical"
            if hole.repaired_ns is None
            else "info"
            if hole.repaired_ns - hole.found_ns <= quick_repair_ns
            else "warning",
            begin_ns=hole.begin_ns,
            end_ns=hole.repaired_ns,
            detail=f"{hole.missing} messages are missing",
        )
        for hole in leading
    ]


def _interruptions(book: BookHoles) -> list[QualityEvent]:
    told = "ingest may have missed messages"
    return [
        QualityEvent(stream="all", what="interruption", severity="info", begin_ns=begin_ns, end_ns=end_ns, detail=told)
        for begin_ns, end_ns in book.outages
    ]


def _silences(
    book: BookHoles, market: MarketStreams, after: Carried, end_ns: int, silences_ns: Mapping[int, int]
) -> list[QualityEvent]:
    # An interruption ends the silence that the minute before told of.
    cut = [
        (begin_ns, until_ns)
        for begin_ns, until_ns in book.interruptions
        if until_ns - begin_ns > silences_ns[ORDERBOOK]
    ]
    spans: dict[int, list[tuple[int, int | None]]] = {ORDERBOOK: [*book.silences, *cut]}
    spans |= {kind: [*pauses.silences] for kind, pauses in market.pauses.items()}
    found = []
    for kind, longest_ns in silences_ns.items():
        last_ns = after.last_ns.get(kind)
        if last_ns is not None and end_ns - last_ns > longest_ns:
            spans[kind].append((last_ns, None))
        for begin_ns, until_ns in spans[kind]:
            traded_ns = after.last_ns.get(TRADE, 0)
            is_frozen = kind == ORDERBOOK and until_ns is None and traded_ns > begin_ns + longest_ns
            found.append(
                QualityEvent(
                    stream=KIND_NAMES[kind],
                    what="silence",
                    severity="critical" if is_frozen else "warning",
                    begin_ns=begin_ns,
                    end_ns=until_ns,
                    detail="the book was frozen while the symbol traded" if is_frozen else "no message arrived",
                )
            )
    return found


def _of_minute(stream: str, what: str, begin_ns: int, detail: str) -> QualityEvent:
    return QualityEvent(
        stream=stream, what=what, severity="warning", begin_ns=begin_ns, end_ns=begin_ns + MINUTE_NS, detail=detail
    )


def _offset_jump(begin_ns: int, before: Carried, after: Carried, jump_ns: int) -> list[QualityEvent]:
    assert before.offset_ns is not None
    assert after.offset_ns is not None
    change_ns = after.offset_ns - before.offset_ns
    if abs(change_ns) <= jump_ns:
        return []
    return [_of_minute("orderbook", "clock_jump", begin_ns, f"the clock offset changed by {change_ns / 1e6:.0f} ms")]


def _odd_arrivals(events: Events, begin_ns: int, before: Carried, limits: QualityLimits) -> list[QualityEvent]:
    """What of the minute before came late or again, which the tape tells once it is over."""
    arrivals = Arrivals(begin_ns - MINUTE_NS, begin_ns)
    arrivals.add(events)
    found = []
    for kind, counts in arrivals.by_kind.items():
        name, received = KIND_NAMES[kind], before.received.get(kind, 0)
        if is_odd(counts.late, received, limits.late_rate):
            most_ms = counts.most_late_ns / 1e6
            told = f"{counts.late} messages came after their row was closed, by at most {most_ms:.0f} ms"
            found.append(_of_minute(name, "late", begin_ns - MINUTE_NS, told))
        if is_odd(counts.repeated, received, limits.duplicate_rate):
            # A restart and a rotation of connections bring some again; that it goes on is an alert of its own.
            told = f"{counts.repeated} messages came again"
            found.append(replace(_of_minute(name, "repeated", begin_ns - MINUTE_NS, told), severity="info"))
    return found


def _share(spans: list[tuple[int, int]], begin_ns: int) -> float:
    """The share of the minute that the spans cover together."""
    covered, reached_ns = 0, begin_ns
    for first_ns, last_ns in sorted(spans):
        end_ns = min(last_ns, begin_ns + MINUTE_NS)
        covered += max(0, end_ns - max(first_ns, reached_ns))
        reached_ns = max(reached_ns, end_ns)
    return covered / MINUTE_NS
