"""The coverage certificate of a symbol, from the records that there are of it, and of what a dataset was made of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any, Final

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, floor_to
from market.errors import InvalidRequest
from market.events import KLINE, ORDERBOOK, TICKER, TRADE
from quality.coverage import STREAMS, CoverageTally
from quality.coverage_document import coverage_document
from quality.time_ranges import Range
from storage.raw.events import stream_events, stream_heads
from storage.raw.raw_data import RawData
from training_sets.last_used import LastUsed
from training_sets.rebuild.due_days import inputs_digest
from training_sets.request.folds import covered
from training_sets.request.request import DatasetRequest
from training_sets.samples.book_parts import KnownBookParts, stream_book_runs
from training_sets.samples.kline_days import KlineHistory, KnownKlines, as_heads
from training_sets.samples.prices import LATEST_ARRIVAL_NS
from transforms.catalogue import set_kinds
from transforms.rows import FeatureSet

_TRADE_FIELDS: Final = ("seq", "recv_ns", "event_ns", "update_id", "qty")
_TICKER_FIELDS: Final = ("seq", "recv_ns")
MOST_KNOWN: Final = 32
AROUND_NS: Final = MINUTE_NS
"""A trade of the period may come a little before it or after it, by the difference of two clocks."""


def symbol_coverage(  # noqa: PLR0913  # what is certified, of when, and what is known of it
    history: KlineHistory,
    symbol: str,
    chosen: FeatureSet,
    period: Range,
    *,
    books: KnownBookParts | None = None,
    kinds: Collection[int] = tuple(STREAMS),
    late_ns: int = DAY_NS,
) -> dict[str, Any]:
    """The certificate of ``quality.coverage`` for a period, [begin, end) in ns, cut to whole minutes.

    chosen: the feature set for which it is stated what each hole makes unknown. books: what this process has read of
    order books before. kinds: of the streams that are listed.
    late_ns: for how long after the period its candles are looked for, since they may have been asked for later.

    Raises InvalidRequest for an empty period, CorruptStore.
    """
    begin_ns, end_ns = (floor_to(each, MINUTE_NS) for each in period)
    if begin_ns >= end_ns:
        raise InvalidRequest(f"period: must be a minute at least, was {period[0]} to {period[1]} ns")
    raw, tally = history.raw, CoverageTally(begin_ns, end_ns)
    if ORDERBOOK in kinds:
        known = KnownBookParts() if books is None else books
        for runs in stream_book_runs(raw, symbol, known, from_ns=begin_ns, to_ns=end_ns):
            tally.add_book_runs(runs)
    first_ns, last_ns = begin_ns - AROUND_NS, end_ns + AROUND_NS
    if TRADE in kinds:
        for events, _ in stream_events(
            raw, symbol, kinds=(TRADE,), from_ns=first_ns, to_ns=last_ns, fields=_TRADE_FIELDS
        ):
            tally.add_market(events)
    if TICKER in kinds:
        for heads in stream_heads(raw, symbol, kinds=(TICKER,), from_ns=first_ns, to_ns=last_ns, fields=_TICKER_FIELDS):
            tally.add_market(heads)
    # Candles are evidence of trades too.
    if {TRADE, KLINE}.intersection(kinds):
        for klines in history.stream(symbol, from_ns=begin_ns - AROUND_NS, to_ns=end_ns + late_ns):
            tally.add_market(as_heads(klines))
    return coverage_document(symbol, tally, chosen, begin_ns=begin_ns, end_ns=end_ns, kinds=kinds)


class KnownCertificates(LastUsed[tuple[Any, ...], dict[str, Any]]):
    """The last MOST_KNOWN certificates that a process has made: the same files say the same."""

    def __init__(self) -> None:
        super().__init__(MOST_KNOWN)


def dataset_coverage(
    request: DatasetRequest,
    chosen: FeatureSet,
    open_raw: Callable[[str, int], AbstractContextManager[RawData]],
    known: tuple[KnownCertificates, KnownKlines],
) -> list[dict[str, Any]]:
    """The certificate of each symbol of a dataset from its first period to its last, of the streams that it reads.

    open_raw: opens a symbol's records up to a time. known: what this process has made and read before. A certificate
    says the same whenever it is made of the same records: what comes later than any label of the period is not looked
    at. Of sessions there is none: a table has no stream. Raises CorruptStore, StoreUnavailable.
    """
    if request.sessions is not None:
        return []
    spans = covered(request.folds())
    from_ns, to_ns = spans[0][0], -(-spans[-1][1] // MINUTE_NS) * MINUTE_NS
    label = KLINE if request.label_price == "kline_close" else ORDERBOOK
    kinds = [kind for kind in STREAMS if kind in {*set_kinds(chosen), label}]
    certificates, klines = known
    found = []
    for symbol in request.symbols:
        with open_raw(symbol, to_ns) as raw:
            history = KlineHistory(raw, klines)
            files = inputs_digest(
                raw.parts(symbol), frozenset({*kinds, KLINE}), from_ns - AROUND_NS, to_ns + LATEST_ARRIVAL_NS
            )
            key = (symbol, chosen.version, chosen.fingerprint, from_ns, to_ns, *kinds, files)
            certificate = certificates.get(key)
            if certificate is None:
                certificate = symbol_coverage(
                    history, symbol, chosen, (from_ns, to_ns), kinds=kinds, late_ns=LATEST_ARRIVAL_NS
                )
                certificates.keep(key, certificate)
            found.append(certificate)
    return found


def held_period(raw: RawData, symbol: str, now_ns: int) -> tuple[int, int]:
    """The whole UTC days from the first message to the last, the last one until the minute before now.

    Raises NotFound when nothing was ever held of the symbol.
    """
    first_ns, last_ns = raw.period(symbol)
    end_ns = floor_to(last_ns, DAY_NS) + DAY_NS
    return floor_to(first_ns, DAY_NS), min(end_ns, max(floor_to(now_ns - SECOND_NS, MINUTE_NS), first_ns + MINUTE_NS))
