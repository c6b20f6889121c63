"""Every format gives back the rows that were written, to the readers that people use, and the same bytes each time."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market.clock import SECOND_NS, parse_iso_ns
from market.errors import CorruptStore, StoreUnavailable
from storage.parquet_files import reading_parquet
from training_sets.dataset.files import (
    SCHEMA_NAME,
    SUFFIX,
    SplitFile,
    read_columns,
    table_schema,
    write_batches,
    write_schema,
)
from training_sets.request.request import OutputFormat

SCHEMA = table_schema(["mid", "target"], has_fold=True, metadata={"feature_set": "abc"})
TIMES_NS = parse_iso_ns("2026-01-05T12:00:00") + np.arange(5) * SECOND_NS + np.array([0, 1, 0, 999_999_999, 0])
MID = np.array([1.0, np.nan, 0.1, 1e-300, -0.0])
TARGET = np.array([0.1 + 0.2, 1.0, -1.0, 0.0, 5.0])
FORMATS: tuple[OutputFormat, ...] = ("parquet", "csv")


def rows(which: slice) -> pa.Table:
    count = len(TIMES_NS[which])
    return pa.table(
        [
            pa.array(["BTCUSDT"] * count, pa.string()),
            pa.array(TIMES_NS[which]).cast(pa.timestamp("ns", "UTC")),
            pa.array(MID[which]),
            pa.array(TARGET[which]),
            pa.array([3] * count, pa.int32()),
        ],
        schema=SCHEMA,
    )


def written(folder: Path, output_format: OutputFormat) -> Path:
    file = SplitFile(folder / "fold-003" / f"train{SUFFIX[output_format]}", SCHEMA, output_format)
    file.write(rows(slice(0, 2)))
    file.write(rows(slice(2, 5)))
    file.finish()
    return file.path


@pytest.mark.parametrize("output_format", FORMATS)
def test_pandas_reads_back_every_value_in_order(tmp_path: Path, output_format: OutputFormat) -> None:
    path = written(tmp_path, output_format)
    match output_format:
        case "parquet":
            frame = pd.read_parquet(path)
        case _:
            frame = pd.read_csv(path, parse_dates=["timestamp"], float_precision="round_trip")
    assert list(frame.columns) == SCHEMA.names
    assert frame["symbol"].tolist() == ["BTCUSDT"] * 5
    assert frame["timestamp"].tolist() == pd.to_datetime(TIMES_NS, utc=True).tolist()
    assert np.array_equal(frame["mid"].to_numpy(), MID, equal_nan=True)
    assert frame["target"].tolist() == TARGET.tolist()
    assert frame["fold"].tolist() == [3] * 5


def test_the_schema_beside_csv_gives_every_column_its_type_even_without_a_value(tmp_path: Path) -> None:
    empty = SplitFile(tmp_path / "test.csv", SCHEMA, "csv")
    empty.finish()
    write_schema(tmp_path / SCHEMA_NAME, SCHEMA)
    fields = json.loads((tmp_path / SCHEMA_NAME).read_text())["fields"]
    assert [field["name"] for field in fields] == SCHEMA.names
    types = {field["name"]: field["dtype"] for field in fields if field["type"] != "datetime"}
    times = {field["name"]: field["format"] for field in fields if field["type"] == "datetime"}
    expected = pd.read_parquet(written(tmp_path, "parquet"))
    found = pd.DataFrame()
    for path in (empty.path, written(tmp_path, "csv")):
        frame = pd.read_csv(path, dtype=types, float_precision="round_trip")
        for name, form in times.items():
            frame[name] = pd.to_datetime(frame[name], format=form, utc=True)
        found = frame.astype({field["name"]: field["dtype"] for field in fields})
        assert found.dtypes.drop("symbol").to_dict() == expected.dtypes.drop("symbol").to_dict()
    pd.testing.assert_frame_equal(found, expected)


def test_a_flipped_bit_never_gives_another_value(tmp_path: Path) -> None:
    path = written(tmp_path, "parquet")
    content = path.read_bytes()
    with pq.ParquetFile(path) as file:
        chunks = [file.metadata.row_group(at).column(SCHEMA.get_field_index("target")) for at in (0, 1)]
    refused = 0
    for chunk in chunks:
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        for at in range(start, start + chunk.total_compressed_size):
            path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
            try:
                found = read_columns(path, ["target"], "parquet")
            except CorruptStore:
                refused += 1
            else:
                assert found[:, 0].tolist() == TARGET.tolist(), at
    assert refused > 90


def test_polars_reads_parquet_and_csv_with_numbers_as_numbers(tmp_path: Path) -> None:
    for frame in (pl.read_parquet(written(tmp_path, "parquet")), pl.read_csv(written(tmp_path, "csv"))):
        assert frame["target"].to_list() == TARGET.tolist()
        assert frame["mid"].dtype == pl.Float64
        assert frame["mid"].fill_nan(None).to_list() == [1.0, None, 0.1, 1e-300, -0.0]


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_same_rows_give_the_same_bytes(tmp_path: Path, output_format: OutputFormat) -> None:
    one, other = (written(tmp_path / name, output_format) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_file_without_rows_has_the_columns(tmp_path: Path, output_format: OutputFormat) -> None:
    file = SplitFile(tmp_path / f"test{SUFFIX[output_format]}", SCHEMA, output_format)
    assert not list(tmp_path.iterdir())
    file.finish()
    assert [path.name for path in tmp_path.iterdir()] == [file.path.name]
    match output_format:
        case "parquet":
            frame = pd.read_parquet(file.path)
        case _:
            frame = pd.read_csv(file.path)
    assert (set(frame.columns), len(frame)) == (set(SCHEMA.names), 0)


def test_an_unfinished_file_has_no_name_and_goes_when_it_is_removed(tmp_path: Path) -> None:
    file = SplitFile(tmp_path / "fold-000" / "train.parquet", SCHEMA, "parquet")
    file.write(rows(slice(0, 5)))
    assert not file.path.exists()
    file.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("output_format", FORMATS)
def test_some_columns_are_read_back_from_every_format(tmp_path: Path, output_format: OutputFormat) -> None:
    path = written(tmp_path, output_format)
    found = read_columns(path, ["target", "mid"], output_format)
    assert np.array_equal(found, np.stack([TARGET, MID], axis=1), equal_nan=True)
    with pytest.raises(CorruptStore, match="must be a file of the dataset with nothing"):
        read_columns(path, ["nothing"], output_format)


def test_a_footer_with_a_broken_name_is_told_by_the_path(tmp_path: Path) -> None:
    path = written(tmp_path, "parquet")
    path.write_bytes(path.read_bytes().replace(b"target", b"t\xffrget"))
    with pytest.raises(CorruptStore, match=r"train\.parquet: must be"):
        read_columns(path, ["target"], "parquet")
    with pytest.raises(CorruptStore, match=r"train\.parquet: must be whole Parquet"), reading_parquet(path):
        pq.read_schema(path)


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_disk_that_is_full_is_told_by_the_file_and_leaves_none(tmp_path: Path, output_format: OutputFormat) -> None:
    path = tmp_path / f"rows{SUFFIX[output_format]}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(StoreUnavailable, match=rf"{path.name}: cannot be written: .*File too large"):
            write_batches(path, SCHEMA, rows(slice(None)).to_batches())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not tmp_path.exists() or not list(tmp_path.iterdir())
