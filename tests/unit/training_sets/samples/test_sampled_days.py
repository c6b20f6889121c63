"""Sampled days: a block is what would be retrieved now, or it is not used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, parse_iso_ns, utc_date
from storage.features.history_lags import HistoryLags
from storage.features.log import FeatureLog
from storage.features.parts import group_folder
from storage.retention.features import delete_feature_days, expired_feature_days
from training_sets.samples.known import NO_ROW, TOO_LATE, Known
from training_sets.samples.sampled_days import MOST_BLOCKS, SampledDays, remove_sampled_days
from transforms.catalogue import feature_set

CHOSEN = feature_set("t", ["mid_price", "returns_1m"])
SYMBOLS = ("AUSDT", "BUSDT")
BEGIN_NS = parse_iso_ns("2026-01-05T01:09:30")
DAYS = 4
BLOCKS = "*/*/symbol=*/date=*/.sampled-*"

Int64s = npt.NDArray[np.int64]


class Log:
    """A feature log of one byte a file, and a retrieval whose values are made of those of a date and the one after."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        for symbol in SYMBOLS:
            for day in range(DAYS + 1):
                self.write(symbol, BEGIN_NS + day * DAY_NS, day + 2)

    def path(self, symbol: str, time_ns: int) -> Path:
        first = CHOSEN.groups[0]
        folder = group_folder(self.folder, first) / f"symbol={symbol}" / f"date={utc_date(time_ns)}"
        return folder / "part-0-1.parquet"

    def write(self, symbol: str, time_ns: int, value: int) -> None:
        path = self.path(symbol, time_ns)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name("new").write_bytes(bytes([value]))
        path.with_name("new").replace(path)

    def retrieve(self, times_ns: Int64s) -> Known:
        self.asked.append((utc_date(int(times_ns[0])), utc_date(int(times_ns[-1]))))
        rows = [
            (self.value(symbol, time_ns), np.nan if (time_ns - BEGIN_NS) % HOUR_NS == 0 else time_ns / SECOND_NS)
            for time_ns in times_ns.tolist()
            for symbol in SYMBOLS
        ]
        features = np.array(rows, np.float64)
        each_ns = np.repeat(times_ns, len(SYMBOLS))
        # Of some times there is no row, and of some it came too late.
        row_ns = np.where((each_ns - BEGIN_NS) % HOUR_NS == 30 * MINUTE_NS, NO_ROW, each_ns)
        row_ns = np.where((each_ns - BEGIN_NS) % HOUR_NS == 20 * MINUTE_NS, TOO_LATE, row_ns)
        features[row_ns < 0] = np.nan
        return Known(features, row_ns, np.where(row_ns < 0, each_ns, each_ns + 10_000_001))

    def value(self, symbol: str, time_ns: int) -> int:
        is_last = time_ns % DAY_NS >= DAY_NS - MINUTE_NS
        after = self.path(symbol, time_ns + DAY_NS).read_bytes() if is_last else b"\0"
        return 256 * self.path(symbol, time_ns).read_bytes()[0] + after[0]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "features")


def times(days: int) -> Int64s:
    return np.arange(BEGIN_NS, BEGIN_NS + days * DAY_NS, 10 * MINUTE_NS, dtype=np.int64)


def assert_same(found: Known, expected: Known) -> None:
    assert np.array_equal(found.features, expected.features, equal_nan=True)
    assert np.array_equal(found.row_ns, expected.row_ns)
    assert np.array_equal(found.had_ns, expected.had_ns)


def sampled(log: Log, *, days: int = 2, interval_ns: int = 10 * MINUTE_NS) -> list[tuple[str, str]]:
    """Which dates are retrieved for so many days from 01:00 on, once the values are seen to be right."""
    log.asked.clear()
    found = SampledDays(FeatureLog(log.folder), CHOSEN, SYMBOLS, interval_ns=interval_ns, retrieve=log.retrieve)
    known = found.known(times(days))
    asked = list(log.asked)
    assert_same(known, log.retrieve(times(days)))
    return asked


def test_known_days_are_not_retrieved_again_and_one_more_day_retrieves_the_days_that_changed(log: Log) -> None:
    assert sampled(log, days=2) == [("2026-01-05", "2026-01-07")]
    assert sampled(log, days=2) == []
    # Of the last date of the two days only an hour was sampled.
    assert sampled(log, days=3) == [("2026-01-07", "2026-01-08")]
    assert sampled(log, days=3) == []
    assert sampled(log, days=2) == []


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_changed_file_is_seen_in_its_day_and_the_one_before(log: Log, symbol: str) -> None:
    sampled(log, days=3)
    log.write(symbol, BEGIN_NS + DAY_NS, 77)
    assert sampled(log, days=3) == [("2026-01-05", "2026-01-06")]


