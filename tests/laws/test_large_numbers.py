"""Every accumulator is exact up to the largest mantissas there are, across the edge of int64 and far beyond it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS
from market.events import BUY, INDEX_PRICE, MARK_PRICE, OPEN_INTEREST, SELL, Events
from market.instruments import LARGEST_MANTISSA
from quality.oracle.book import slope
from quality.oracle.candles import Candle, candle_features
from tests.laws.messages import (
    INSTRUMENT,
    MIDNIGHT_NS,
    book_message,
    kline_message,
    tape,
    ticker_message,
    trade_message,
)
from tests.laws.running import begin, run
from transforms.kernel import Kernel

PX: Final = 10.0**INSTRUMENT.price_exponent
QTY: Final = 10.0**INSTRUMENT.quantity_exponent
LARGEST: Final = LARGEST_MANTISSA - 1
mantissas = st.one_of(
    st.sampled_from([1, 2**31, 2**52, LARGEST]), st.integers(1, LARGEST), st.integers(LARGEST - 100, LARGEST)
)
Levels = list[tuple[int, int]]


def nearest(number: int) -> float:
    return float(Fraction(number))


def row_of(kernel: Kernel, events: Events, row_ns: int, *, begun_ns: int) -> Callable[[str], float]:
    """The values of a row by column."""
    rows = run(kernel, events, row_ns, start_ns=begun_ns, after_ns=row_ns - SECOND_NS)
    assert rows.row_ns.tolist() == [row_ns]
    return lambda name: float(rows.values[0, rows.feature_set.columns.index(name)])


@settings(max_examples=40, deadline=None)
@given(trades=st.lists(st.tuples(st.sampled_from((BUY, SELL)), mantissas, mantissas), min_size=1, max_size=60))
def test_sums_of_trades_are_exact_at_any_size(kernel: Kernel, trades: list[tuple[int, int, int]]) -> None:
    repeated = trades * 40  # 1,025 of the largest volumes pass int64
    events = tape([trade_message(MIDNIGHT_NS + at, *trades) for at in range(40)])
    value = row_of(kernel, events, MIDNIGHT_NS + SECOND_NS, begun_ns=MIDNIGHT_NS - 400 * SECOND_NS)
    bought = sum(qty for side, _, qty in repeated if side == BUY)
    sold = sum(qty for side, _, qty in repeated if side == SELL)
    notional = sum(px * qty for _, px, qty in repeated)
    for window in ("3s", "15s", "1m", "3m", "5m"):
        assert value(f"vwap_{window}") == nearest(notional) / nearest(bought + sold) / PX
        assert value(f"volume_{window}") == nearest(bought + sold) / QTY
        assert value(f"signed_volume_{window}") == nearest(bought - sold) / QTY
    assert value("net_aggressor_pressure_norm") == nearest(bought - sold) / nearest(bought + sold)
    if sold:
        assert value("buy_sell_volume_ratio") == nearest(bought) / nearest(sold)
    assert value("trade_count_3s") == len(repeated)


@settings(max_examples=40, deadline=None)
@given(
    bid=st.one_of(st.integers(3_000, LARGEST - 3_000), st.sampled_from([2**40, LARGEST - 3_000])),
    quantities=st.lists(mantissas, min_size=3, max_size=40),
    step=st.integers(1, 40),
)
def test_depth_liquidity_and_slope_of_a_book_are_exact_at_any_size(
    kernel: Kernel, bid: int, quantities: list[int], step: int
) -> None:
    repeated = quantities * 30  # up to 1,200 levels a side, which together pass int64
    bids = [(bid - step * at, qty) for at, qty in enumerate(repeated) if bid - step * at > 0]
    asks = [(bid + 1 + step * at, qty) for at, qty in enumerate(repeated) if bid + 1 + step * at <= LARGEST]
    events = tape([book_message(MIDNIGHT_NS, 5, bids=bids, asks=asks, is_snapshot=True)])
    value = row_of(kernel, events, MIDNIGHT_NS + SECOND_NS, begun_ns=MIDNIGHT_NS - 400 * SECOND_NS)
    for levels in (5, 10):
        deep = [sum(qty for _, qty in side[:levels]) for side in (bids, asks)]
        assert value(f"depth_bid_top{levels}") == nearest(deep[0]) / QTY
        assert value(f"depth_ask_top{levels}") == nearest(deep[1]) / QTY
        assert value(f"depth_imbalance_top{levels}") == nearest(deep[0] - deep[1]) / nearest(sum(deep))
    mid = Fraction(2 * bid + 1, 2)
    for bps in (5, 10, 25):
        near = sum(qty for px, qty in (*bids, *asks) if abs(px - mid) / mid <= Fraction(bps, 10_000))
        assert value(f"local_liquidity_density_{bps}bps") == nearest(near) / QTY
    for name, side in (("slope_bid", bids), ("slope_ask", asks)):
        expected = slope([(Decimal(px), Decimal(qty)) for px, qty in side])
        if expected is not None:
            exact, size = (part / Fraction(QTY) for part in expected)
            assert abs(Fraction(value(name)) - exact) <= Fraction(1, 10**12) * max(abs(exact), size)


@pytest.mark.parametrize("direction", [1, -1])
def test_order_flow_imbalance_is_exact_beyond_int64(kernel: Kernel, direction: int) -> None:
    """Both best prices move the same way six hundred times: twice the largest quantity each time."""
    px, messages = 2**40, 600
    written = [book_message(MIDNIGHT_NS, 5, bids=[(px, LARGEST)], asks=[(px + 1, LARGEST)], is_snapshot=True)]
    for at in range(1, messages + 1):
        best = px + direction * 3 * at
        bids, asks = [(best, LARGEST)], [(best + 1, LARGEST)]
        recv_ns = MIDNIGHT_NS + 62 * SECOND_NS + at
        written.append(book_message(recv_ns, 5 + at, bids=bids, asks=asks, is_snapshot=True))
    value = row_of(kernel, tape(written), MIDNIGHT_NS + 63 * SECOND_NS, begun_ns=MIDNIGHT_NS - 400 * SECOND_NS)
    exact = direction * messages * 2 * LARGEST
    assert abs(exact) > 2**63
    for window in ("3s", "15s", "1m"):
        assert value(f"ofi_{window}") == nearest(exact) / QTY
    assert value("orderbook_churn_rate") == 2 * messages / 60


@settings(max_examples=5, deadline=None)
@given(volumes=st.lists(mantissas, min_size=3, max_size=40), closes=st.lists(mantissas, min_size=3, max_size=40))
def test_means_over_a_day_of_candles_are_exact_at_any_size(
    kernel: Kernel, volumes: Sequence[int], closes: Sequence[int]
) -> None:
    count = 24 * 60
    volume = [volumes[at % len(volumes)] for at in range(count)]
    close = [max(closes[at % len(closes)], 10) - 4 for at in range(count)]
    first_ns = MIDNIGHT_NS
    messages = [
        kline_message(first_ns + (at + 1) * MINUTE_NS, first_ns + at * MINUTE_NS, close[at], volume=volume[at])
        for at in range(count)
    ]
    row_ns = first_ns + count * MINUTE_NS + SECOND_NS
    value = row_of(kernel, tape(messages), row_ns, begun_ns=MIDNIGHT_NS - 2 * DAY_NS)
    assert value("relative_volume_24h") == nearest(volume[-1]) / (nearest(sum(volume)) / count)
    assert value("relative_volume_1h") == nearest(volume[-1]) / (nearest(sum(volume[-60:])) / 60)
    assert value("volume_ratio_20") == nearest(volume[-1]) / (nearest(sum(volume[-20:])) / 20)


@settings(max_examples=200, deadline=None)
@given(
    factor=st.one_of(st.integers(1, 2**53 // 40_000), st.sampled_from([1, 2**25, 2**53 // 40_000])),
    candles=st.lists(
        st.tuples(
            st.sampled_from((10_000, 10_000, 20_000, 30_000)),
            st.sampled_from((-20, -2, -1, 0, 1, 2, 6, 20)),
            st.sampled_from((0, 0, 1, 2, 3, 50)),
            st.sampled_from((0, 0, 1, 2, 3, 50)),
            mantissas,
        ),
        min_size=3,
        max_size=3,
    ),
)
def test_patterns_of_candles_are_exact_at_any_size(
    kernel: Kernel, factor: int, candles: list[tuple[int, int, int, int, int]]
) -> None:
    """Equal shares of different opens are met often, where floats cannot tell; all prices grow by one factor."""
    messages, shapes = [], []
    for minute, (opened, body, upper, lower, volume) in enumerate(candles):
        recv_ns = MIDNIGHT_NS + (minute + 4) * MINUTE_NS
        messages.append(
            kline_message(
                recv_ns,
                recv_ns - MINUTE_NS,
                (opened + body) * factor,
                body=body * factor,
                upper=upper * factor,
                lower=lower * factor,
                volume=volume,
            )
        )
        top, bottom = max(opened, opened + body) + upper, min(opened, opened + body) - lower
        numbers = [Fraction(each * factor) for each in (opened, top, bottom, opened + body)]
        opened_px, high, low, close = numbers
        shapes.append(Candle(0, opened_px, high, low, close, Fraction(volume) / Fraction(QTY)))
    engine = begin(kernel, start_ns=MIDNIGHT_NS)
    engine.feed(tape(messages))
    row_ns = MIDNIGHT_NS + 6 * MINUTE_NS + SECOND_NS
    rows = engine.advance(row_ns)
    values = dict(zip(rows.feature_set.columns, rows.values[-1].tolist(), strict=True))
    expected = candle_features(shapes)
    assert {name: values[name] for name in expected} == {name: float(holds) for name, holds in expected.items()}


@given(before=mantissas, now=mantissas, mark=mantissas, index=mantissas)
@settings(max_examples=40, deadline=None)
def test_ticker_values_are_exact_at_any_size(kernel: Kernel, before: int, now: int, mark: int, index: int) -> None:
    events = tape(
        [
            ticker_message(MIDNIGHT_NS, {OPEN_INTEREST: before}),
            ticker_message(MIDNIGHT_NS + 301 * SECOND_NS, {OPEN_INTEREST: now, MARK_PRICE: mark, INDEX_PRICE: index}),
        ]
    )
    value = row_of(kernel, events, MIDNIGHT_NS + 302 * SECOND_NS, begun_ns=MIDNIGHT_NS - 400 * SECOND_NS)
    assert value("open_interest") == now / QTY
    assert value("open_interest_change_5m") == nearest(now - before) / nearest(before)
    assert value("mark_index_basis") == nearest(mark - index) / nearest(index)
