"""When the newest rows of a table's log were known, by key, of a log that grows and is made anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from storage.tables.feature_log import extend_table_log
from storage.tables.newest_rows import MOST_KEPT, NewestRows
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.known_rows import KnownRows

GROUP = TABLE_GROUPS["price_volume_features"]
DAY = 86_400 * 10**9


def bars(count: int) -> KnownRows:
    """A bar a day, known a day later."""
    event = np.arange(count, dtype=np.int64) * DAY
    ones = np.ones(count)
    columns = {"close": ones + 1, "volume": ones, "split_ratio": ones, "dividend": ones * 0}
    return KnownRows(event, event + DAY, columns)


def extend(folder: Path, *, now: int, **counts: int) -> None:
    tables = {"daily_bars": {key: bars(count) for key, count in counts.items()}}
    extend_table_log(folder, GROUP, tables, now_ns=now * DAY)


def test_each_key_has_the_newest_row_that_was_known_by_then(tmp_path: Path) -> None:
    newest = NewestRows()
    assert newest.known_by(tmp_path, 9 * DAY) == {}
    extend(tmp_path, now=4, A=4, B=2)
    assert newest.known_by(tmp_path, 9 * DAY) == {"A": 4 * DAY, "B": 2 * DAY}
    assert newest.known_by(tmp_path, 3 * DAY - 1) == {"A": 2 * DAY, "B": 2 * DAY}
    assert newest.known_by(tmp_path, DAY - 1) == {}
    extend(tmp_path, now=6, A=6, B=2)
    assert newest.known_by(tmp_path, 9 * DAY) == {"A": 6 * DAY, "B": 2 * DAY}
    assert newest.known_by(tmp_path, 5 * DAY) == {"A": 5 * DAY, "B": 2 * DAY}


def test_a_part_is_read_once_and_forgotten_when_another_took_its_place(tmp_path: Path) -> None:
    newest = NewestRows()
    extend(tmp_path, now=3, A=3)
    assert newest.known_by(tmp_path, 9 * DAY) == {"A": 3 * DAY}
    [part] = tmp_path.glob("*.parquet")
    part.write_bytes(b"not looked at again")
    assert newest.known_by(tmp_path, 9 * DAY) == {"A": 3 * DAY}
    part.rename(tmp_path / "gone")
    assert newest.known_by(tmp_path, 9 * DAY) == {}


def test_of_many_rows_the_last_ones_are_kept(tmp_path: Path) -> None:
    extend(tmp_path, now=200, A=200)
    newest = NewestRows()
    assert newest.known_by(tmp_path, 190 * DAY) == {"A": 190 * DAY}
    assert newest.known_by(tmp_path, (200 - MOST_KEPT) * DAY) == {}
