"""The log of a table's features: it grows with the table, and is made anew where the past of the table changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from storage.tables.feature_log import extend_table_log, newest_known_ns
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.known_rows import KnownRows

GROUP = TABLE_GROUPS["price_volume_features"]
DAY = 86_400 * 10**9
LATE = 100 * DAY


def bars(*closes: float) -> KnownRows:
    """A bar a day, known a day later."""
    event = np.arange(len(closes), dtype=np.int64) * DAY
    ones = np.ones(len(closes))
    columns = {"close": np.array(closes), "volume": ones, "split_ratio": ones, "dividend": ones * 0}
    return KnownRows(event, event + DAY, columns)


def closes(folder: Path) -> list[float]:
    found = pq.read_table(folder).sort_by("created_timestamp")["close_price"]
    return [float(close) for close in found.to_numpy()]


def test_what_is_known_is_written_once_and_nothing_before_its_time(tmp_path: Path) -> None:
    table = {"A": bars(1, 2, 3)}
    assert extend_table_log(tmp_path, GROUP, {"daily_bars": table}, now_ns=2 * DAY).rows == 2
    assert closes(tmp_path) == [1, 2]
    assert extend_table_log(tmp_path, GROUP, {"daily_bars": table}, now_ns=2 * DAY).rows == 0
    extension = extend_table_log(tmp_path, GROUP, {"daily_bars": {"A": bars(1, 2, 3, 4), "B": bars(7)}}, now_ns=LATE)
    assert (extension.rows, extension.is_rewritten) == (3, False)
    assert closes(tmp_path) == [1, 7, 2, 3, 4]
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_a_row_that_was_changed_in_place_or_came_late_is_computed_from_the_beginning(tmp_path: Path) -> None:
    extend_table_log(tmp_path, GROUP, {"daily_bars": {"A": bars(1, 2, 3)}}, now_ns=LATE)
    extension = extend_table_log(tmp_path, GROUP, {"daily_bars": {"A": bars(1, 5, 3)}}, now_ns=LATE)
    assert (extension.rows, extension.is_rewritten) == (3, True)
    assert closes(tmp_path) == [1, 5, 3]
    assert len(list(tmp_path.glob("*.parquet"))) == 1


def test_a_run_that_ended_before_it_removed_what_it_replaced_is_finished_by_the_next(tmp_path: Path) -> None:
    extend_table_log(tmp_path, GROUP, {"daily_bars": {"A": bars(1, 2, 3)}}, now_ns=LATE)
    [old] = tmp_path.glob("*.parquet")
    content = old.read_bytes()
    extend_table_log(tmp_path, GROUP, {"daily_bars": {"A": bars(5)}}, now_ns=LATE)
    old.write_bytes(content)
    assert extend_table_log(tmp_path, GROUP, {"daily_bars": {"A": bars(5)}}, now_ns=LATE).rows == 0
    assert closes(tmp_path) == [5]


def test_the_newest_row_that_was_known_is_told_of_each_table(tmp_path: Path) -> None:
    assert newest_known_ns(tmp_path, "daily_bars") is None
    extend_table_log(tmp_path, GROUP, {"daily_bars": {"A": bars(1, 2, 3)}}, now_ns=2 * DAY)
    assert newest_known_ns(tmp_path, "daily_bars") == 2 * DAY
    extend_table_log(tmp_path, GROUP, {"daily_bars": {"A": bars(1, 2, 3), "B": bars(7)}}, now_ns=LATE)
    assert newest_known_ns(tmp_path, "daily_bars") == 3 * DAY
    assert newest_known_ns(tmp_path, "reports") is None
