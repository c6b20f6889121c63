"""Every catalogued value against an independent oracle in exact arithmetic, straight from the messages."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Final

import pytest

from ingestion.messages import TimedMessage
from ingestion.sources.played.recordings import read_recording
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import MINUTE_NS, SECOND_NS
from quality.oracle.arithmetic import fifty_digits
from quality.oracle.rows import CLOSE, normalised
from tests.fed_engine import fed_engine
from tests.laws.agreement import assert_oracle_agrees, assert_ticks_agree
from tests.oracle import writing
from tests.oracle.hostile import HostileMarket
from tests.oracle.incidents import INCIDENTS, MIDNIGHT_NS, a_day, stream_with
from tests.unfinished import oracle_names
from transforms.catalogue import feature_set, normalised_warm_up_ns
from transforms.engine import ROWS_A_CALL
from transforms.kernel import Kernel, compile_kernel
from transforms.normalisation import Normalisation
from transforms.state import GRIDS_NS

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


# One for each phase of the seconds in which rows are compared; the soak has two more of each.
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(4, 12))])
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
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2))])
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
