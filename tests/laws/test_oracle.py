"""Every catalogued value against an independent oracle in exact arithmetic, straight from the messages."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingestion.messages import TimedMessage
from ingestion.sources.played.recordings import read_recording
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import HOUR_NS, MINUTE_NS, SECOND_NS, floor_to, parse_iso_ns
from quality.oracle.arithmetic import fifty_digits
from quality.oracle.candles import Candle, candle_features
from quality.oracle.rows import CLOSE, UNKNOWN, OracleRow, normalised
from tests.examples import examples
from tests.fed_engine import Messages, fed_engine
from tests.oracle import writing
from tests.oracle.hostile import HostileMarket
from tests.oracle.incidents import INCIDENTS, MIDNIGHT_NS, a_day, stream_with
from tests.oracle.messages import oracle_rows
from tests.unfinished import oracle_names
from transforms.catalogue import (
    FEATURES,
    GROUPS,
    feature_set,
    group_horizon_ns,
    group_source,
    group_warm_up_ns,
    normalised_warm_up_ns,
    stale_after_ns,
)
from transforms.declaration import NOTHING
from transforms.engine import ROWS_A_CALL
from transforms.kernel import Kernel, compile_kernel
from transforms.normalisation import Normalisation
from transforms.rows import FeatureRows
from transforms.state import GRIDS_NS
from transforms.status import STATUS_NAMES

RECORDINGS: Final = {
    "linear_BTCUSDT": ("bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz", "BTCUSDT"),
    "linear_ETHUSDT": ("bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz", "ETHUSDT"),
    "across_midnight": ("reencoded/BTCUSDT_20240718-19.jsonl.gz", "BTCUSDT"),
}
NORMALISED: Final = tuple(
    Normalisation(feature, method, window_s)
    for feature in ("mid_price", "returns_1s", "volume_3s", "mark_index_basis", "price_vs_entry")
    for method, window_s in (("z_score", 60), ("min_max", 15))
)


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


def assert_agrees(rows: FeatureRows, index: int, expected: OracleRow) -> None:
    """One row of the engine against the oracle's, every column and every group's status.

    Normalised columns are functions of rows, not of messages, and are compared apart. A feature that the oracle does
    not compute yet is named by tests/unit/test_finished_features.py.
    """
    wrong = []
    for column, name in enumerate(rows.feature_set.columns):
        is_warm = expected.is_warm(FEATURES[name].source.name, FEATURES[name].warm_up_ns) if name in FEATURES else False
        exact = expected.values.get(name, UNKNOWN) if is_warm else UNKNOWN
        value = float(rows.values[index, column])
        if name in oracle_names() and not exact.agrees(value, exactly=FEATURES[name].group == "candles"):
            wrong.append(f"{name}: must be {exact}, was {value!r}")
    for group, status in zip(rows.feature_set.groups, rows.status[index].tolist(), strict=True):
        if group.name not in GROUPS:
            continue
        source = group_source(group.name)
        stated = expected.status(
            source.name,
            horizon_ns=group_horizon_ns(group.name),
            warm_up_ns=group_warm_up_ns(group.name),
            stale_after_ns=stale_after_ns(group.name),
            minutes=GROUPS[group.name][0].window_s // 60,
        )
        if source is not NOTHING and STATUS_NAMES[status] != stated:
            wrong.append(f"status of {group.name}: must be {stated}, was {STATUS_NAMES[status]}")
    assert not wrong, f"row {expected.row_ns}: {'; '.join(wrong)}"


def assert_oracle_agrees(
    kernel: Kernel, messages: Messages, wanted: Callable[[int], bool], *, tail_s: int = 5
) -> list[OracleRow]:
    """Compare the wanted rows, by their number from the first; returns the oracle's."""
    until_ns = max(recv_ns for recv_ns, _ in messages) + tail_s * SECOND_NS
    rows = fed_engine(kernel, messages).advance(until_ns)
    first_ns = floor_to(messages[0][0], SECOND_NS) + SECOND_NS
    assert rows.row_ns.tolist() == list(range(first_ns, until_ns + 1, SECOND_NS)), "a row for every second"
    chosen = [index for index in range(len(rows)) if wanted(index)]
    exact = list(oracle_rows(messages, [int(rows.row_ns[index]) for index in chosen]))
    for index, expected in zip(chosen, exact, strict=True):
        assert_agrees(rows, index, expected)
    return exact


