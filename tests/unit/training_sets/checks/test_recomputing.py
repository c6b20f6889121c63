"""Where a leakage check computes again: what an engine is given, and that its order does not show in what is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from storage.raw.raw_data import RawData
from tests.engines import Backwards
from tests.leakage_checks import accused, checking, day_stretches, drawn_rows, plant
from tests.many_days import BEGIN_NS, CHOSEN, ranges, rebuilt_here, write_days
from training_sets.checks.blinding import check_features
from training_sets.checks.log_days import check_stretches
from training_sets.checks.recomputing import PastRows
from training_sets.rebuild.sparse_rows import near_horizon_ns

SYMBOLS, DAYS = ("BTCUSDT", "ETHUSDT"), 2


@pytest.fixture
def raw(tmp_path: Path, kernel_cache: Path) -> Path:
    """Beside its feature log in ``features``."""
    write_days(tmp_path / "raw", SYMBOLS, DAYS)
    rebuilt_here(tmp_path / "raw", tmp_path / "features", kernel_cache, SYMBOLS, DAYS)
    return tmp_path / "raw"


def test_the_first_difference_is_told_in_the_order_of_days_whichever_was_found_first(
    raw: Path, tmp_path: Path, kernel_cache: Path
) -> None:
    engine = Backwards()
    origin = checking(raw, tmp_path / "features", kernel_cache, SYMBOLS, engine=engine)
    found = check_stretches(day_stretches(SYMBOLS, DAYS), origin)
    assert found["log_rows_rebuilt"] == len(SYMBOLS) * (DAYS * DAY_NS // SECOND_NS - 60)
    for symbol in SYMBOLS:
        plant(tmp_path / "features", symbol, "2026-01-06")
    assert "of BTCUSDT 2026-01-06 must be what its raw data gives" in accused(SYMBOLS, DAYS, origin)
    assert [task.rebuild.symbol for task in engine.given] == ["ETHUSDT", "ETHUSDT", "BTCUSDT", "BTCUSDT"] * 2


def test_an_engine_is_given_what_it_is_worth_and_no_symbol_that_is_on_a_tape_as_well(
    raw: Path, tmp_path: Path, kernel_cache: Path
) -> None:
    engine = Backwards()
    origin = checking(raw, tmp_path / "features", kernel_cache, SYMBOLS, engine=engine)
    rows = drawn_rows(tmp_path / "features", SYMBOLS, DAYS)
    dear = replace(origin, recomputing=replace(origin.recomputing, worth_engine=10_000_000))
    expected = check_features(rows, dear)
    assert [task.rebuild.symbol for task in engine.given] == []
    with_tape = {**origin.raw, "ETHUSDT": RawData(raw)}
    assert check_features(rows, replace(origin, raw=with_tape)) == expected
    assert [task.rebuild.symbol for task in engine.given] == ["BTCUSDT"] * DAYS


def test_what_several_rows_look_back_at_counts_once(raw: Path, tmp_path: Path, kernel_cache: Path) -> None:
    [days] = ranges(raw, tmp_path / "features", kernel_cache, SYMBOLS[:1])
    begin_ns = BEGIN_NS + 12 * HOUR_NS
    hour = PastRows(days.rebuild, tuple(range(begin_ns, begin_ns + HOUR_NS, SECOND_NS)), is_whole=False)
    # Of trades, of which there is one a minute.
    assert hour.size() == pytest.approx((HOUR_NS + near_horizon_ns(CHOSEN)) / MINUTE_NS, rel=0.01)
