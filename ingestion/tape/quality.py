"""The data quality report of a symbol: raw Parquet and the feature log of a period, read once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from market.clock import MINUTE_NS, SECOND_NS, floor_to, format_period
from market.errors import InvalidRequest, NotFound
from market.events import ARRIVALS, CANDLE, KLINE, ORDERBOOK, TICKER, TRADE, Events
from quality.arrivals import Arrivals
from quality.book_holes import BookHoles
from quality.data_report import Observed, quality_document
from quality.limits import USUAL_LIMITS, QualityLimits
from quality.market_streams import MarketStreams
from storage.features.log import FeatureLog
from storage.raw.events import stream_events, stream_heads
from storage.raw.raw_data import RawData
from transforms.rows import FeatureRows, FeatureSet

_BOOK_FIELDS: Final = ("seq", "recv_ns", "event_ns", "update_id", "flags")
_TOLD_AFTER_NS: Final = 2 * MINUTE_NS
_MARKET_FIELDS: Final = ("seq", "recv_ns", "event_ns", "update_id", "px", "qty", "field", "flags")


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolReport:
    """The report of one symbol, as a task that an engine performs; the arguments of ``symbol_quality``."""

    raw: RawData
    log: FeatureLog
    symbol: str
    served: FeatureSet
    from_ns: int
    to_ns: int
    limits: QualityLimits

    def perform(self, is_stopping: Callable[[], bool]) -> dict[str, Any]:  # noqa: ARG002  # a report is a whole
        """Raises what ``symbol_quality`` does."""
        return symbol_quality(
            self.raw,
            self.log,
            self.symbol,
            self.served,
            from_ns=self.from_ns,
            to_ns=self.to_ns,
            limits=self.limits,
        )


def symbol_quality(  # noqa: PLR0913  # what is read, of when, and what is too much
    raw: RawData,
    log: FeatureLog,
    symbol: str,
    served: FeatureSet,
    *,
    from_ns: int,
    to_ns: int,
    limits: QualityLimits = USUAL_LIMITS,
) -> dict[str, Any]:
    """The report of ``quality.data_report`` on what raw Parquet holds with ``from_ns <= recv_ns < to_ns``.

    served: the feature set whose rows are checked. Data on the tape that is not compacted yet is not checked;
    ``unchecked`` says so.

    Raises NotFound when nothing was ever held of the symbol, InvalidRequest for an empty period, CorruptStore.
    """
    if from_ns >= to_ns:
        raise InvalidRequest(f"period: must begin before it ends, was {format_period(from_ns, to_ns)}")
    first_ns, last_ns = raw.period(symbol)
    instrument = raw.instrument(symbol)
    book = BookHoles(limits=limits)
    market = MarketStreams(
        scales=(10.0**instrument.price_exponent, 10.0**instrument.quantity_exponent),
        limits=limits,
    )
    # What a minute counted is told at its end.
    arrivals = Arrivals(floor_to(from_ns, MINUTE_NS), to_ns)
    told = stream_events(raw, symbol, kinds=(ARRIVALS,), from_ns=from_ns, to_ns=to_ns + _TOLD_AFTER_NS)
    for events, _ in told:
        arrivals.add(events)
    held: list[int] = []
    for heads in stream_heads(raw, symbol, kinds=(ORDERBOOK,), from_ns=from_ns, to_ns=to_ns, fields=_BOOK_FIELDS):
        book.add(heads)
        held += _ends(heads)
    kinds = (TRADE, KLINE, CANDLE, TICKER)
    for events, _ in stream_events(raw, symbol, kinds=kinds, from_ns=from_ns, to_ns=to_ns, fields=_MARKET_FIELDS):
        market.add(events)
        held += _ends(events)
    book.offset.finish()
    unchecked = {}
    if last_ns < to_ns - SECOND_NS:
        unchecked["after"] = "raw Parquet ends before the period does: the open tape was not checked"
    if first_ns > from_ns + SECOND_NS:
        unchecked["before"] = "raw Parquet begins after the period does"
    return quality_document(
        Observed(
            symbol=symbol,
            from_ns=from_ns,
            to_ns=to_ns,
            held_ns=(min(held), max(held)) if held else None,
            book=book,
            market=market,
            arrivals=arrivals,
            rows=_served_rows(log, symbol, served, from_ns, to_ns),
            unchecked=unchecked,
        ),
        limits,
    )


def _ends(events: Events) -> list[int]:
    return [int(events["recv_ns"].min()), int(events["recv_ns"].max())] if len(events) else []


def _served_rows(log: FeatureLog, symbol: str, served: FeatureSet, from_ns: int, to_ns: int) -> FeatureRows | None:
    try:
        # A live worker's last part may be there of some groups alone.
        rows, _ = log.read(symbol, served, from_ns=from_ns, to_ns=to_ns, served_only=True, whole_only=True)
    except NotFound:
        return None
    return rows
