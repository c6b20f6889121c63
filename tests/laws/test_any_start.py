"""A computation started at least a column's horizon before a row gives the same row; a shorter one would not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS
from market.events import (
    BUY,
    FUNDING_RATE,
    INDEX_PRICE,
    MARK_PRICE,
    NEXT_FUNDING,
    OPEN_INTEREST,
    SELL,
    Events,
)
from tests.laws.running import assert_same, column_horizons, end_of, group_horizons, run, selected
from tests.laws.streams import (
    MIDNIGHT_NS,
    SHORT_GAPS_NS,
    book_message,
    kline_message,
    tape,
    tapes_with_cut,
    ticker_message,
    trade_message,
)
from transforms.catalogue import FEATURES
from transforms.declaration import BOOK, KLINES, NOTHING, TICKERS, TRADES, Feature, Source
from transforms.plan import Kernel

LATE_ROWS_NS: Final = 305 * SECOND_NS
"""Past a day, long enough for what the row of five minutes before knew."""


def assert_start_does_not_matter(
    kernel: Kernel, events: Events, cut_ns: int, until_ns: int, after_ns: int | None = None
) -> None:
    whole = run(kernel, events, until_ns, after_ns=after_ns)
    part = run(kernel, events[events["recv_ns"] >= cut_ns], until_ns, start_ns=cut_ns, after_ns=after_ns)
    history_ns = (part.row_ns - cut_ns)[:, None]
    cells = history_ns >= column_horizons(kernel.feature_set)[None, :]
    groups = history_ns >= group_horizons(kernel.feature_set)[None, :]
    assert_same(selected(whole, whole.row_ns >= part.row_ns[0]), part, cells, groups)


@settings(max_examples=80)
@given(drawn=tapes_with_cut())
def test_any_start_a_horizon_before_a_row_gives_the_same_row(kernel: Kernel, drawn: tuple[Events, int]) -> None:
    events, cut_ns = drawn
    assert_start_does_not_matter(kernel, events, cut_ns, end_of(events))


@settings(max_examples=4)
@given(drawn=tapes_with_cut(gaps_ns=SHORT_GAPS_NS))
def test_any_start_a_day_before_a_row_gives_the_same_ticker(kernel: Kernel, drawn: tuple[Events, int]) -> None:
    events, cut_ns = drawn
    memory_ns = cut_ns + DAY_NS
    assert_start_does_not_matter(kernel, events, cut_ns, memory_ns + LATE_ROWS_NS, memory_ns - 2 * SECOND_NS)


def test_a_start_between_the_newest_candle_and_older_ones_sent_again_gives_the_same_row(kernel: Kernel) -> None:
    first_ns = MIDNIGHT_NS + 10 * MINUTE_NS
    cut_ns = first_ns + SECOND_NS
    again = [
        kline_message(cut_ns + 2 * MINUTE_NS, first_ns - back * MINUTE_NS, 100_000 + back) for back in range(10, 1, -1)
    ]
    newest = kline_message(first_ns, first_ns - MINUTE_NS, 99_000)
    events = tape([newest, book_message(cut_ns, 5, bids=[(5, 5)], asks=[(6, 5)], is_snapshot=True), *again])
    assert_start_does_not_matter(kernel, events, cut_ns, cut_ns + 20 * MINUTE_NS)


def trades_from(oldest_ns: int, row_ns: int) -> Events:
    return tape(
        [
            trade_message(oldest_ns, (BUY, 100_003, 5), (SELL, 100_001, 4)),
            trade_message(row_ns - 1, (BUY, 100_000, 7), (SELL, 100_009, 8)),
        ]
    )


def books_from(oldest_ns: int, row_ns: int) -> Events:
    """A snapshot, another mid and other quantities in the second after it, and again just before the row."""
    return tape(
        [
            book_message(oldest_ns, 5, bids=[(99_990, 3)], asks=[(100_010, 4)], is_snapshot=True),
            book_message(oldest_ns + SECOND_NS, 6, bids=[(99_995, 3)], asks=[(100_020, 9)], is_snapshot=True),
            book_message(row_ns - 1, 7, bids=[(99_999, 2)], asks=[(100_001, 6)], is_snapshot=True),
        ]
    )


def candles_from(oldest_ns: int, row_ns: int) -> Events:
    """A candle a minute, each as late as it may be to count in the row."""
    times = range(oldest_ns, row_ns - MINUTE_NS, MINUTE_NS)
    return tape([kline_message(at, at - MINUTE_NS, 100_000 + i * i % 97, volume=5 + i) for i, at in enumerate(times)])


def tickers_from(oldest_ns: int, row_ns: int) -> Events:
    """Every field sent once, but the open interest again when a day is over."""
    fields = {FUNDING_RATE: 5, NEXT_FUNDING: row_ns + MINUTE_NS, OPEN_INTEREST: 7, MARK_PRICE: 9, INDEX_PRICE: 8}
    messages = [ticker_message(oldest_ns, fields)]
    if row_ns - oldest_ns > DAY_NS:
        messages.append(ticker_message(row_ns - 1, {OPEN_INTEREST: 9}))
    return tape(messages)


OLDEST_MATTERS: Final[dict[Source, Callable[[int, int], Events]]] = {
    TRADES: trades_from,
    BOOK: books_from,
    KLINES: candles_from,
    TICKERS: tickers_from,
}


def horizons() -> list[tuple[Source, int]]:
    """Each source with each horizon that one of its features declares."""
    declared = {(feature.source, feature.horizon_ns) for feature in FEATURES.values()}
    return sorted(
        ((source, horizon_ns) for source, horizon_ns in declared if source is not NOTHING and horizon_ns > 0),
        key=lambda pair: (pair[0].name, pair[1]),
    )


def last_row(kernel: Kernel, events: Events, columns: Sequence[int], row_ns: int, start_ns: int) -> list[int]:
    """Bits of the columns in the row, the engine believing that its history is complete since ``start_ns``."""
    rows = run(kernel, events, row_ns, start_ns=start_ns, after_ns=row_ns - SECOND_NS)
    assert rows.row_ns.tolist() == [row_ns]
    bits: list[int] = rows.values.view(np.int64)[0, list(columns)].tolist()
    return bits


@pytest.mark.parametrize(("source", "horizon_ns"), horizons(), ids=lambda value: getattr(value, "name", value))
def test_the_oldest_event_within_the_horizon_matters_and_an_older_one_does_not(
    kernel: Kernel, source: Source, horizon_ns: int
) -> None:
    row_ns = MIDNIGHT_NS + 2 * DAY_NS
    oldest_ns = row_ns - horizon_ns
    chosen: list[Feature] = [
        feature for feature in FEATURES.values() if feature.source is source and feature.horizon_ns == horizon_ns
    ]
    columns = [kernel.feature_set.columns.index(feature.name) for feature in chosen]
    begun_ns = oldest_ns - 10 * SECOND_NS
    events = OLDEST_MATTERS[source](oldest_ns, row_ns)

    whole = last_row(kernel, events, columns, row_ns, begun_ns)
    too_short = events[events["recv_ns"] >= oldest_ns + SECOND_NS]
    short = last_row(kernel, too_short, columns, row_ns, begun_ns)
    assert [feature.name for feature, one, other in zip(chosen, whole, short, strict=True) if one == other] == []

    if source is BOOK:
        # What came before the snapshot is forgotten.
        older = book_message(oldest_ns - 1, 4, bids=[(99_900, 9)], asks=[(100_100, 8)], is_snapshot=True)
        assert last_row(kernel, tape([older, events]), columns, row_ns, begun_ns) == whole
    else:
        earlier = events.copy()
        earlier["recv_ns"][events["recv_ns"] == oldest_ns] -= 1
        assert last_row(kernel, earlier, columns, row_ns, begun_ns) == short