def test_a_file_more_is_seen(log: Log) -> None:
    sampled(log)
    log.path("BUSDT", BEGIN_NS).with_name("rebuilt-0-1-abc.parquet").write_bytes(b"x")
    assert sampled(log) == [("2026-01-05", "2026-01-05")]


def test_a_damaged_block_is_retrieved_again(log: Log) -> None:
    sampled(log)
    blocks = sorted(log.folder.glob(BLOCKS))
    assert len(blocks) == 3 * len(SYMBOLS)
    blocks[0].write_bytes(blocks[0].read_bytes()[:-1] + b"x")
    assert sampled(log) == [("2026-01-05", "2026-01-05")]
    blocks[-1].write_bytes(b"")
    assert sampled(log) == [("2026-01-07", "2026-01-07")]
    assert sampled(log) == []


def test_what_changes_while_it_is_retrieved_is_not_kept(log: Log) -> None:
    def retrieve(times_ns: Int64s) -> Known:
        log.write("AUSDT", BEGIN_NS + DAY_NS, 78)
        return log.retrieve(times_ns)

    SampledDays(FeatureLog(log.folder), CHOSEN, SYMBOLS, interval_ns=10 * MINUTE_NS, retrieve=retrieve).known(times(2))
    log.write("AUSDT", BEGIN_NS + DAY_NS, 3)
    assert sampled(log) == [("2026-01-05", "2026-01-06")]


def test_another_part_of_a_day_is_another_block_though_it_is_as_long(log: Log) -> None:
    for begin_ns in (BEGIN_NS, BEGIN_NS + HOUR_NS):
        times_ns = np.arange(begin_ns, begin_ns + 2 * HOUR_NS, MINUTE_NS, dtype=np.int64)
        found = SampledDays(FeatureLog(log.folder), CHOSEN, SYMBOLS, interval_ns=MINUTE_NS, retrieve=log.retrieve)
        assert_same(found.known(times_ns), log.retrieve(times_ns))


def test_another_feature_set_or_interval_has_blocks_of_its_own(log: Log) -> None:
    sampled(log)
    assert sampled(log, interval_ns=20 * MINUTE_NS) != []
    other = feature_set("t", ["mid_price", "returns_3m"])
    log.asked.clear()
    SampledDays(FeatureLog(log.folder), other, SYMBOLS, interval_ns=10 * MINUTE_NS, retrieve=log.retrieve).known(
        times(2)
    )
    assert log.asked != []
    assert sampled(log) == []


def test_a_log_with_history_lags_has_blocks_of_its_own(log: Log) -> None:
    sampled(log)
    lagging = FeatureLog(log.folder, HistoryLags((40,) * 24))
    for expected in ([("2026-01-05", "2026-01-07")], []):
        log.asked.clear()
        SampledDays(lagging, CHOSEN, SYMBOLS, interval_ns=10 * MINUTE_NS, retrieve=log.retrieve).known(times(2))
        assert log.asked == expected


def test_a_day_keeps_a_bounded_number_of_blocks_the_newest(log: Log) -> None:
    for minutes in range(1, MOST_BLOCKS + 4):
        assert sampled(log, days=1, interval_ns=minutes * MINUTE_NS) != []
    assert sampled(log, days=1, interval_ns=(MOST_BLOCKS + 3) * MINUTE_NS) == []
    for date in ("2026-01-05", "2026-01-06"):
        assert len(list(log.folder.glob(f"*/*/symbol=AUSDT/date={date}/.sampled-*"))) == MOST_BLOCKS


def test_blocks_go_with_their_day_and_with_the_cache(log: Log) -> None:
    sampled(log)
    days = expired_feature_days(FeatureLog(log.folder), "AUSDT", BEGIN_NS + DAY_NS)
    delete_feature_days(FeatureLog(log.folder), days, used_by=[])
    dates = {path.parent.name for path in log.folder.glob("*/*/symbol=AUSDT/date=*/.sampled-*")}
    assert dates == {"date=2026-01-06", "date=2026-01-07"}
    remove_sampled_days(FeatureLog(log.folder), symbol="BUSDT", first_date="2026-01-06", last_date="2026-01-06")
    dates = {path.parent.name for path in log.folder.glob("*/*/symbol=BUSDT/date=*/.sampled-*")}
    assert dates == {"date=2026-01-05", "date=2026-01-07"}
    remove_sampled_days(FeatureLog(log.folder), symbol=None, first_date=None, last_date=None)
    assert list(log.folder.glob(BLOCKS)) == []
