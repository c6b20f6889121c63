"""A rebuilt day is written as its rows come, and is seen as a whole or not at all."""

from __future__ import annotations

import resource
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from market.clock import DAY_NS, SECOND_NS
from market.errors import CorruptStore, StoreUnavailable
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.rebuilt_days import has_rebuilt_day, is_served_whole, served_times, write_rebuilt_day
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet

SYMBOL = "BTCUSDT"
DATE = "2024-10-04"
MIDNIGHT_NS = 20_000 * DAY_NS
PRICE = FeatureGroup("price", "aaaa", ("mid", "spread"), (2, 0))
FLOW = FeatureGroup("orderflow", "bbbb", ("vwap",), (1,))
BOTH = FeatureSet("2.0.0", ("spread", "vwap", "mid"), (PRICE, FLOW), "cccc")
INPUTS = {"price": "feed", "orderflow": "cafe"}

Piece = tuple[FeatureRows, npt.NDArray[np.int64]]


def rows_at(begin: int, end: int) -> FeatureRows:
    """Rows of these seconds of the date, no two values alike."""
    row_ns = MIDNIGHT_NS + np.arange(begin, end) * SECOND_NS
    values = np.arange(begin * 3, end * 3, dtype=np.float64).reshape(-1, 3)
    return FeatureRows(SYMBOL, BOTH, row_ns, values, np.zeros((end - begin, 2), np.int8))


def pieces(*ends: int) -> Iterator[Piece]:
    begin = 0
    for end in ends:
        rows = rows_at(begin, end)
        yield rows, rows.row_ns + 7
        begin = end


def write(root: Path, some: Iterator[Piece], **inputs: str) -> int:
    return write_rebuilt_day(FeatureLog(root), SYMBOL, BOTH.groups, some, date=DATE, inputs=inputs or INPUTS)


def files(root: Path) -> list[Path]:
    """Every file, whatever its name."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_rows_come_back_to_the_bit_whatever_the_pieces_and_each_piece_is_a_row_group(tmp_path: Path) -> None:
    assert write(tmp_path / "one", pieces(9)) == 9
    assert write(tmp_path / "three", pieces(4, 8, 9)) == 9
    assert [path.name for path in files(tmp_path / "one")] == [path.name for path in files(tmp_path / "three")]
    for folder, groups in (("one", [9]), ("three", [4, 4, 1])):
        rows, available_ns = FeatureLog(tmp_path / folder).read(SYMBOL, BOTH, from_ns=None, to_ns=None)
        expected = rows_at(0, 9)
        assert np.array_equal(rows.row_ns, expected.row_ns)
        assert np.array_equal(rows.values.view(np.int64), expected.values.view(np.int64))
        assert np.array_equal(available_ns, expected.row_ns + 7)
        for path in files(tmp_path / folder):
            metadata = pq.read_metadata(path)
            assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == groups
    assert has_rebuilt_day(FeatureLog(tmp_path / "three"), PRICE, SYMBOL, DATE, "feed")


def test_nothing_is_seen_before_the_last_row_and_no_more_than_one_piece_is_held(tmp_path: Path) -> None:
    before: list[weakref.ref[Any]] = []

    def watched() -> Iterator[Piece]:
        begin = 0
        for end in (4, 8, 12, 16):
            assert all(values() is None for values in before[:-1])
            assert all(path.name.startswith(".") for path in files(tmp_path))
            rows = rows_at(begin, end)
            before.append(weakref.ref(rows.values))
            available_ns = rows.row_ns + 7
            yield rows, available_ns
            del rows
            begin = end

    assert write(tmp_path, watched()) == 16
    assert len(before) == 4
    assert len(files(tmp_path)) == 2


def test_a_day_that_fails_on_the_way_leaves_nothing_and_the_day_before_it_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, pieces(4))
    stood = {path: path.read_bytes() for path in files(tmp_path)}

    def failing() -> Iterator[Piece]:
        yield from pieces(4, 8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, failing(), price="other", orderflow="other")
    assert {path: path.read_bytes() for path in files(tmp_path)} == stood


def test_a_disk_that_takes_no_more_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(StoreUnavailable, match=f"{tmp_path}.*cannot be written: .*File too large"):
            write(tmp_path, pieces(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(tmp_path) == []
    assert write(tmp_path, pieces(20_000)) == 20_000


def test_a_row_was_served_as_a_whole_when_the_last_of_its_groups_was(tmp_path: Path) -> None:
    empty = served_times(FeatureLog(tmp_path), BOTH.groups, SYMBOL, DATE)
    assert [len(each) for each in empty] == [0, 0]
    rows = rows_at(0, 3)
    with FeatureLogWriter(tmp_path) as log:
        log.append(rows, rows.row_ns + 5)
    with FeatureLogWriter(tmp_path) as log:
        alone = FeatureSet("1.0.0", ("vwap",), (FeatureGroup("orderflow", "bbbb", ("vwap",), (0,)),), "dddd")
        log.append(
            FeatureRows(SYMBOL, alone, rows.row_ns[1:], rows.values[1:, :1], rows.status[1:, :1]), rows.row_ns[1:] + 9
        )
    row_ns, created_ns = served_times(FeatureLog(tmp_path), BOTH.groups, SYMBOL, DATE)
    assert row_ns.tolist() == rows.row_ns.tolist()
    assert (created_ns - row_ns).tolist() == [5, 9, 9]


def test_a_part_of_a_day_is_read_from_its_own_row_groups_alone(tmp_path: Path) -> None:
    write(tmp_path, pieces(400, 800))
    for path in files(tmp_path):
        # The first page of the second row group, which the first half of the day has nothing to do with.
        column = pq.read_metadata(path).row_group(1).column(0)
        at = column.data_page_offset
        content = bytearray(path.read_bytes())
        content[at + column.total_compressed_size // 2 : at + column.total_compressed_size] = bytes(
            column.total_compressed_size - column.total_compressed_size // 2
        )
        path.write_bytes(content)
    log = FeatureLog(tmp_path)
    half_ns = MIDNIGHT_NS + 400 * SECOND_NS
    rows, _ = log.read(SYMBOL, BOTH, from_ns=MIDNIGHT_NS, to_ns=half_ns)
    assert np.array_equal(rows.values, rows_at(0, 400).values)
    with pytest.raises(CorruptStore):
        log.read(SYMBOL, BOTH, from_ns=MIDNIGHT_NS, to_ns=half_ns + 1)


def test_a_period_was_served_whole_when_no_second_of_it_lacks_a_row(tmp_path: Path) -> None:
    with FeatureLogWriter(tmp_path) as writer:
        for rows in (rows_at(0, 5), rows_at(4, 6), rows_at(7, 9)):
            writer.append(rows, rows.row_ns + 7)
    log = FeatureLog(tmp_path)
    whole = [
        is_served_whole(
            log, PRICE, SYMBOL, DATE, first_ns=MIDNIGHT_NS + first * SECOND_NS, last_ns=MIDNIGHT_NS + last * SECOND_NS
        )
        for first, last in ((0, 5), (2, 2), (7, 8), (0, 6), (5, 7), (7, 9))
    ]
    assert whole == [True, True, True, False, False, False]