def assert_ticks_agree(kernel: Kernel, messages: Messages, *, grid_ns: int, every: int) -> None:
    """Compare the rows at every so many ticks of the grid."""
    until_ns = floor_to(max(recv_ns for recv_ns, _ in messages) + 5 * SECOND_NS, grid_ns)
    first_ns = floor_to(messages[0][0], grid_ns) + grid_ns
    chosen = np.arange(first_ns, until_ns + 1, max(every, 1) * grid_ns)
    rows = fed_engine(kernel, messages, grid_ns=grid_ns).rows_at(chosen, until_ns)
    assert rows.row_ns.tolist() == chosen.tolist()
    for index, expected in enumerate(oracle_rows(messages, chosen.tolist())):
        assert_agrees(rows, index, expected)


@pytest.mark.parametrize("name", RECORDINGS)
def test_rows_of_a_real_recording_are_exactly_what_the_formulas_say(
    kernel: Kernel, recorded_data: Path, name: str
) -> None:
    path, symbol = RECORDINGS[name]
    recorded = [each for each in read_recording(recorded_data / path) if isinstance(each, TimedMessage)]
    messages = [(each.recv_ns, each.body) for each in recorded if symbol.encode() in each.body[:200]]
    assert_oracle_agrees(kernel, messages, lambda index: index % 17 == 3)


def test_rows_of_a_simulated_market_are_exactly_what_the_formulas_say(kernel: Kernel) -> None:
    simulated = simulate(
        DEFAULT_SYMBOLS[:1], seed=5, start_ns=MIDNIGHT_NS - 100 * SECOND_NS, duration_ns=6 * MINUTE_NS, depth=50
    )
    messages = [(each.recv_ns, each.body) for each in simulated]
    assert_oracle_agrees(kernel, messages, lambda index: index % 19 == 1)


@pytest.mark.parametrize("name", INCIDENTS)
def test_rows_around_an_incident_are_exactly_what_the_formulas_say(kernel: Kernel, name: str) -> None:
    assert_oracle_agrees(kernel, stream_with(INCIDENTS[name]), lambda index: index % 3 == 0 or index > 125, tail_s=15)


@pytest.mark.parametrize("seed", range(12))
def test_rows_of_a_hostile_market_are_exactly_what_the_formulas_say(kernel: Kernel, seed: int) -> None:
    start_ns = MIDNIGHT_NS - 3 * MINUTE_NS + (seed % 3) * 12_345_678_901 + seed % 2
    messages = HostileMarket(seed, start_ns).write(7 * MINUTE_NS)
    assert_oracle_agrees(kernel, messages, lambda index: index % 4 == seed % 4, tail_s=150)


MARKETS: Final = {
    "inverse": ("61800.00", "61800.50", ("12000", "12001", "12002", "80000")),
    "linear": ("61800.00", "61800.50", ("999.999999", "5000", "12345.678")),
    "spot": ("0.00001234", "0.00001235", ("999999999", "12", "7000000000")),
}
"""Best bid, best ask and trade sizes of a contract in dollars, one in coins, and a coin of next to no price."""


