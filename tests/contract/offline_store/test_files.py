"""The layouts of files that the offline store reads, and which of them it opens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureView, Field, FileSource
from feast.types import Float64, Int64

from market.errors import CorruptStore, InvalidRequest, NotFound
from tests.stored_books import SYMBOL, MakeStore, entity_rows, rows_of, view_of, write


def test_a_hive_folder_is_read_by_its_partitions_only(
    make_store: MakeStore, stored: Callable[[Path], str], tmp_path: Path
) -> None:
    folder = tmp_path / "book"
    for symbol, mid in (("BTC/USDT", 1.0), ("1000", 2.0)):
        table = rows_of([symbol], [0], [0], mid=[mid]).drop_columns(["symbol"])
        write(table, folder / f"symbol={quote(symbol, safe='')}" / "date=2026-03-01" / "part-0.parquet")
    broken = folder / "symbol=ETH" / "date=2026-03-01" / "part-0.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"this file is never opened")
    store = make_store([SYMBOL, view_of(stored(folder), [Field(name="mid", dtype=Float64)])])
    asked = entity_rows(["1000", "BTC/USDT"], [1, 1])
    assert store.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [2.0, 1.0]

    with pytest.raises(CorruptStore, match="symbol=ETH"):
        store.get_historical_features(entity_rows(["ETH"], [1]), ["book:mid"]).to_df()


def test_a_partition_of_digits_has_the_type_that_the_view_declares(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    write(rows_of(["-"], [0], [0], mid=[2.0]).drop_columns(["symbol"]), folder / "symbol=1000" / "part-0.parquet")
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64)])])
    assert store.get_historical_features(entity_rows(["1000"], [1]), ["book:mid"]).to_df()["mid"].tolist() == [2.0]


def test_row_groups_outside_the_times_asked_for_are_not_read(
    make_store: MakeStore, stored: Callable[[Path], str], tmp_path: Path
) -> None:
    path = tmp_path / "book.parquet"
    seconds = [0.0, 100.0, 200.0]
    pq.write_table(rows_of(["BTC"] * 3, seconds, [*seconds], mid=[1.0, 2.0, 3.0]), path, row_group_size=1)
    metadata = pq.read_metadata(path)
    written = bytearray(path.read_bytes())
    for index in (0, 2):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(index).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            written[start : start + chunk.total_compressed_size] = b"?" * chunk.total_compressed_size
    path.write_bytes(written)
    store = make_store([SYMBOL, view_of(stored(path), [Field(name="mid", dtype=Float64)], ttl=timedelta(seconds=60))])
    assert store.get_historical_features(entity_rows(["BTC"], [150]), ["book:mid"]).to_df()["mid"].tolist() == [2.0]
    with pytest.raises(CorruptStore, match=r"book\.parquet"):
        store.get_historical_features(entity_rows(["BTC"], [50]), ["book:mid"]).to_df()


def test_hidden_files_of_a_folder_are_not_read(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    write(rows_of(["BTC"], [0], [0], mid=[1.0]), folder / "part-0.parquet")
    (folder / ".part-1.parquet.unfinished").write_bytes(b"PAR1")
    (folder / "_SUCCESS").touch()
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64)])])
    assert store.get_historical_features(entity_rows(["BTC"], [1]), ["book:mid"]).to_df()["mid"].tolist() == [1.0]


def test_a_column_that_newer_files_have_is_null_in_older_ones(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    write(rows_of(["BTC"], [0], [0], mid=[1.0]), folder / "a.parquet")
    write(rows_of(["BTC"], [10], [10], mid=[2.0], depth=pa.array([3], pa.int64())), folder / "b.parquet")
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64), Field(name="depth", dtype=Int64)])])
    table = store.get_historical_features(entity_rows(["BTC", "BTC"], [5, 15]), ["book:mid", "book:depth"]).to_arrow()
    assert table["mid"].to_pylist() == [1.0, 2.0]
    assert table["depth"].to_pylist() == [None, 3]
    assert table["depth"].type == pa.int64()


def test_a_column_that_only_other_partitions_have_is_null_of_its_type(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    bare = rows_of(["-"], [0], [0], mid=[1.0]).drop_columns(["symbol"])
    write(bare, folder / "symbol=BTC" / "a.parquet")
    write(bare.append_column("depth", pa.array([3], pa.int64())), folder / "symbol=ETH" / "a.parquet")
    store = make_store(
        [SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64), Field(name="depth", dtype=Float64)])]
    )
    table = store.get_historical_features(entity_rows(["BTC"], [5]), ["book:mid", "book:depth"]).to_arrow()
    assert (table["mid"].to_pylist(), table["depth"].to_pylist(), table["depth"].type) == ([1.0], [None], pa.int64())


def test_an_empty_folder_gives_nulls_and_a_missing_one_is_named(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    folder.mkdir()
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64), Field(name="n", dtype=Int64)])])
    job = store.get_historical_features(entity_rows(["BTC"], [5]), ["book:mid", "book:n"])
    assert job.to_arrow()["n"].type == pa.int64()
    assert job.to_df()["mid"].isna().all()
    folder.rmdir()
    with pytest.raises(NotFound, match=str(folder)):
        job.to_df()


def test_a_column_that_no_file_has_is_refused_by_name(make_store: MakeStore, tmp_path: Path) -> None:
    path = write(rows_of(["BTC"], [0], [0], mid=[1.0]), tmp_path / "book.parquet")
    view = view_of(path, [Field(name="mid", dtype=Float64), Field(name="depth", dtype=Float64)])
    store = make_store([SYMBOL, view])
    with pytest.raises(InvalidRequest, match="depth: must be a column of the source"):
        store.get_historical_features(entity_rows(["BTC"], [1]), ["book:depth"]).to_df()


def test_a_source_without_its_time_column_is_refused_by_name(make_store: MakeStore, tmp_path: Path) -> None:
    path = write(rows_of(["BTC"], [0], [0], mid=[1.0]).drop_columns(["event_timestamp"]), tmp_path / "book.parquet")
    store = make_store([SYMBOL, view_of(path, [Field(name="mid", dtype=Float64)])])
    with pytest.raises(InvalidRequest, match="event_timestamp: must be a column of the source"):
        store.get_historical_features(entity_rows(["BTC"], [1]), ["book:mid"]).to_df()


def test_a_source_that_cannot_be_read_is_refused_when_it_is_validated_with_what_to_do(
    make_store: MakeStore, book: FeatureView, tmp_path: Path
) -> None:
    store = make_store([SYMBOL, book])

    def validate(path: Path, timestamp: str = "when") -> None:
        store._get_provider().validate_data_source(
            store.config, FileSource(name="prices", path=str(path), timestamp_field=timestamp)
        )

    validate(tmp_path / "not there yet.parquet")
    (tmp_path / "prices.csv").write_text("symbol,when,close\nBTC,2026-03-01,1.0\n")
    with pytest.raises(InvalidRequest, match=r"prices: must be Parquet.*read_csv\(path, parse_dates=\['when'\]\)"):
        validate(tmp_path / "prices.csv")
    texts = write(pa.table({"symbol": ["BTC"], "when": ["2026-03-01"], "close": [1.0]}), tmp_path / "texts.parquet")
    with pytest.raises(InvalidRequest, match=r"prices.when: must be a timestamp column, was string; .*to_datetime"):
        validate(texts)
    with pytest.raises(InvalidRequest, match=r"prices.at: must be a column of the source"):
        validate(texts, "at")
