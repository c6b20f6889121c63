"""The coverage certificate of a symbol, from raw Parquet and, where that ends, the tape."""

from __future__ import annotations

from typing import Any, Final

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, floor_to
from market.errors import InvalidRequest
from market.events import KLINE, ORDERBOOK, TICKER, TRADE
from quality.coverage import CoverageTally, coverage_document
from storage.raw.events import stream_events
from storage.raw.raw_data import RawData
from transforms.rows import FeatureSet

_BOOK_FIELDS: Final = ("seq", "recv_ns", "event_ns", "update_id", "px", "field", "flags")
_MARKET_FIELDS: Final = ("seq", "recv_ns", "event_ns", "update_id", "px", "qty", "field", "flags")
AROUND_NS: Final = MINUTE_NS
"""A trade of the period may come a little before it or after it, by the difference of two clocks."""


def symbol_coverage(raw: RawData, symbol: str, chosen: FeatureSet, *, from_ns: int, to_ns: int) -> dict[str, Any]:
    """The certificate of ``quality.coverage`` for [from_ns, to_ns), cut to whole minutes.

    chosen: the feature set of which it is told what each hole makes unknown. Candles are looked for a day longer, for
    they may have been asked for later.

    Raises InvalidRequest for an empty period, CorruptStore.
    """
    begin_ns, end_ns = floor_to(from_ns, MINUTE_NS), floor_to(to_ns, MINUTE_NS)
    if begin_ns >= end_ns:
        raise InvalidRequest(f"period: must be a minute at least, was {from_ns} to {to_ns} ns")
    tally = CoverageTally(begin_ns, end_ns)
    for events, _ in stream_events(
        raw, symbol, kinds=(ORDERBOOK,), from_ns=begin_ns, to_ns=end_ns, fields=_BOOK_FIELDS
    ):
        tally.add_book(events)
    for kinds, until_ns in (((TRADE, TICKER), end_ns + AROUND_NS), ((KLINE,), end_ns + DAY_NS)):
        for events, _ in stream_events(
            raw, symbol, kinds=kinds, from_ns=begin_ns - AROUND_NS, to_ns=until_ns, fields=_MARKET_FIELDS
        ):
            # Marks come with every kind: once is enough.
            tally.add_market(events if KLINE not in kinds else events[events["kind"] == KLINE])
    return coverage_document(symbol, tally, chosen, begin_ns=begin_ns, end_ns=end_ns)


def held_period(raw: RawData, symbol: str, now_ns: int) -> tuple[int, int]:
    """The whole UTC days from the first message to the last, the last one until the minute before now.

    Raises NotFound when nothing was ever held of the symbol.
    """
    first_ns, last_ns = raw.period(symbol)
    end_ns = floor_to(last_ns, DAY_NS) + DAY_NS
    return floor_to(first_ns, DAY_NS), min(end_ns, max(floor_to(now_ns - SECOND_NS, MINUTE_NS), first_ns + MINUTE_NS))