@pytest.mark.parametrize("market", MARKETS)
def test_sums_of_any_kind_of_contract_are_exactly_what_the_formulas_say(kernel: Kernel, market: str) -> None:
    """Thirty-six trades of 12,000 USD at 61,800 have a notional of more than int64 holds at nine decimals."""
    bid, ask, sizes = MARKETS[market]
    messages = [
        (MIDNIGHT_NS, writing.book(MIDNIGHT_NS, 5, kind="snapshot", bids=[(bid, "120000")], asks=[(ask, "90000")]))
    ]
    for second in range(330):
        at_ns = MIDNIGHT_NS + second * SECOND_NS + 1
        stated = [("Buy" if at % 3 else "Sell", (bid, ask)[at % 2], sizes[at % len(sizes)]) for at in range(12)]
        messages.append((at_ns, writing.trades(at_ns, *stated)))
    assert_oracle_agrees(kernel, messages, lambda index: index % 30 == 29 or index > 325)
    rows = fed_engine(kernel, messages).advance(messages[-1][0] + 5 * SECOND_NS)
    for window in ("3s", "15s", "1m", "3m", "5m"):
        vwap = rows.values[-4, rows.feature_set.columns.index(f"vwap_{window}")]
        assert float(bid) <= vwap <= float(ask)


@pytest.mark.parametrize("grid_ns", GRIDS_NS)
@pytest.mark.parametrize("seed", range(3))
def test_rows_at_ticks_of_a_hostile_market_are_exactly_what_the_formulas_say(
    kernel: Kernel, grid_ns: int, seed: int
) -> None:
    start_ns = MIDNIGHT_NS - 3 * MINUTE_NS + seed * 12_345_678_901
    messages = HostileMarket(100 + seed, start_ns).write(7 * MINUTE_NS)
    assert_ticks_agree(kernel, messages, grid_ns=grid_ns, every=53 * SECOND_NS // (20 * grid_ns))


@pytest.mark.parametrize("name", INCIDENTS)
def test_rows_at_ticks_around_an_incident_are_exactly_what_the_formulas_say(kernel: Kernel, name: str) -> None:
    assert_ticks_agree(kernel, stream_with(INCIDENTS[name]), grid_ns=SECOND_NS // 20, every=41)


def test_a_day_closed_in_one_call_is_exactly_right_and_every_feature_has_had_a_value(kernel: Kernel) -> None:
    """A call has room for ROWS_A_CALL rows, so the records of a day are met in many pieces."""
    messages = a_day()
    whole_day = (messages[-1][0] - messages[0][0]) // SECOND_NS
    assert whole_day > 20 * ROWS_A_CALL
    seams = {seam + off for seam in range(ROWS_A_CALL, whole_day, 5 * ROWS_A_CALL) for off in (-1, 0, 1, 59)}
    exact = assert_oracle_agrees(kernel, messages, lambda index: index in seams or index > whole_day - 20)
    known = {name for row in exact for name, value in row.values.items() if value.number is not None}
    assert oracle_names() - known == set()


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


@pytest.mark.parametrize("name", ["constant_price", "gap", "positions", "silent_minute"])
def test_normalised_columns_are_exactly_the_row_among_the_rows_of_its_window(kernel_cache: Path, name: str) -> None:
    chosen = feature_set("normalised", list(dict.fromkeys(each.feature for each in NORMALISED)), NORMALISED)
    messages = stream_with(INCIDENTS[name])
    rows = fed_engine(compile_kernel(chosen, kernel_cache), messages).advance(messages[-1][0])
    columns = {column: rows.values[:, at].tolist() for at, column in enumerate(chosen.columns)}
    known = 0
    for each in NORMALISED:
        of, found = columns[each.feature], columns[each.name]
        for index in range(each.window_s, len(rows), 3):
            history = [None if math.isnan(value) else value for value in of[index + 1 - each.window_s : index + 1]]
            is_warm = rows.row_ns[index] - messages[0][0] >= normalised_warm_up_ns(each)
            with fifty_digits():
                expected = normalised(history, each.method) if is_warm else None
            value = found[index]
            assert math.isnan(value) == (expected is None), (each.name, index, value, expected)
            if expected is not None:
                assert abs(Fraction(value) - Fraction(expected)) <= CLOSE * max(Fraction(1), abs(Fraction(expected)))
                known += 1
    assert known > 100
