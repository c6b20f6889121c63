"""The feature log: rows come back bit for bit, the newest of several wins, and groups never drift apart unseen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.clock import DAY_NS, SECOND_NS
from market.errors import CorruptStore, InvalidRequest, NotFound, StoreUnavailable
from storage.features.known_values import may_know
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.parts import group_folder, parts_of_date
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from transforms.status import GAP, OK, STATUS_NAMES, WARMUP

SYMBOL = "BTCUSDT"
MIDNIGHT_NS = 20_000 * DAY_NS  # 2024-10-04
PRICE = FeatureGroup("price", "aaaa", ("mid", "spread"), (2, 0))
FLOW = FeatureGroup("orderflow", "bbbb", ("vwap",), (1,))
BOTH = FeatureSet("2.0.0", ("spread", "vwap", "mid"), (PRICE, FLOW), "cccc")
PRICE_ONLY = FeatureSet("1.0.0", ("mid", "spread"), (FeatureGroup("price", "aaaa", ("mid", "spread"), (0, 1)),), "dddd")
BITS = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1 << 63, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, (0x7FF8 << 48) | 5, 0xFFF8 << 48]),
)


def rows_at(seconds: list[int], value: float = 1.0, *, feature_set: FeatureSet = BOTH, status: int = OK) -> FeatureRows:
    count = len(seconds)
    return FeatureRows(
        SYMBOL,
        feature_set,
        MIDNIGHT_NS + np.array(seconds, np.int64) * SECOND_NS,
        np.full((count, len(feature_set.columns)), value),
        np.full((count, len(feature_set.groups)), status, np.int8),
    )


def write(root: Path, rows: FeatureRows, *, delay_ns: int = 7) -> npt.NDArray[np.int64]:
    available_ns = rows.row_ns + delay_ns
    with FeatureLogWriter(root) as writer:
        writer.append(rows, available_ns)
    return available_ns


def read(root: Path, feature_set: FeatureSet = BOTH) -> tuple[list[int], list[float]]:
    """Seconds since midnight, and the value of the first column."""
    rows, _ = FeatureLog(root).read(SYMBOL, feature_set, from_ns=None, to_ns=None)
    return ((rows.row_ns - MIDNIGHT_NS) // SECOND_NS).tolist(), rows.values[:, 0].tolist()


@settings(max_examples=60, deadline=None)
@given(
    bits=st.lists(st.tuples(BITS, BITS, BITS), min_size=1, max_size=12),
    start=st.sampled_from([-5, -1, 0, 3]),
    pieces=st.tuples(st.sampled_from([1, 2, 5, 100]), st.integers(1, 4)),
    edges=st.tuples(*[st.sampled_from([None, -1, 0, 1, 3])] * 2),
)
def test_what_is_written_in_any_pieces_is_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    bits: list[tuple[int, int, int]],
    start: int,
    pieces: tuple[int, int],
    edges: tuple[int | None, int | None],
) -> None:
    root = tmp_path_factory.mktemp("features")
    flush_rows, piece = pieces
    rows = rows_at(list(range(start, start + len(bits))))
    values = np.array(bits, np.uint64).view(np.float64)
    status = np.arange(len(bits) * 2, dtype=np.int8).reshape(-1, 2) % len(STATUS_NAMES)
    available_ns = rows.row_ns + np.arange(len(bits)) * 3 + 1
    with FeatureLogWriter(root, flush_rows=flush_rows) as writer:
        for at in range(0, len(bits), piece):
            cut = slice(at, at + piece)
            given_values = values[cut].copy()
            writer.append(FeatureRows(SYMBOL, BOTH, rows.row_ns[cut], given_values, status[cut]), available_ns[cut])
            given_values[:] = 0  # the engine reuses its arrays

    from_ns, to_ns = (None if edge is None else MIDNIGHT_NS + edge * SECOND_NS for edge in edges)
    inside = np.ones(len(bits), np.bool_)
    if from_ns is not None:
        inside &= rows.row_ns >= from_ns
    if to_ns is not None:
        inside &= rows.row_ns < to_ns
    found, found_ns = FeatureLog(root).read(SYMBOL, BOTH, from_ns=from_ns, to_ns=to_ns)
    assert found.row_ns.tolist() == rows.row_ns[inside].tolist()
    assert found.values.tobytes() == values[inside].tobytes()
    assert found.status.tobytes() == status[inside].tobytes()
    assert found_ns.tolist() == available_ns[inside].tolist()


def test_a_part_reads_as_plain_parquet_with_names_a_person_understands(tmp_path: Path) -> None:
    rows = rows_at([0, 1], status=WARMUP)
    rows.values[0] = np.nan
    write(tmp_path, rows)
    folder = tmp_path / "price" / "aaaa" / "symbol=BTCUSDT" / "date=2024-10-04"
    table = pq.ParquetFile(folder / f"part-{MIDNIGHT_NS}-{MIDNIGHT_NS + SECOND_NS}.parquet").read()

    assert group_folder(tmp_path, PRICE) == tmp_path / "price" / "aaaa"
    assert {field.name: field.type for field in table.schema} == {
        "event_timestamp": pa.timestamp("us", tz="UTC"),
        "created_timestamp": pa.timestamp("us", tz="UTC"),
        "available_ns": pa.int64(),
        "mid": pa.float64(),
        "spread": pa.float64(),
        "status": pa.string(),
    }
    assert (table.schema.metadata or {})[b"symbol"] == SYMBOL.encode()
    assert table["status"].to_pylist() == ["WARMUP"] * 2
    assert table["mid"].null_count == 0
    assert [path.name for path in folder.iterdir()] == [f"part-{MIDNIGHT_NS}-{MIDNIGHT_NS + SECOND_NS}.parquet"]


def test_parts_are_compressed_for_reading_and_those_of_another_codec_stay_readable(tmp_path: Path) -> None:
    write(tmp_path, rows_at([0], 1.0))
    [mid_part] = (tmp_path / "price").rglob("*.parquet")
    first_group = pq.read_metadata(mid_part).row_group(0)
    assert {first_group.column(at).compression for at in range(first_group.num_columns)} == {"LZ4"}
    pq.write_table(pq.ParquetFile(mid_part).read(), mid_part, compression="zstd")
    write(tmp_path, rows_at([1], 2.0))
    assert read(tmp_path) == ([0, 1], [1.0, 2.0])


def test_a_flush_across_midnight_writes_one_part_a_date_of_the_row_time(tmp_path: Path) -> None:
    write(tmp_path, rows_at([-1, 0, 1]))
    assert [path.parent.name for path in sorted((tmp_path / "price").rglob("*.parquet"))] == [
        "date=2024-10-03",
        "date=2024-10-04",
    ]


def test_rows_are_written_when_the_buffer_is_full_and_not_before(tmp_path: Path) -> None:
    writer = FeatureLogWriter(tmp_path, flush_rows=3)
    for second in range(5):
        rows = rows_at([second])
        writer.append(rows, rows.row_ns)
    assert read(tmp_path)[0] == [0, 1, 2]
    writer.close()
    writer.close()
    assert read(tmp_path)[0] == [0, 1, 2, 3, 4]


def test_a_period_that_is_written_again_is_read_as_it_was_written_last_and_keeps_its_other_rows(tmp_path: Path) -> None:
    write(tmp_path, rows_at([0, 1, 2], 1.0))
    write(tmp_path, rows_at([0, 2], 2.0))
    assert read(tmp_path) == ([0, 1, 2], [2.0, 1.0, 2.0])


def test_a_period_of_rows_that_were_written_again_ends_before_its_end(tmp_path: Path) -> None:
    write(tmp_path, rows_at([0, 1, 2, 3], 1.0))
    write(tmp_path, rows_at([1, 2], 2.0))
    from_ns, to_ns = MIDNIGHT_NS + SECOND_NS, MIDNIGHT_NS + 3 * SECOND_NS
    found, _ = FeatureLog(tmp_path).read(SYMBOL, BOTH, from_ns=from_ns, to_ns=to_ns)
    assert found.row_ns.tolist() == [from_ns, from_ns + SECOND_NS]
    assert found.values[:, 0].tolist() == [2.0, 2.0]


def test_of_several_rows_of_one_time_the_latest_created_wins_then_the_last_written(tmp_path: Path) -> None:
    write(tmp_path, rows_at([3, 4], 1.0))
    write(tmp_path, rows_at([2, 3], 2.0))
    assert read(tmp_path) == ([2, 3, 4], [2.0, 2.0, 1.0])
    write(tmp_path, rows_at([1, 2, 3, 4], 3.0), delay_ns=8)
    write(tmp_path, rows_at([0, 1, 2, 3], 4.0))
    assert read(tmp_path) == ([0, 1, 2, 3, 4], [4.0, 3.0, 3.0, 3.0, 3.0])
    write(tmp_path, rows_at([4, 4], 5.0), delay_ns=9)
    assert read(tmp_path) == ([0, 1, 2, 3, 4], [4.0, 3.0, 3.0, 3.0, 5.0])


def test_the_last_written_wins_over_later_named_parts_too(tmp_path: Path) -> None:
    for value, seconds in ((1.0, [0, 5]), (2.0, [5, 9]), (3.0, [0, 5, 7]), (4.0, [-0, 5])):
        write(tmp_path, rows_at(seconds, value))
    assert read(tmp_path) == ([0, 5, 7, 9], [4.0, 4.0, 3.0, 2.0])


def test_versions_that_share_a_group_share_its_rows(tmp_path: Path) -> None:
    write(tmp_path, rows_at([0, 1], 1.5))
    assert read(tmp_path, PRICE_ONLY) == ([0, 1], [1.5, 1.5])


def test_a_joined_row_is_available_when_its_last_group_is(tmp_path: Path) -> None:
    write(tmp_path, rows_at([0, 1]), delay_ns=7)
    flow_only = FeatureSet("1.1.0", ("vwap",), (FeatureGroup("orderflow", "bbbb", ("vwap",), (0,)),), "eeee")
    write(tmp_path, rows_at([0], feature_set=PRICE_ONLY), delay_ns=9)
    write(tmp_path, rows_at([1], feature_set=flow_only), delay_ns=8)
    rows, available_ns = FeatureLog(tmp_path).read(SYMBOL, BOTH, from_ns=None, to_ns=None)
    assert (available_ns - rows.row_ns).tolist() == [9, 8]


def test_a_row_that_one_group_lacks_is_corrupt_and_named(tmp_path: Path) -> None:
    write(tmp_path, rows_at([0, 1]))
    write(tmp_path, rows_at([2, 3], feature_set=PRICE_ONLY))
    with pytest.raises(CorruptStore, match=r"BTCUSDT, group orderflow: .* was without 2024-10-04T00:00:02Z"):
        FeatureLog(tmp_path).read(SYMBOL, BOTH, from_ns=None, to_ns=None)


def test_what_was_never_written_is_not_found_and_an_empty_period_is_empty(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="feature log of BTCUSDT"):
        FeatureLog(tmp_path).read(SYMBOL, BOTH, from_ns=None, to_ns=None)
    write(tmp_path, rows_at([0]))
    rows, available_ns = FeatureLog(tmp_path).read(SYMBOL, BOTH, from_ns=MIDNIGHT_NS + 1, to_ns=None)
    assert (rows.values.shape, rows.status.shape, available_ns.shape) == ((0, 3), (0, 2), (0,))


def test_rows_written_for_a_version_with_fewer_columns_count_as_not_computed(tmp_path: Path) -> None:
    fewer = FeatureSet("1.0.0", ("mid",), (FeatureGroup("price", "aaaa", ("mid",), (0,)),), "eeee")
    write(tmp_path, rows_at([0, 1, 2], feature_set=fewer))
    write(tmp_path, rows_at([2, 3], value=5.0, feature_set=PRICE_ONLY))
    assert read(tmp_path, PRICE_ONLY) == ([2, 3], [5.0, 5.0])
    assert read(tmp_path, fewer) == ([0, 1, 2, 3], [1.0, 1.0, 5.0, 5.0])


def test_a_part_that_is_not_what_was_written_is_corrupt_and_named(tmp_path: Path) -> None:
    write(tmp_path, rows_at([0], status=GAP))
    (path,) = (tmp_path / "orderflow").rglob("*.parquet")
    table = pq.ParquetFile(path).read()
    metadata = table.schema.metadata or {}
    broken = path.read_bytes()[:-5]
    for content, rule in (
        (table.replace_schema_metadata({b"group_fingerprint": b"eeee"}), "group fingerprint must be"),
        (table.set_column(3, "vwap", pa.array(["1.0"])), "vwap: must be double"),
        (table.replace_schema_metadata({**metadata, b"symbol": b"ETHUSDT"}), "symbol: must be its folder's"),
        (table.set_column(4, "status", pa.array(["FINE"])), "status: must be one of"),
    ):
        pq.write_table(content, path)
        with pytest.raises(CorruptStore, match=rule):
            read(tmp_path)
    path.write_bytes(broken)
    with pytest.raises(CorruptStore, match=f"{path}: must be whole Parquet"):
        read(tmp_path)
    path.rename(path.with_name("part-x.parquet"))
    with pytest.raises(CorruptStore, match="must be part-<first row>-<last row>"):
        read(tmp_path)


def test_the_parts_of_a_period_are_those_that_touch_it(tmp_path: Path) -> None:
    for seconds in ([20, 21], [0, 1], [10, 11], [10, 11]):
        write(tmp_path, rows_at(seconds))
    [folder] = (group_folder(tmp_path, PRICE) / f"symbol={SYMBOL}").iterdir()
    (folder / "notes-of-a-reader.parquet").touch()

    def found(*period: int) -> list[int]:
        parts = parts_of_date(folder, *(MIDNIGHT_NS + each * SECOND_NS for each in period))
        assert all(path.is_file() for path, _, _ in parts)
        return [(first_ns - MIDNIGHT_NS) // SECOND_NS for _, first_ns, _ in parts]

    assert found() == [0, 10, 10, 20]
    assert [found(1, 10), found(2, 10), found(11, 21), found(22)] == [[0], [], [10, 10, 20], []]


def test_rows_that_disagree_with_their_set_are_refused(tmp_path: Path) -> None:
    rows = rows_at([0, 1])
    with FeatureLogWriter(tmp_path) as writer:
        with pytest.raises(InvalidRequest, match="available_ns: shape must be"):
            writer.append(rows, rows.row_ns[:1])
        rows.status[1, 1] = len(STATUS_NAMES)
        with pytest.raises(InvalidRequest, match="status: must be 0 to 6, was 7"):
            writer.append(rows, rows.row_ns)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_flush_keeps_its_rows_and_publishes_none(tmp_path: Path) -> None:
    blocker = tmp_path / "orderflow"
    blocker.write_text("a file where a folder should be")
    writer = FeatureLogWriter(tmp_path)
    rows = rows_at([0])
    writer.append(rows, rows.row_ns)
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        writer.flush()
    assert [path for path in (tmp_path / "price").rglob("*") if path.is_file()] == []
    blocker.unlink()
    writer.close()
    assert read(tmp_path)[0] == [0]


def test_footers_tell_of_which_period_no_value_can_be_known(tmp_path: Path) -> None:
    write(tmp_path, rows_at([0, 1], np.nan))
    write(tmp_path, rows_at([10, 11], np.inf))
    write(tmp_path, rows_at([20, 21], np.nan))

    def known(first: int, last: int) -> bool:
        period = (MIDNIGHT_NS + each * SECOND_NS for each in (first, last))
        return may_know(FeatureLog(tmp_path), SYMBOL, PRICE, **dict(zip(("from_ns", "to_ns"), period, strict=True)))

    assert [known(0, 10), known(0, 11), known(12, 30), known(30, 40)] == [False, True, False, False]
    # A footer that states nothing may hide any value.
    [last] = (group_folder(tmp_path, PRICE) / f"symbol={SYMBOL}").glob("date=*/part-*20000000000-*.parquet")
    pq.write_table(pq.read_table(last, partitioning=None), last, write_statistics=["event_timestamp"])
    assert known(20, 22)
