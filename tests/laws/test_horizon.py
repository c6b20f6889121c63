"""A horizon is no longer than needed: the oldest event within it matters, and one a nanosecond older does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pytest

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from market.events import (
    BUY,
    ENTRY_PRICE,
    FUNDING_RATE,
    INDEX_PRICE,
    MARK_PRICE,
    NEXT_FUNDING,
    OPEN_INTEREST,
    POSITION_SIZE,
    REALIZED_PNL,
    SELL,
    UNREALIZED_PNL,
    Events,
)
from tests.laws.columns import NORMALISATIONS, feature_of
from tests.laws.messages import (
    MIDNIGHT_NS,
    book_message,
    kline_message,
    position_message,
    tape,
    ticker_message,
    trade_message,
)
from tests.laws.running import run
from transforms.catalogue import FEATURES, GROUPS, group_horizon_ns, normalised_horizon_ns
from transforms.declaration import BARS, BOOK, KLINES, NOTHING, POSITIONS, TICKERS, TRADES, Source
from transforms.kernel import Kernel
from transforms.normalisation import Normalisation

ROW_NS: Final = MIDNIGHT_NS + 2 * DAY_NS


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


def bars_from(oldest_ns: int, row_ns: int, minutes: int) -> Events:
    """A bar an interval, each as late as it may be to count in the row."""
    interval_ns = minutes * MINUTE_NS
    times = range(oldest_ns, row_ns - interval_ns, interval_ns)
    return tape(
        [
            kline_message(at, at - interval_ns, 100_000 + i * i % 97, volume=5 + i, minutes=minutes)
            for i, at in enumerate(times)
        ]
    )


def tickers_from(oldest_ns: int, row_ns: int) -> Events:
    """Every field sent once, but the open interest again when an hour is over."""
    fields = {FUNDING_RATE: 5, NEXT_FUNDING: row_ns + MINUTE_NS, OPEN_INTEREST: 7, MARK_PRICE: 9, INDEX_PRICE: 8}
    messages = [ticker_message(oldest_ns, fields)]
    if row_ns - oldest_ns > HOUR_NS:
        messages.append(ticker_message(row_ns - 1, {OPEN_INTEREST: 9}))
    return tape(messages)


def positions_from(oldest_ns: int, row_ns: int) -> Events:
    """Every field stated once, and a price to compare the entry with."""
    fields = {POSITION_SIZE: -(10**9), UNREALIZED_PNL: 5, REALIZED_PNL: -6, ENTRY_PRICE: 990 * 10**9}
    book = book_message(row_ns - 1, 5, bids=[(99_999, 2)], asks=[(100_001, 6)], is_snapshot=True)
    return tape([position_message(oldest_ns, fields), book])


OLDEST_MATTERS: Final[dict[Source, Callable[[int, int], Events]]] = {
    TRADES: trades_from,
    BOOK: books_from,
    KLINES: candles_from,
    TICKERS: tickers_from,
    POSITIONS: positions_from,
}


def nothing_after(_first_row_ns: int) -> list[Events]:
    """The book of the window's first row is that of its last."""
    return []


def trades_after(_first_row_ns: int) -> list[Events]:
    return [trade_message(ROW_NS - 1, (BUY, 100_000, 5))]


def candles_after(first_row_ns: int) -> list[Events]:
    """The next candle, too late for the window's first row and of another colour, and one a minute from there on."""
    times = range(first_row_ns, ROW_NS, MINUTE_NS)
    return [kline_message(at, at - 2 * MINUTE_NS, 100_000 + 7 * i, body=-1) for i, at in enumerate(times)]


def tickers_after(first_row_ns: int) -> list[Events]:
    return [ticker_message(first_row_ns, {OPEN_INTEREST: 9})]


def positions_after(first_row_ns: int) -> list[Events]:
    """Two other sizes: standardised, one step up is like any other."""
    return [position_message(at, {POSITION_SIZE: size}) for at, size in ((first_row_ns, 3), (ROW_NS - 1, 10**10))]


KNOWN_AFTER: Final[dict[Source, Callable[[int], list[Events]]]] = {
    TRADES: trades_after,
    BOOK: nothing_after,
    KLINES: candles_after,
    TICKERS: tickers_after,
    POSITIONS: positions_after,
}
"""What keeps the rows after a normalised window's first one known, and unlike it."""


def horizons() -> list[tuple[Source, int]]:
    """Each source with each horizon that one of its features declares."""
    declared = {(feature.source, feature.horizon_ns) for feature in FEATURES.values()}
    return sorted(
        ((source, horizon_ns) for source, horizon_ns in declared if source not in (NOTHING, BARS) and horizon_ns > 0),
        key=lambda pair: (pair[0].name, pair[1]),
    )


