"""Features of candles against the oracle: a month of real ones, and any three of few different prices."""

from __future__ import annotations

import csv
import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market.clock import HOUR_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from quality.oracle.candles import Candle, candle_features
from tests.examples import examples
from tests.fed_engine import Messages, fed_engine
from tests.laws.agreement import assert_agrees
from tests.oracle import writing
from tests.oracle.incidents import MIDNIGHT_NS
from tests.oracle.messages import oracle_rows
from transforms.catalogue import GROUPS, feature_set
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureRows


@st.composite
def small_candles(draw: st.DrawFn) -> list[str]:
    """Texts of open, high, low, close and volume; opens are few and steps are small."""
    opened = draw(st.sampled_from((1000, 1000, 2000, 3000, 9999)))
    closed = max(
        1, opened + draw(st.sampled_from((-6, -2, -1, 0, 0, 1, 2, 3, 20))) * draw(st.sampled_from((1, opened // 1000)))
    )
    high = max(opened, closed) + draw(st.sampled_from((0, 0, 1, 2, 3, 7, 50)))
    low = min(opened, closed) - draw(st.sampled_from((0, 0, 1, 2, 3, 7, 50)))
    volume = draw(st.sampled_from(("0", "0.1", "0.2", "0.3", "5")))
    return [*(f"{tick / 100:.2f}" for tick in (opened, high, low, closed)), volume]


@pytest.fixture(scope="module")
def kline_kernel(kernel_cache: Path) -> Kernel:
    """The kernel of everything that reads klines alone."""
    names = [declared.name for group in ("technical", "candles") for declared in GROUPS[group]]
    return compile_kernel(feature_set("klines", names), kernel_cache)


@pytest.fixture(scope="module")
def real_candles(recorded_data: Path) -> list[tuple[int, list[str]]]:
    """Start and texts (open, high, low, close, volume) of a month of one-minute candles without a hole."""
    with gzip.open(recorded_data / "klines" / "DOGEUSDT_1m.csv.gz", "rt") as file:
        return [
            (parse_iso_ns(kline["timestamp"]), [kline[name] for name in ("open", "high", "low", "close", "volume")])
            for kline in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def real_kline_messages(real_candles: list[tuple[int, list[str]]]) -> Messages:
    """Each candle confirmed half a second after its end."""
    return [
        (start_ns + MINUTE_NS + SECOND_NS // 2, writing.kline(start_ns + MINUTE_NS, start_ns, numbers))
        for start_ns, numbers in real_candles
    ]


@pytest.fixture(scope="module")
def real_kline_rows(kline_kernel: Kernel, real_kline_messages: Messages) -> FeatureRows:
    """The row half a second after each candle's arrival."""
    engine = fed_engine(kline_kernel, real_kline_messages)
    pieces = []
    end_ns = real_kline_messages[-1][0] + SECOND_NS
    closed_ns = real_kline_messages[0][0]
    while closed_ns < end_ns:
        closed_ns = min(closed_ns + HOUR_NS, end_ns)
        rows = engine.advance(closed_ns)
        is_kept = (rows.row_ns - SECOND_NS) % MINUTE_NS == 0
        pieces.append((rows.row_ns[is_kept], rows.values[is_kept], rows.status[is_kept]))
    row_ns, values, status = (np.concatenate(each) for each in zip(*pieces, strict=True))
    return FeatureRows(engine.instrument.symbol, kline_kernel.feature_set, row_ns, values, status)


def test_patterns_of_a_month_of_real_candles_are_exactly_what_the_formulas_say(
    real_candles: list[tuple[int, list[str]]], real_kline_rows: FeatureRows
) -> None:
    names = [declared.name for declared in GROUPS["candles"]]
    columns = [real_kline_rows.feature_set.columns.index(name) for name in names]
    candles = [Candle(0, *map(Fraction, numbers)) for _, numbers in real_candles]
    assert len(real_kline_rows) == len(candles) == 43_200
    wrong = []
    for newest in range(5, len(candles), 23):
        expected = candle_features(candles[newest - 2 : newest + 1])
        values = real_kline_rows.values[newest, columns].tolist()
        wrong += [(newest, n) for n, value in zip(names, values, strict=True) if value != float(expected[n])]
    assert wrong == []


def test_engulfing_and_harami_hold_in_real_candles_by_their_touching_forms_alone(real_kline_rows: FeatureRows) -> None:
    """Each candle opens at the close before, which the other forms need it not to."""
    held = dict(zip(real_kline_rows.feature_set.columns, np.nansum(real_kline_rows.values, axis=0), strict=True))
    for pattern in ("bullish_engulfing", "bearish_engulfing", "bullish_harami", "bearish_harami"):
        assert held[f"pattern_{pattern}"] == 0.0
        assert held[f"pattern_{pattern}_touching"] > 100.0


def test_indicators_of_a_month_of_real_candles_are_exactly_what_the_formulas_say(
    real_kline_messages: Messages, real_kline_rows: FeatureRows
) -> None:
    chosen = [*range(1, 400, 61), *range(400, len(real_kline_rows), 997)]
    wanted = [int(real_kline_rows.row_ns[index]) for index in chosen]
    for index, expected in zip(chosen, oracle_rows(real_kline_messages, wanted), strict=True):
        assert_agrees(real_kline_rows, index, expected)


@settings(max_examples=examples(150))
@example(drawn=[["10.00", f"10.{upper:02}", "10.00", "10.00", "1"] for upper in (1, 6, 11)])
@given(drawn=st.lists(small_candles(), min_size=3, max_size=3))
def test_patterns_of_any_three_candles_are_exactly_what_the_formulas_say(
    kline_kernel: Kernel, drawn: list[list[str]]
) -> None:
    """Few different prices and volumes, so that every comparison meets equal terms."""
    messages = []
    for minute, numbers in enumerate(drawn):
        recv_ns = MIDNIGHT_NS + (minute + 4) * MINUTE_NS
        messages.append((recv_ns, writing.kline(recv_ns, recv_ns - MINUTE_NS, numbers)))
    engine = fed_engine(kline_kernel, messages, start_ns=MIDNIGHT_NS)
    rows = engine.advance(messages[-1][0] + SECOND_NS)
    expected = candle_features([Candle(0, *map(Fraction, numbers)) for numbers in drawn])
    values = dict(zip(rows.feature_set.columns, rows.values[-1].tolist(), strict=True))
    assert {name: values[name] for name in expected} == {name: float(holds) for name, holds in expected.items()}
