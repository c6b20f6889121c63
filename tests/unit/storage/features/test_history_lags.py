"""A log with history lags reads as the log of a service that was so slow, to every reader that asks when."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, SECOND_NS
from storage.features.history import History
from storage.features.history_lags import AVAILABILITY_DELAY_NS, HistoryLags
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.row_times import read_row_times
from storage.features.statuses import read_statuses
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

SYMBOL = "BTCUSDT"
START_NS = 20_000 * DAY_NS + 13 * HOUR_NS - 5 * SECOND_NS
ROW_NS = START_NS + np.arange(10) * SECOND_NS
PRICE, FLOW = FeatureGroup("price", "aaaa", ("mid",), (0,)), FeatureGroup("flow", "bbbb", ("volume",), (1,))
BOTH = FeatureSet("1.0.0", ("mid", "volume"), (PRICE, FLOW), "cccc")
ALONE = FeatureSet("1.0.0", ("mid",), (PRICE,), "dddd")
SERVED_MS = np.array([20, 1_500, 4_000, 61_000])


def write(folder: Path, lag_ms: tuple[int, ...] | None, seed: int) -> FeatureLog:
    """Rows of history and served ones, each row more than once, one group by itself too. None: as history is stored."""
    draw = np.random.default_rng(seed)
    hour = ROW_NS // HOUR_NS % 24
    with FeatureLogWriter(folder) as log:
        for chosen, rows in ((BOTH, np.arange(10)), (BOTH, np.arange(0, 10, 2)), (ALONE, np.arange(10))):
            values = draw.uniform(1.0, 2.0, (10, len(chosen.columns)))
            status = draw.integers(0, 3, (10, len(chosen.groups))).astype(np.int8)
            served_ns = draw.choice(SERVED_MS, 10) * MILLISECOND_NS + draw.integers(0, 1000)
            history_ns = AVAILABILITY_DELAY_NS if lag_ms is None else np.array(lag_ms)[hour] * MILLISECOND_NS
            lag_ns = np.where(draw.random(10) < 0.6, history_ns, served_ns)
            written = FeatureRows(SYMBOL, chosen, ROW_NS, values, status).only(rows)
            log.append(written, (ROW_NS + lag_ns)[rows])
            log.flush()
    return FeatureLog(folder)


def test_a_row_that_was_served_sooner_or_later_than_history_keeps_its_own_time() -> None:
    stored_ns = START_NS + AVAILABILITY_DELAY_NS + np.array([-1, 0, 1])
    readable_ns = HistoryLags((250,) * 24).readable_ns(np.full(3, START_NS), stored_ns)
    assert readable_ns.tolist() == [stored_ns[0], START_NS + 250 * MILLISECOND_NS, stored_ns[2]]


@settings(max_examples=25)
@given(st.integers(0, 60_000), st.integers(0, 60_000), st.integers(0, 10**6), st.integers(0, 70_000))
def test_every_reader_finds_what_it_would_in_the_log_of_so_slow_a_service(
    tmp_path_factory: pytest.TempPathFactory, before: int, after: int, seed: int, asked_ms: int
) -> None:
    lag_ms = tuple({12: before, 13: after}.get(hour, 0) for hour in range(24))
    truly = write(tmp_path_factory.mktemp("truly"), lag_ms, seed)
    stored = write(tmp_path_factory.mktemp("stored"), None, seed)
    lagged = FeatureLog(stored.folder, HistoryLags(lag_ms))
    from_ns, to_ns = START_NS, START_NS + 10 * SECOND_NS
    rows, available_ns = lagged.read(SYMBOL, BOTH, from_ns=from_ns, to_ns=to_ns)
    of_truly, truly_ns = truly.read(SYMBOL, BOTH, from_ns=from_ns, to_ns=to_ns)
    assert (rows.values.tolist(), rows.status.tolist()) == (of_truly.values.tolist(), of_truly.status.tolist())
    assert available_ns.tolist() == truly_ns.tolist()
    found, known = (read_row_times(each, SYMBOL, BOTH, from_ns=from_ns, to_ns=to_ns) for each in (lagged, truly))
    assert np.array_equal(astuple(found), astuple(known))
    assert np.array_equal(read_statuses(lagged, SYMBOL, FLOW, ROW_NS), read_statuses(truly, SYMBOL, FLOW, ROW_NS))
    as_of_ns = START_NS + asked_ms * MILLISECOND_NS
    histories = [
        list(History(each, SYMBOL, BOTH.groups, from_ns, to_ns, as_of_ns).batches()) for each in (lagged, truly)
    ]
    assert str(histories[0]) == str(histories[1])


def test_what_was_served_keeps_the_time_that_it_states() -> None:
    lags = HistoryLags(tuple(range(24)))
    row_ns = 20_000 * DAY_NS + np.arange(3) * HOUR_NS
    stored_ns = row_ns + np.array([AVAILABILITY_DELAY_NS, AVAILABILITY_DELAY_NS + 1, AVAILABILITY_DELAY_NS])
    lag_ns = lags.readable_ns(row_ns, stored_ns) - row_ns
    assert lag_ns.tolist() == [0, AVAILABILITY_DELAY_NS + 1, 2 * MILLISECOND_NS]
