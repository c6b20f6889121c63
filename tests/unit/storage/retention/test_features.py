"""Retention of the feature log: whole days go, come back to the bit, and nothing in use is deleted without a word."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from market.clock import DAY_NS, SECOND_NS
from market.errors import Conflict, NotFound, StoreUnavailable
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.parts import group_folder
from storage.features.served_ticks import ServedTickWriter, read_served_ticks
from storage.file_group import FileGroup
from storage.retention.features import (
    archive_feature_days,
    delete_feature_days,
    expired_feature_days,
    logged_symbols,
    restore_feature_days,
)
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

MIDNIGHT_NS = 20_000 * DAY_NS
SET = FeatureSet(
    "1.0.0", ("a", "b"), (FeatureGroup("one", "f1", ("a",), (0,)), FeatureGroup("two", "f2", ("b",), (1,))), "s"
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three days of one symbol, a day of another, two groups, and the record of what was served."""
    folder = tmp_path / "features"
    with FeatureLogWriter(folder) as writer, closing(ServedTickWriter(folder)) as ticks:
        for symbol, days in (("BTCUSDT", 3), ("ETHUSDT", 1)):
            row_ns = (MIDNIGHT_NS + np.arange(days)[:, None] * DAY_NS + np.array([0, 7]) * SECOND_NS).ravel()
            values = np.arange(4.0 * days).reshape(-1, 2)
            rows = FeatureRows(symbol, SET, row_ns, values, np.zeros(values.shape, np.int8))
            writer.append(rows, row_ns + 1)
            ticks.append(rows, row_ns + 1)
    return folder


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def row_times(log: Path, symbol: str) -> list[int]:
    found: list[int] = FeatureLog(log).read(symbol, SET, from_ns=None, to_ns=None)[0].row_ns.tolist()
    return found


def test_a_day_is_old_once_it_is_over(log: Path) -> None:
    assert logged_symbols(FeatureLog(log)) == ["BTCUSDT", "ETHUSDT"]
    for before_ns, dates in (
        (MIDNIGHT_NS + DAY_NS - 1, []),
        (MIDNIGHT_NS + DAY_NS, ["2024-10-04"]),
        (MIDNIGHT_NS + 2 * DAY_NS + 5, ["2024-10-04", "2024-10-05"]),
    ):
        assert [day.date for day in expired_feature_days(FeatureLog(log), "BTCUSDT", before_ns)] == dates


def test_archived_days_come_back_to_the_bit_and_the_others_never_went(log: Path, tmp_path: Path) -> None:
    before = contents(log)
    abandoned = next(log.rglob("symbol=BTCUSDT/date=2024-10-04")) / ".part-1-2.parquet.host-1-2"
    abandoned.write_bytes(b"half")
    days = expired_feature_days(FeatureLog(log), "BTCUSDT", MIDNIGHT_NS + 2 * DAY_NS)
    assert archive_feature_days(FeatureLog(log), tmp_path / "archive", days) == sum(
        len(content) for name, content in before.items() if "BTCUSDT/date=2024-10-06" not in name and "BTCUSDT" in name
    )
    assert row_times(log, "BTCUSDT") == [MIDNIGHT_NS + 2 * DAY_NS, MIDNIGHT_NS + 2 * DAY_NS + 7 * SECOND_NS]
    assert read_served_ticks(FeatureLog(log), "BTCUSDT", from_ns=0, to_ns=2**62)[0].tolist() == row_times(
        log, "BTCUSDT"
    )
    assert len(row_times(log, "ETHUSDT")) == 2
    assert not (group_folder(log, SET.groups[0]) / "symbol=BTCUSDT" / "date=2024-10-04").exists()
    assert restore_feature_days(FeatureLog(log), tmp_path / "archive", "BTCUSDT") == 2
    assert contents(log) == before
    with pytest.raises(NotFound, match="must hold feature rows of ETHUSDT"):
        restore_feature_days(FeatureLog(log), tmp_path / "archive", "ETHUSDT")


def test_an_archive_cut_short_goes_on(log: Path, tmp_path: Path) -> None:
    before = contents(log)
    days = expired_feature_days(FeatureLog(log), "BTCUSDT", MIDNIGHT_NS + DAY_NS)
    copy = tmp_path / "archive" / days[0].files[0]
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"half")
    archive_feature_days(FeatureLog(log), tmp_path / "archive", days)
    restore_feature_days(FeatureLog(log), tmp_path / "archive", "BTCUSDT")
    assert contents(log) == before


def test_a_disk_that_lets_nothing_go_is_named(log: Path) -> None:
    days = expired_feature_days(FeatureLog(log), "BTCUSDT", MIDNIGHT_NS + DAY_NS)
    path = log / days[0].files[0]
    path.unlink()
    path.mkdir()  # root may remove files from a read-only folder
    with pytest.raises(StoreUnavailable, match=f"{log}: cannot be written: .*{path.name}"):
        delete_feature_days(FeatureLog(log), days, used_by=())


def test_what_a_dataset_is_made_of_is_not_deleted_without_a_word(log: Path) -> None:
    before = contents(log)
    days = expired_feature_days(FeatureLog(log), "BTCUSDT", MIDNIGHT_NS + DAY_NS)
    with pytest.raises(Conflict, match="feature rows: must not be in use to be deleted, was used by d17"):
        delete_feature_days(FeatureLog(log), days, used_by=["d17"])
    assert contents(log) == before
    assert delete_feature_days(FeatureLog(log), days, used_by=()) > 0
    assert len(row_times(log, "BTCUSDT")) == 4


def test_days_are_removed_while_rows_are_written_into_them(tmp_path: Path) -> None:
    """A worker that catches up after days has none of its writes refused, and leaves nothing unpublished behind."""
    log = FeatureLog(tmp_path / "features")
    written = 0

    def catch_up() -> None:
        nonlocal written
        with FeatureLogWriter(log.folder, flush_rows=1) as writer, closing(ServedTickWriter(log.folder)) as ticks:
            for at in range(400):
                row_ns = np.array([MIDNIGHT_NS + at * SECOND_NS])
                rows = FeatureRows("BTCUSDT", SET, row_ns, np.zeros((1, 2)), np.zeros((1, 2), np.int8))
                writer.append(rows, row_ns + 1)
                ticks.append(rows, row_ns + 1)
                with log.writing(), FileGroup() as group:
                    ticks.stage_symbol("BTCUSDT", group)
                    group.publish()
                written += 1

    removed = 0
    with ThreadPoolExecutor(1) as pool:
        catching_up = pool.submit(catch_up)
        while not catching_up.done():
            days = expired_feature_days(log, "BTCUSDT", MIDNIGHT_NS + DAY_NS)
            removed += delete_feature_days(log, days, used_by=()) > 0
        catching_up.result()
    assert written == 400
    assert removed > 0
    assert not list(log.folder.rglob(".*.parquet-*"))