def last_row(kernel: Kernel, events: Events, columns: Sequence[str], start_ns: int) -> dict[str, int]:
    """Bits of the columns at ROW_NS, the engine believing that its history is complete since ``start_ns``."""
    rows = run(kernel, events, ROW_NS, start_ns=start_ns, after_ns=ROW_NS - SECOND_NS)
    assert rows.row_ns.tolist() == [ROW_NS]
    bits = rows.values.view(np.int64)[0].tolist()
    return {name: bits[kernel.feature_set.columns.index(name)] for name in columns}


def assert_horizon(kernel: Kernel, events: Events, oldest_ns: int, columns: Sequence[str]) -> None:
    """The event at ``oldest_ns`` matters to each of the columns, and a nanosecond earlier to none."""
    begun_ns = oldest_ns - 10 * SECOND_NS
    whole = last_row(kernel, events, columns, begun_ns)
    short = last_row(kernel, events[events["recv_ns"] > oldest_ns], columns, begun_ns)
    assert [name for name in columns if whole[name] == short[name]] == []

    if feature_of(columns[0]).source is BOOK:
        # What came before the snapshot is forgotten.
        older = book_message(oldest_ns - 1, 4, bids=[(99_900, 9)], asks=[(100_100, 8)], is_snapshot=True)
        assert last_row(kernel, tape([older, events]), columns, begun_ns) == whole
    else:
        earlier = events.copy()
        earlier["recv_ns"][events["recv_ns"] == oldest_ns] -= 1
        assert last_row(kernel, earlier, columns, begun_ns) == short


@pytest.mark.parametrize(("source", "horizon_ns"), horizons(), ids=lambda value: getattr(value, "name", value))
def test_the_oldest_event_within_the_horizon_matters_and_an_older_one_does_not(
    kernel: Kernel, source: Source, horizon_ns: int
) -> None:
    oldest_ns = ROW_NS - horizon_ns
    columns = [f.name for f in FEATURES.values() if f.source is source and f.horizon_ns == horizon_ns]
    assert_horizon(kernel, OLDEST_MATTERS[source](oldest_ns, ROW_NS), oldest_ns, columns)


@pytest.mark.parametrize(
    ("minutes", "count"), sorted({(f.window_s // 60, f.candles) for f in FEATURES.values() if f.source is BARS})
)
def test_the_oldest_bar_within_the_horizon_matters_and_an_older_one_does_not(
    kernel: Kernel, minutes: int, count: int
) -> None:
    columns = [
        f.name for f in FEATURES.values() if f.source is BARS and (f.window_s, f.candles) == (minutes * 60, count)
    ]
    oldest_ns = ROW_NS - FEATURES[columns[0]].horizon_ns
    assert_horizon(kernel, bars_from(oldest_ns, ROW_NS, minutes), oldest_ns, columns)


@pytest.mark.parametrize(
    "normalised", [c for c in NORMALISATIONS if FEATURES[c.feature].horizon_ns > 0], ids=lambda column: column.name
)
def test_the_oldest_event_of_a_normalised_window_matters_and_an_older_one_does_not(
    kernel: Kernel, normalised: Normalisation
) -> None:
    # A window of n rows ends with the row itself: its first row is n - 1 seconds before.
    first_row_ns = ROW_NS - normalised.window_ns + SECOND_NS
    feature = FEATURES[normalised.feature]
    oldest_ns = ROW_NS - feature.horizon_ns - normalised.window_ns + SECOND_NS
    source = feature.source
    if source is not TRADES:
        assert oldest_ns == ROW_NS - normalised_horizon_ns(normalised) + SECOND_NS
    events = tape([OLDEST_MATTERS[source](oldest_ns, first_row_ns), *KNOWN_AFTER[source](first_row_ns)])
    assert_horizon(kernel, events, oldest_ns, [normalised.name])


def test_a_trade_within_the_groups_horizon_shows_that_trades_arrive_and_an_older_one_does_not(kernel: Kernel) -> None:
    """A volume is 0 as long as another trade shows that none was missed, and unknown without."""
    horizon_ns = group_horizon_ns("orderflow")
    begun_ns = ROW_NS - 2 * horizon_ns
    sums = [f.name for f in GROUPS["orderflow"] if f.horizon_ns < horizon_ns and f.nan_rule.startswith("less history")]
    for oldest_ns, value in ((ROW_NS - horizon_ns, 0.0), (ROW_NS - horizon_ns - 1, np.nan)):
        bits = last_row(kernel, trade_message(oldest_ns, (BUY, 100_003, 5)), sums, begun_ns)
        expected = np.array([value]).view(np.int64)[0]
        assert set(bits.values()) == {expected}, value
    for normalised in NORMALISATIONS:
        if FEATURES[normalised.feature].source is TRADES:
            assert normalised_horizon_ns(normalised) == horizon_ns + normalised.window_ns
