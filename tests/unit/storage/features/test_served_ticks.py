"""The record of served rows: what was written comes back in order, by period, and says which feature set it is of."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from market.clock import DAY_NS, MILLISECOND_NS
from market.errors import CorruptStore, InvalidRequest, StoreUnavailable
from storage.features.log import FeatureLog
from storage.features.served_ticks import (
    SERVED_TICKS,
    ServedTickWriter,
    last_served_tick_ns,
    read_served_ticks,
    row_digest,
)
from storage.file_group import FileGroup
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

MIDNIGHT_NS = 20_000 * DAY_NS
TICK_NS = 100 * MILLISECOND_NS
GROUPS = (FeatureGroup("one", "f1", ("a",), (0,)), FeatureGroup("two", "f2", ("b",), (1,)))
SET = FeatureSet("1.0.0", ("a", "b"), GROUPS, "set one")
OTHER = FeatureSet("1.1.0", ("a", "b"), GROUPS, "set two")
LATER = 5 * MILLISECOND_NS


def rows_at(*row_ns: int, chosen: FeatureSet = SET, symbol: str = "BTCUSDT") -> FeatureRows:
    times = np.array(row_ns, np.int64)
    values = np.column_stack([times / 7, np.full(len(times), np.nan)])
    return FeatureRows(symbol, chosen, times, values, np.zeros((len(times), 2), np.int8))


def read(folder: Path, from_ns: int, to_ns: int, feature_set: str | None = None) -> list[tuple[int, int, int]]:
    row_ns, available_ns, digest = read_served_ticks(
        FeatureLog(folder), "BTCUSDT", from_ns=from_ns, to_ns=to_ns, feature_set=feature_set
    )
    assert [str(column.dtype) for column in (row_ns, available_ns, digest)] == ["int64", "int64", "uint64"]
    return list(zip(row_ns.tolist(), available_ns.tolist(), digest.tolist(), strict=True))


def test_the_digest_is_of_the_bits_of_the_values_and_statuses_of_each_row() -> None:
    rows = rows_at(MIDNIGHT_NS, MIDNIGHT_NS + TICK_NS)
    expected = [
        int.from_bytes(blake2b(values.astype("<f8").tobytes() + status.tobytes()).digest()[:8], "little")
        for values, status in zip(rows.values, rows.status, strict=True)
    ]
    assert row_digest(rows).tolist() == expected
    assert expected[0] != expected[1]
    # A view of every other row has the digests of a copy.
    every_other = FeatureRows("BTCUSDT", SET, rows.row_ns[::2], rows.values[::2], rows.status[::2])
    assert row_digest(every_other).tolist() == expected[::2]
    changed = FeatureRows("BTCUSDT", SET, rows.row_ns, np.nextafter(rows.values, np.inf), rows.status)
    other_status = FeatureRows("BTCUSDT", SET, rows.row_ns, rows.values, rows.status + np.int8(1))
    assert not set(row_digest(changed).tolist()) & set(expected)
    assert not set(row_digest(other_status).tolist()) & set(expected)
    assert row_digest(rows_at()).shape == (0,)


def test_rows_come_back_by_period_in_order_of_time_then_availability(tmp_path: Path) -> None:
    writer = ServedTickWriter(tmp_path)
    times = [MIDNIGHT_NS + at * TICK_NS for at in range(-3, 4)]
    for row_ns in times:
        rows = rows_at(row_ns)
        writer.append(rows, rows.row_ns + LATER)
    again = rows_at(MIDNIGHT_NS)
    writer.append(again, again.row_ns + 2 * LATER)
    assert read(tmp_path, times[0], times[-1] + 1) == []
    writer.close()
    digests = dict(zip(times, row_digest(rows_at(*times)).tolist(), strict=True))
    served = sorted([(row_ns, row_ns + LATER) for row_ns in times] + [(MIDNIGHT_NS, MIDNIGHT_NS + 2 * LATER)])
    expected = [(row_ns, available_ns, digests[row_ns]) for row_ns, available_ns in served]
    assert read(tmp_path, times[0], times[-1] + 1) == expected
    assert read(tmp_path, MIDNIGHT_NS, times[-1]) == [each for each in expected if MIDNIGHT_NS <= each[0] < times[-1]]
    assert read(tmp_path, times[-1] + 1, times[-1] + DAY_NS) == read(tmp_path, MIDNIGHT_NS, MIDNIGHT_NS) == []
    assert [path.name for path in sorted((tmp_path / SERVED_TICKS / "symbol=BTCUSDT").iterdir())] == [
        "date=2024-10-03",
        "date=2024-10-04",
    ]
    assert last_served_tick_ns(FeatureLog(tmp_path), "BTCUSDT") == times[-1]
    assert last_served_tick_ns(FeatureLog(tmp_path), "ETHUSDT") is None


def test_rows_of_one_feature_set_are_told_from_those_of_another(tmp_path: Path) -> None:
    writer = ServedTickWriter(tmp_path)
    for chosen in (SET, OTHER):
        rows = rows_at(MIDNIGHT_NS, chosen=chosen)
        writer.append(rows, rows.row_ns + (chosen is OTHER))
    writer.close()
    assert [available_ns - MIDNIGHT_NS for _, available_ns, _ in read(tmp_path, 0, 2**62, "set two")] == [1]
    assert len(read(tmp_path, 0, 2**62)) == 2


def test_a_full_buffer_is_written_and_a_flush_is_of_one_symbol(tmp_path: Path) -> None:
    writer = ServedTickWriter(tmp_path, flush_rows=2)
    writer.append(rows_at(MIDNIGHT_NS, MIDNIGHT_NS + TICK_NS), np.array([1, 2]))
    assert len(read(tmp_path, 0, 2**62)) == 2
    writer.append(rows_at(MIDNIGHT_NS + 2 * TICK_NS), np.array([3]))
    writer.append(rows_at(MIDNIGHT_NS, symbol="ETHUSDT"), np.array([4]))
    with FileGroup() as group:
        writer.stage_symbol("BTCUSDT", group)
        group.publish()
    assert len(read(tmp_path, 0, 2**62)) == 3
    assert last_served_tick_ns(FeatureLog(tmp_path), "ETHUSDT") is None
    writer.close()
    assert last_served_tick_ns(FeatureLog(tmp_path), "ETHUSDT") == MIDNIGHT_NS


def test_what_the_disk_refuses_stays_buffered(tmp_path: Path) -> None:
    (tmp_path / SERVED_TICKS).write_text("a file where the folder should be")
    writer = ServedTickWriter(tmp_path)
    writer.append(rows_at(MIDNIGHT_NS), np.array([1]))
    with pytest.raises(StoreUnavailable):
        writer.close()
    (tmp_path / SERVED_TICKS).unlink()
    writer.close()
    assert len(read(tmp_path, 0, 2**62)) == 1


def test_damage_and_a_symbol_that_names_no_folder_are_told(tmp_path: Path) -> None:
    writer = ServedTickWriter(tmp_path)
    writer.append(rows_at(MIDNIGHT_NS), np.array([1]))
    writer.close()
    [path] = tmp_path.rglob("ticks-*.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(CorruptStore, match=path.name):
        read(tmp_path, 0, 2**62)
    path.rename(path.with_name("ticks-1.parquet"))
    with pytest.raises(CorruptStore, match=r"ticks-1\.parquet"):
        last_served_tick_ns(FeatureLog(tmp_path), "BTCUSDT")
    with pytest.raises(InvalidRequest):
        read_served_ticks(FeatureLog(tmp_path), "../BTC", from_ns=0, to_ns=1)
