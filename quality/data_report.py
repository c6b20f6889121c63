"""The data quality report of a symbol and period: figures per stream, what is wrong with them, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from market.clock import MINUTE_NS, SECOND_NS, format_iso
from market.events import KLINE, ORDERBOOK, TICKER, TRADE
from quality.arrivals import Arrivals
from quality.book_holes import BookHoles, Hole
from quality.clock_offset import ClockOffset
from quality.courses import offset_course, unknown_course
from quality.crossed_book import crossed_spans
from quality.limits import QualityLimits
from quality.market_streams import MarketStreams
from quality.recommendations import recommendations
from quality.unknown_reasons import unknown_by_reason
from transforms.rows import FeatureRows
from transforms.status import GAP, STATUS_NAMES

MOST_DETAILS: Final = 100
"""Told one by one; the counts are of all."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a report is made of.

    held_ns: receive times of the first and the last message in the period; None when there is none. rows: of the
    feature log, None where none was served. unchecked: what could not be checked, with the reason.
    """

    symbol: str
    from_ns: int
    to_ns: int
    held_ns: tuple[int, int] | None
    book: BookHoles
    market: MarketStreams
    arrivals: Arrivals
    rows: FeatureRows | None
    unchecked: Mapping[str, str] = field(default_factory=dict)


def quality_document(seen: Observed, limits: QualityLimits) -> Document:
    """The report as JSON, without ``id`` and ``created_at``.

    missing_rate: missing over expected messages, of the streams whose expected number is known (order book by update
    id, klines by the minute); None when nothing was expected. anomaly_rate: outliers over the trades that were judged;
    None when none was. late_messages, duplicate_messages: of all streams. A figure that cannot be had is None, and
    ``unchecked`` says why. limits: from when on something is recommended.
    """
    market, book = seen.market, seen.book
    klines, crossed = _klines(seen), crossed_spans(seen.rows, book)
    expected = book.expected + (klines["expected"] or 0)
    missing = book.missing + (klines["missing"] or 0)
    outliers = market.outliers
    compared, differing = market.differing_minutes()
    document: Document = {
        "symbol": seen.symbol,
        "period_start": format_iso(seen.from_ns),
        "period_end": format_iso(seen.to_ns),
        "held": None
        if seen.held_ns is None
        else {"from": format_iso(seen.held_ns[0]), "to": format_iso(seen.held_ns[1])},
        "missing_rate": missing / expected if expected else None,
        "anomaly_rate": len(outliers.found) / outliers.judged if outliers.judged else None,
        "anomalies": len(outliers.found),
        "sequence_gaps": len(book.holes),
        "desynchronization_events": len(book.holes) + len(book.outages),
        "sequence_gap_details": [_hole(hole) for hole in book.holes[:MOST_DETAILS]],
        "interruptions": [_span(begin, end) for begin, end in book.outages[:MOST_DETAILS]],
        "anomaly_details": [
            {
                "time": format_iso(found.time_ns),
                "what": f"{found.what} of a trade",
                "value": found.value,
                "reference": found.reference,
            }
            for found in outliers.found[:MOST_DETAILS]
        ],
        "streams": {
            "orderbook": _stream(book.received, book.expected, book.missing, book.silences)
            | _odd(seen, ORDERBOOK, book.duplicates)
            | {"snapshots": book.snapshots},
            "trade": _stream(market.pauses[TRADE].received, None, None, market.pauses[TRADE].silences)
            | _odd(seen, TRADE)
            | {
                "trades": market.trades,
                "minutes_compared_with_klines": compared,
                "minutes_that_differ": len(differing),
            },
            "ticker": _stream(market.pauses[TICKER].received, None, None, market.pauses[TICKER].silences)
            | _odd(seen, TICKER),
            "kline": klines,
        },
        "trade_minutes_that_differ": [format_iso(at) for at in differing[:MOST_DETAILS]],
        "crossed_book": None if crossed is None else [_span(begin, end) for begin, end in crossed[:MOST_DETAILS]],
        "frozen_book": [_span(begin, end) for begin, end in _frozen(seen)[:MOST_DETAILS]],
        "clock_offset_ms": _offset(book.offset),
        "features": _features(seen),
    }
    for name, each in (("late_messages", "late"), ("duplicate_messages", "duplicates")):
        document[name] = None if seen.held_ns is None else sum(of[each] for of in document["streams"].values())
    document["unchecked"] = dict(seen.unchecked) | _unchecked(document)
    document["recommendations"] = recommendations(document, limits)
    return document


def _stream(received: int, expected: int | None, missing: int | None, silences: Sequence[tuple[int, int]]) -> Document:
    longest = sorted(silences, key=lambda pause: pause[0] - pause[1])[:10]
    return {
        "received": received,
        "expected": expected,
        "missing": missing,
        "silences": len(silences),
        "longest_silences": [_span(begin, end) for begin, end in longest],
    }


def _odd(seen: Observed, kind: int, on_tape: int = 0) -> Document:
    """What came late or again. on_tape: messages that came again and that the tape holds twice."""
    counts = seen.arrivals.of(kind)
    return {
        "late": counts.late,
        "most_late_ms": counts.most_late_ns / 1e6 if counts.late else None,
        "duplicates": counts.repeated + on_tape,
    }


def _span(begin_ns: int, end_ns: int) -> Document:
    return {"from": format_iso(begin_ns), "to": format_iso(end_ns), "seconds": (end_ns - begin_ns) / SECOND_NS}


def _hole(hole: Hole) -> Document:
    repaired = hole.repaired_ns
    return {
        "stream": "orderbook",
        "from": format_iso(hole.begin_ns),
        "to": format_iso(hole.found_ns),
        "missing": hole.missing,
        "repaired": None if repaired is None else format_iso(repaired),
        "seconds_to_repair": None if repaired is None else (repaired - hole.found_ns) / SECOND_NS,
    }


def _klines(seen: Observed) -> Document:
    market = seen.market
    pauses = market.pauses[KLINE]
    held = seen.held_ns
    if held is None or not market.candles:
        nothing: Document = {"missing_minutes": [], "early": _early(market)}
        return _stream(pauses.received, None, None, pauses.silences) | _odd(seen, KLINE) | nothing
    # A candle is due once its minute is over and lay inside what is held; the newest may still be on its way.
    first = -(-max(seen.from_ns, held[0]) // MINUTE_NS) * MINUTE_NS
    due = range(first, min(seen.to_ns, held[1]) - 2 * MINUTE_NS + 1, MINUTE_NS)
    missing = [start_ns for start_ns in due if start_ns not in market.candles]
    document = _stream(pauses.received, len(due), len(missing), pauses.silences)
    candles = {"missing_minutes": [format_iso(at) for at in missing[:MOST_DETAILS]], "early": _early(market)}
    return document | _odd(seen, KLINE, market.repeated_candles) | candles


def _early(market: MarketStreams) -> dict[str, int]:
    """Candles that were confirmed before their end, by the minutes of their interval."""
    return {str(minutes): count for minutes, count in sorted(market.early_candles.items())}


def _frozen(seen: Observed) -> list[tuple[int, int]]:
    """Silences of the book during which the symbol traded: a book that was frozen while the market moved."""
    trades = seen.market.pauses[TRADE].silences
    return [
        (begin, end)
        for begin, end in seen.book.silences
        if seen.market.trades and not any(quiet <= begin and end <= busy for quiet, busy in trades)
    ]


def _offset(offset: ClockOffset) -> Document | None:
    if not offset.minutes or offset.least_ns is None or offset.greatest_ns is None:
        return None
    medians = np.array([median for _, median in offset.minutes])
    return {
        "least": offset.least_ns / 1e6,
        "median": float(np.median(medians)) / 1e6,
        "greatest": offset.greatest_ns / 1e6,
        "course": offset_course(offset.minutes),
        "jumps": [{"time": format_iso(at), "ms": change / 1e6} for at, change in offset.jumps[:MOST_DETAILS]],
    }


def _features(seen: Observed) -> Document | None:
    rows = seen.rows
    if rows is None or len(rows) == 0:
        return None
    expected = (int(rows.row_ns[-1]) - int(rows.row_ns[0])) // SECOND_NS + 1
    is_unknown = np.isnan(rows.values)
    unknown = is_unknown.mean(axis=0)
    return {
        "rows": len(rows),
        "expected_rows": expected,
        "registry_version": rows.feature_set.version,
        "unknown_share": {
            name: round(share, 6) for name, share in zip(rows.feature_set.columns, unknown.tolist(), strict=True)
        },
        "unknown_by_reason": unknown_by_reason(rows, is_unknown),
        "unknown_course": unknown_course(rows, is_unknown, seen.from_ns, seen.to_ns),
        "status_share": {
            group.name: {
                STATUS_NAMES[status]: round(float(np.mean(rows.status[:, at] == status)), 6)
                for status in np.unique(rows.status[:, at]).tolist()
            }
            for at, group in enumerate(rows.feature_set.groups)
        },
        "book_broken_seconds": _broken_seconds(rows),
    }


def _broken_seconds(rows: FeatureRows) -> int | None:
    """Seconds whose order book was broken; None where no served group reads it."""
    at = [index for index, group in enumerate(rows.feature_set.groups) if group.name == "orderbook"]
    return int(np.count_nonzero(rows.status[:, at[0]] == GAP)) if at else None


def _unchecked(document: Document) -> dict[str, str]:
    reasons = {}
    streams = document["streams"]
    if document["held"] is None:
        return {"streams": "no message of the period is stored"}
    if streams["kline"]["expected"] is None:
        reasons["kline"] = "no confirmed candle was received, so none is known to be expected"
    if streams["trade"]["minutes_compared_with_klines"] == 0:
        reasons["trade"] = "trades are not numbered, and there is no candle to compare their volume with"
    if streams["orderbook"]["received"] == 0:
        reasons["orderbook"] = "no order book message was received"
    if document["features"] is None:
        reasons.setdefault("features", "no feature row was served in the period")
    return reasons
