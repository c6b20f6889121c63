"""What computing cost is added up by the minute and interval, and what is slow is said once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from feature_repo.registry_versions import SHIPPED_FOLDER, load_registry_version
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.computations import ComputationTally
from ingestion.sinks.recent_mean import SLICE_NS, SLICES, RecentMean
from market.clock import MILLISECOND_NS, SECOND_NS, to_ns
from transforms.rows import FeatureRows

NOON = datetime(2026, 8, 9, 12, tzinfo=UTC)
NOON_NS = to_ns(NOON)
FEATURES = load_registry_version("1.0.0", SHIPPED_FOLDER).feature_set


def served(*seconds: float, symbol: str = "BTCUSDT", trace_id: str | None = None) -> ServedRows:
    row_ns = np.array([NOON_NS + int(each * SECOND_NS) for each in seconds], np.int64)
    rows = FeatureRows(
        symbol,
        FEATURES,
        row_ns,
        np.zeros((len(row_ns), len(FEATURES.columns))),
        np.zeros((len(row_ns), len(FEATURES.groups)), np.int8),
    )
    return ServedRows(rows, row_ns, trace_id=trace_id)


def run(tally: ComputationTally, *seconds: float, ms: float = 10.0, trace_id: str | None = None) -> None:
    for each in seconds:
        batch = [served(each, trace_id=trace_id)]
        tally.write(batch)
        tally.note_stored(batch, NOON_NS + int(each * SECOND_NS + ms * MILLISECOND_NS))


def test_a_minute_is_a_row_of_each_interval_once_its_last_row_was_stored() -> None:
    told: list[Mapping[str, Any]] = []
    taken = [0, 0]
    tally = ComputationTally(tell=told.append, counts_of=lambda _symbol: (taken[0], taken[1]))
    run(tally, *range(1, 60))
    run(tally, 30.5, ms=40, trace_id="between")  # a tick between seconds is none of the figures
    taken[:] = 500, 2
    run(tally, 60, ms=70, trace_id="slowest")
    run(tally, *range(61, 66))
    assert told == []
    taken[:] = 700, 2
    run(tally, 66)
    by_interval = {each["computation_interval"]: each for each in told}
    assert {name: each["computations"] for name, each in by_interval.items()} == {"1s": 60, "3s": 20, "15s": 4, "1m": 1}
    second, minute = by_interval["1s"], by_interval["1m"]
    assert second["computation_timestamp"] == NOON
    assert second["latency_ms"] == pytest.approx(11.0)
    assert (second["latency_max_ms"], second["trace_id"]) == (70.0, "slowest")
    assert (second["events_count"], second["error_count"]) == (500, 2)
    assert (minute["latency_ms"], minute["events_count"], minute["error_count"]) == (70.0, 0, 0)
    assert (second["feature_registry_version"], second["features_count"]) == ("1.0.0", len(FEATURES.columns))
    told.clear()
    tally.close()
    assert (told[0]["computations"], told[0]["events_count"]) == (6, 200)


def test_rows_that_the_store_did_not_take_are_counted_and_not_timed() -> None:
    told: list[Mapping[str, Any]] = []
    closed: list[bool] = []
    tally = ComputationTally(tell=told.append, on_close=lambda: closed.append(True))
    tally.write([served(1, 2, 3)])
    tally.close()
    assert [(each["computations"], each["stored"], each["latency_ms"]) for each in told] == [(3, 0, None), (1, 0, None)]
    assert closed == [True]


def test_a_slow_computation_is_one_line_however_many_symbols_it_has(caplog: pytest.LogCaptureFixture) -> None:
    tally = ComputationTally(tell=lambda _row: None)
    batch = [served(1), served(1, symbol="ETHUSDT")]
    with caplog.at_level(logging.WARNING):
        tally.note_stored(batch, NOON_NS + SECOND_NS + 70 * MILLISECOND_NS)
        for each in batch:  # in parts, as many symbols are
            tally.note_stored([each], NOON_NS + SECOND_NS + 71 * MILLISECOND_NS)
        assert not caplog.records
        tally.note_whole()
        tally.note_stored([served(1.1)], NOON_NS + 2 * SECOND_NS)
        tally.note_whole()
    [record] = caplog.records
    assert record.getMessage() == (
        "slow computation: row of 2026-08-09T12:00:01.000+00:00 must be stored within 70 ms, was after 71: "
        "ETHUSDT and 1 others"
    )
    assert tally.slow == 3


def test_rows_of_catching_up_are_not_timed_and_those_of_one_that_stays_behind_are() -> None:
    tally = ComputationTally(tell=lambda _row: None)
    for second, late_s in ((1, 123_036), (60, 124_000), (120_000, 3_600), (123_500, 12), (123_514, 0.02)):
        tally.note_stored([served(second)], NOON_NS + int((second + late_s) * SECOND_NS))
    assert tally.recent.recent(NOON_NS + 123_520 * SECOND_NS) == (1, 20.0)
    assert tally.slow == 0
    tally.note_stored([served(123_600)], NOON_NS + 123_640 * SECOND_NS)
    assert tally.slow == 1, "it had caught up"

    for second in (1, 2, 3):
        tally.note_stored([served(second, symbol="ETHUSDT")], NOON_NS + (second + 5) * SECOND_NS)
    assert tally.slow == 3, "all but the first, which may be one of catching up"


def test_the_mean_is_of_the_last_five_minutes_alone() -> None:
    mean = RecentMean()
    assert mean.recent(NOON_NS) == (0, None)
    for value in (10.0, 30.0):
        mean.add(value, NOON_NS)
    assert mean.recent(NOON_NS) == (2, 20.0)
    later_ns = NOON_NS + (SLICES - 1) * SLICE_NS
    mean.add(50.0, later_ns)
    assert mean.recent(later_ns) == (3, 30.0)
    assert mean.recent(later_ns + SLICE_NS) == (1, 50.0)
    assert mean.recent(later_ns + SLICES * SLICE_NS) == (0, None)
