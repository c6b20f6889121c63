"""Data quality by the minute: each whole minute of every tape is judged once, from behind, off the path of live rows.

1. A minute is judged SETTLED_NS after its end, when the tape has it on disk.
2. The end of the last run is in the table; at most MOST_MINUTES are caught up on, older ones are left out.
3. What begins or ends is a line of the log, once; what many symbols have in common is one line.
4. A symbol that fails leaves the others to be judged, and is a problem of the run.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ingestion.decoding.scales import Instruments
from ingestion.tape.minutes import tape_minutes
from ingestion.venues.decoders import Decoders, tape_venue
from market.clock import MINUTE_NS, SECOND_NS, floor_to, to_datetime, to_ns
from market.errors import FeatureServiceError, StoreUnavailable
from quality.limits import QualityLimits
from quality.minutes import Carried, MinuteQuality, QualityEvent, judge_minute
from storage.database.minute_quality import MinuteQualityStore, Reached, StoredEvent
from storage.tape import tape_symbols
from upkeep.tasks import Reach

_log = logging.getLogger(__name__)

SETTLED_NS: Final = 5 * SECOND_NS
MOST_MINUTES: Final = 15
MOST_LINES: Final = 3
"""Symbols that have the same trouble and a line of the log each."""


def judge_minutes(  # noqa: PLR0913  # what it reads, what it writes, and when
    raw_folder: Path,
    instruments: Instruments,
    store: MinuteQualityStore,
    limits: QualityLimits,
    *,
    symbols: Collection[str],
    now_ns: int,
    reach: Reach,
) -> Mapping[str, Any]:
    """Judge the minutes of the symbols' tapes that were not yet.

    Raises StoreUnavailable when the database does not answer.
    """
    end_ns = floor_to(now_ns - SETTLED_NS, MINUTE_NS)
    reached = store.reached()
    known = {_key(each): each for each in store.events(to_datetime(end_ns - MOST_MINUTES * MINUTE_NS))}
    minutes = events = 0
    problems: list[str] = []
    written = [symbol for symbol in tape_symbols(raw_folder) if symbol in symbols]
    news: list[News] = []
    try:
        for at, symbol in enumerate(written):
            reach(at / len(written))
            try:
                judged = _judged(raw_folder, symbol, instruments, reached.get(symbol), limits, end_ns=end_ns)
            except StoreUnavailable:
                raise
            except FeatureServiceError as error:
                problems.append(f"{symbol}: minutes could not be evaluated: {error}")
                continue
            # One transaction a symbol: some rows and the few events of each minute.
            found = [stored_event(symbol, each) for minute, _ in judged for each in minute.events]
            store.add([_row(symbol, minute, seq) for minute, seq in judged], found)
            news += news_of(found, known)
            minutes += len(judged)
            events += len(found)
    finally:
        log_news(news)
    return {"symbols": len(written), "minutes": minutes, "events": events, "problems": problems}


def _judged(
    raw_folder: Path,
    symbol: str,
    instruments: Instruments,
    reached: Reached | None,
    limits: QualityLimits,
    *,
    end_ns: int,
) -> list[tuple[MinuteQuality, int | None]]:
    """Each minute that is due, and the seq with which the next one begins."""
    instrument = instruments.get(symbol)
    if instrument is None:
        return []
    begin_ns, seq, carried = end_ns - MINUTE_NS, None, Carried()
    if reached is not None:
        next_ns = to_ns(reached.minute) + MINUTE_NS
        if next_ns >= end_ns - MOST_MINUTES * MINUTE_NS:
            begin_ns, seq, carried = next_ns, reached.next_seq, Carried.from_document(reached.carried)
    scales = 10.0**instrument.price_exponent, 10.0**instrument.quantity_exponent
    judged = []
    for minute_ns, events, next_seq in tape_minutes(
        raw_folder,
        symbol,
        Decoders(tape_venue(raw_folder, symbol), instruments),
        begin_ns=begin_ns,
        end_ns=end_ns,
        seq=seq,
    ):
        minute = judge_minute(events, minute_ns, carried, scales=scales, limits=limits)
        carried = minute.carried
        judged.append((minute, next_seq))
    return judged


def _row(symbol: str, minute: MinuteQuality, next_seq: int | None) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "metric_timestamp": to_datetime(minute.begin_ns),
        "missing_rate": minute.missing_rate,
        "anomaly_rate": minute.anomaly_rate,
        "sequence_gaps_count": minute.sequence_gaps,
        "desynchronization_events_count": minute.desynchronizations,
        "data_completeness_rate": minute.completeness,
        "received": dict(minute.received),
        "next_seq": next_seq,
        "carried": minute.carried.document(),
    }


def _key(event: StoredEvent) -> tuple[object, ...]:
    return event.symbol, event.stream, event.what, event.begin_at


@dataclass(frozen=True, slots=True)
class News:
    """What began, or what was known to last and is over."""

    symbol: str
    level: int
    what: str
    """Of which thing of which stream; the same of several symbols is told together."""
    told: str


def news_of(found: Iterable[StoredEvent], known: dict[tuple[object, ...], StoredEvent]) -> Iterator[News]:
    """What is new, and the end of what was known to last; ``known`` is what is stored."""
    for event in found:
        before, what = known.get(_key(event)), f"{event.stream} {event.what}"
        known[_key(event)] = event
        lasted = "" if event.end_at is None else f", {(event.end_at - event.begin_at).total_seconds():.1f} s"
        since = f"{what} since {event.begin_at.isoformat()}"
        if before is None:
            level = logging.INFO if event.severity == "info" else logging.WARNING
            yield News(event.symbol, level, what, f"{since}{lasted}: {event.detail}")
        elif before.end_at is None and lasted:
            yield News(event.symbol, logging.INFO, f"{what} is over", f"{since} is over{lasted}")


def log_news(news: Iterable[News]) -> None:
    """A line for each, but one for what more than MOST_LINES symbols have in common: a queue that was down is one."""
    alike: dict[tuple[int, str], dict[str, list[News]]] = {}
    for each in news:
        alike.setdefault((each.level, each.what), {}).setdefault(each.symbol, []).append(each)
    for (level, _), by_symbol in alike.items():
        if len(by_symbol) > MOST_LINES:
            symbol, [first, *_] = next(iter(by_symbol.items()))
            _log.log(level, "%s and %d others: %s", symbol, len(by_symbol) - 1, first.told)
            continue
        for symbol, told in by_symbol.items():
            for each in told:
                _log.log(level, "%s %s", symbol, each.told)


def stored_event(symbol: str, event: QualityEvent) -> StoredEvent:
    """The event of a symbol as its table keeps it."""
    return StoredEvent(
        symbol=symbol,
        stream=event.stream,
        what=event.what,
        severity=event.severity,
        begin_at=to_datetime(event.begin_ns),
        end_at=None if event.end_ns is None else to_datetime(event.end_ns),
        detail=event.detail,
    )
