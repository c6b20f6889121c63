"""The times of a part: microseconds to whoever reads the file, exact to the log, whenever the part was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.clock import DAY_NS, MICROSECOND_NS, SECOND_NS
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.part_times import CREATED, part_times, stated_times, times_in_microseconds
from tests.parts_before import restate_before
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS
PRICE = FeatureGroup("price", "aaaa", ("mid",), (0,))
SET = FeatureSet("1.0.0", ("mid",), (PRICE,), "cccc")
LATE_NS = st.one_of(st.integers(0, 10**12), st.sampled_from([0, 1, 999, 1000, 1001, 999_999, 10**6, 10**6 + 1]))


def table_of(row_ns: list[int], available_ns: list[int]) -> pa.Table:
    times = stated_times(np.array(row_ns, np.int64), np.array(available_ns, np.int64))
    return pa.table(times, ["event_timestamp", "created_timestamp", "available_ns"])


@given(st.lists(st.tuples(st.integers(0, 10**9), LATE_NS), min_size=1, max_size=20), LATE_NS)
def test_a_rounded_time_never_makes_a_row_known_earlier(rows: list[tuple[int, int]], asked_after_ns: int) -> None:
    row_ns = [MIDNIGHT_NS + second * SECOND_NS for second, _ in rows]
    available_ns = [at + late for at, (_, late) in zip(row_ns, rows, strict=True)]
    table = table_of(row_ns, available_ns)
    found_ns, exact_ns = part_times(table)
    assert (found_ns.tolist(), exact_ns.tolist()) == (row_ns, available_ns)
    created_us = table.column(CREATED).cast(pa.int64()).to_numpy().tolist()
    for exact, stated in zip(available_ns, created_us, strict=True):
        assert exact <= stated * MICROSECOND_NS < exact + MICROSECOND_NS
        for asked_ns in (exact, row_ns[0] + asked_after_ns, exact - 1, exact + 1):
            is_known, is_stated = exact <= asked_ns, stated * MICROSECOND_NS <= asked_ns
            assert is_known or not is_stated  # never earlier
            whole_ns = asked_ns - asked_ns % MICROSECOND_NS
            assert (exact <= whole_ns) == (stated * MICROSECOND_NS <= whole_ns)  # the same at whole microseconds


def test_a_row_time_that_microseconds_cannot_hold_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid, match="would lose data"):
        table_of([MIDNIGHT_NS + 1], [MIDNIGHT_NS + 2])


@pytest.mark.parametrize("is_before", [False, True])
def test_a_part_of_either_form_gives_the_same_rows_by_time_as_of_and_served(tmp_path: Path, is_before: bool) -> None:  # noqa: FBT001
    seconds = np.arange(8, dtype=np.int64)
    row_ns = MIDNIGHT_NS + seconds * SECOND_NS
    available_ns = row_ns + 10_000_001 + seconds  # no whole microseconds
    with FeatureLogWriter(tmp_path) as log:
        log.append(
            FeatureRows(SYMBOL, SET, row_ns, (seconds[:, None] * 1.5).astype(np.float64), np.zeros((8, 1), np.int8)),
            available_ns,
        )
    [part] = (tmp_path / "price").rglob("*.parquet")
    if is_before:
        restate_before(part)
        assert pq.read_schema(part).field("event_timestamp").type == pa.timestamp("ns", "UTC")
    found, found_ns = FeatureLog(tmp_path).read(SYMBOL, SET, from_ns=int(row_ns[2]), to_ns=int(row_ns[5]))
    assert found.row_ns.tolist() == row_ns[2:5].tolist()
    assert found_ns.tolist() == available_ns[2:5].tolist()
    assert found.values[:, 0].tolist() == [3.0, 4.5, 6.0]
    assert FeatureLog(tmp_path).last_served_row_ns(SYMBOL, SET) == row_ns[-1]
    assert times_in_microseconds(pq.ParquetFile(part).read()).equals(
        times_in_microseconds(times_in_microseconds(pq.ParquetFile(part).read()))
    )
