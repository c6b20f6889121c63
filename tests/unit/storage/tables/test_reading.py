"""A table as it comes: every kind of row has a rule, and nothing is refused in silence."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest

from market.clock import parse_iso_ns
from market.errors import CorruptStore, DeclarationError, InvalidRequest, NotFound
from storage.tables.mapping import TableMapping, load_mapping
from storage.tables.reading import Table, read_table

MAPPING = """
table: daily_bars
path: "*.csv"
key: ticker
event_time: date
time_zone: America/New_York
known_time: published
columns: {close: Close}
defaults: {split_ratio: 1}
"""
HEAD = "ticker,date,published,Close\n"


def declared(folder: Path, text: str = MAPPING) -> TableMapping:
    (folder / "mapping.yaml").write_text(text)
    return load_mapping(folder / "mapping.yaml")


def read(folder: Path, *lines: str) -> Table:
    (folder / "bars.csv").write_text(HEAD + "\n".join(lines) + "\n")
    return read_table(declared(folder))


def test_naive_times_are_of_the_declared_zone_and_others_say_theirs(tmp_path: Path) -> None:
    rows = read(tmp_path, "A,2026-01-05,2026-01-05T16:15,1.5", "A,2026-07-06,2026-07-06T20:15:00Z,2").rows["A"]
    assert rows.event_ns.tolist() == [parse_iso_ns("2026-01-05T05:00"), parse_iso_ns("2026-07-06T04:00")]
    assert rows.known_ns.tolist() == [parse_iso_ns("2026-01-05T21:15"), parse_iso_ns("2026-07-06T20:15")]
    assert {name: held.tolist() for name, held in rows.columns.items()} == {"close": [1.5, 2.0], "split_ratio": [1, 1]}


def test_unsorted_duplicated_and_restated_rows_each_have_their_rule(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "A,2026-01-06,2026-01-06T17:00,2",
        "A,2026-01-05,2026-01-05T17:00,1",
        "A,2026-01-05,2026-01-05T17:00,1.5",
        "A,2026-01-05,2026-01-07T09:00,9",
        "B,2026-01-05,2026-01-05T17:00,",
    )
    report = table.report
    assert (report.rows, report.counted, report.keys) == (5, 4, 2)
    assert (report.unsorted, report.duplicated, report.restated, report.refused) == (1, 1, 1, {})
    assert table.rows["A"].columns["close"].tolist() == [1.5, 2.0, 9.0]
    assert pd.isna(table.rows["B"].columns["close"]).all()


def test_a_row_that_cannot_be_taken_is_refused_and_named_and_the_others_count(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "A,2026-01-05,2026-01-05T17:00,1",
        "A,2026-01-06,2026-01-06T17:00,n/k",
        "A,05/06/26,2026-01-06T17:00,1",
        "A,2026-01-06,yesterday,1",
        "A,2026-01-06,2026-01-05T17:00,1",
        ",2026-01-06,2026-01-06T17:00,1",
        "A,2026-01-06,2026-01-06T17:00,inf",
    )
    assert table.report.refused == {
        "Close must be a number": 2,
        "date must be a time": 1,
        "published must be a time": 1,
        "published must not be before the event time": 1,
        "the key must not be empty": 1,
    }
    assert table.report.examples[0] == "bars.csv row 2: Close must be a number, was 'n/k'"
    assert table.rows["A"].columns["close"].tolist() == [1.0]


def test_parquet_and_csv_give_the_same_rows(tmp_path: Path) -> None:
    from_csv = read(tmp_path, "A,2026-01-05,2026-01-05T17:00,1.25").rows["A"]
    zone = "America/New_York"
    frame = pd.DataFrame(
        {
            "ticker": ["A"],
            "date": [pd.Timestamp("2026-01-05")],
            "published": [pd.Timestamp("2026-01-05T17:00", tz=zone)],
            "Close": [1.25],
        }
    )
    frame.to_parquet(tmp_path / "bars.parquet")
    from_parquet = read_table(declared(tmp_path, MAPPING.replace("*.csv", "bars.parquet"))).rows["A"]
    assert from_parquet.event_ns.tolist() == from_csv.event_ns.tolist()
    assert from_parquet.known_ns.tolist() == from_csv.known_ns.tolist()
    assert from_parquet.columns["close"].tolist() == [1.25]


def test_a_mapping_must_say_when_rows_could_be_known(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="known_after, known_time: one of the two must say"):
        declared(tmp_path, MAPPING.replace("known_time: published\n", ""))
    with pytest.raises(DeclarationError, match="time_zone: must be a zone"):
        declared(tmp_path, MAPPING.replace("New_York", "Gotham"))
    with pytest.raises(DeclarationError, match="colums: must be one of"):
        declared(tmp_path, MAPPING.replace("columns", "colums"))


def test_what_is_not_there_or_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="must have files"):
        read_table(declared(tmp_path))
    (tmp_path / "bars.csv").write_text("ticker,date\nA,2026-01-05\n")
    with pytest.raises(InvalidRequest, match=r"must have the columns \['Close', 'published'\]"):
        read_table(declared(tmp_path))
    (tmp_path / "bars.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptStore, match=r"bars\.parquet"):
        read_table(declared(tmp_path, MAPPING.replace("*.csv", "bars.parquet")))


def test_a_series_says_nothing_where_its_only_cell_is_empty(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text("series,date,value\nVIX,2026-01-05,12.5\nVIX,2026-01-06,\nVIX,2026-01-07,13\n")
    text = (
        "table: macro_series\npath: bars.csv\nkey: series\nevent_time: date\nknown_after: 1d\ncolumns: {value: value}"
    )
    table = read_table(declared(tmp_path, text))
    assert table.rows["VIX"].columns["value"].tolist() == [12.5, 13.0]
    assert (table.report.rows, table.report.counted, table.report.refused) == (3, 2, {})


def test_items_of_one_time_are_told_apart_by_their_column(tmp_path: Path) -> None:
    (tmp_path / "news.csv").write_text("ticker,at,id,score\nA,2026-01-05T10:00,x,0.5\nA,2026-01-05T10:00,y,-0.5\n")
    text = (
        "table: news\npath: news.csv\nkey: ticker\nevent_time: at\nknown_after: 0s\nitem: id\n"
        "columns: {sentiment: score}\ndefaults: {relevance: 1}"
    )
    table = read_table(declared(tmp_path, text))
    assert sorted(table.rows["A"].columns["sentiment"].tolist()) == [-0.5, 0.5]
    assert table.report.duplicated == 0
    again = read_table(declared(tmp_path, text)).rows["A"].item
    assert table.rows["A"].item is not None
    assert again is not None
    assert table.rows["A"].item.tolist() == again.tolist()
    assert len(set(again.tolist())) == 2


def test_a_number_outside_of_its_range_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text(
        HEAD
        + "".join(
            f"A,2026-01-0{day},2026-01-09,{close}\n"
            for day, close in ((1, "0.5"), (2, "1"), (3, "9"), (4, "9.5"), (5, ""))
        )
    )
    table = read_table(declared(tmp_path, MAPPING + "ranges: {close: [1, 9]}\n"))
    assert table.report.refused == {"Close must be 1 to 9": 2}
    assert table.rows["A"].columns["close"][:2].tolist() == [1.0, 9.0]
    assert pd.isna(table.rows["A"].columns["close"][2])
    with pytest.raises(DeclarationError, match=r"ranges.close: must be the least and the greatest number, or null"):
        declared(tmp_path, MAPPING + "ranges: {close: 1}\n")


@pytest.mark.parametrize("path", ["bars", "bars/*", "bars/year=*/ticker=*/*.csv", "bars/year=20??"])
def test_folders_say_columns_of_the_files_in_them(tmp_path: Path, path: str) -> None:
    """As Hive lays out partitions: texts, with %20 for what a folder cannot be called."""
    for year, ticker in ((2025, "A"), (2026, "A"), (2026, "BRK%2FB")):
        folder = tmp_path / "bars" / f"year={year}" / f"ticker={ticker}"
        folder.mkdir(parents=True)
        (folder / "1.csv").write_text(f"date,published,Close\n{year}-01-05,{year}-01-06,1\n")
        pd.DataFrame({"date": [f"{year}-01-06"], "published": [f"{year}-01-07"], "Close": [2.0]}).to_parquet(
            folder / "2.parquet"
        )
    table = read_table(declared(tmp_path, MAPPING.replace('"*.csv"', path)))
    count = {"bars/year=*/ticker=*/*.csv": 1}.get(path, 2)
    assert {key: len(rows.event_ns) for key, rows in table.rows.items()} == {"A": 2 * count, "BRK/B": count}


def test_a_number_is_the_nearest_to_its_text_as_in_parquet(tmp_path: Path) -> None:
    """Pandas' own parser reads one text in seven of 17 digits as the float beside it."""
    random = Random(7)
    closes = [random.random() * 1000 for _ in range(2000)]
    lines = [f"A,2026-01-05,2026-01-05T17:{at // 60:02d}:{at % 60:02d},{close!r}" for at, close in enumerate(closes)]
    assert read(tmp_path, *lines).rows["A"].columns["close"].tolist() == closes


def test_times_of_a_zone_told_by_hours_are_read_as_postgresql_writes_them(tmp_path: Path) -> None:
    rows = read(
        tmp_path, "A,2026-01-05 00:00:00-05,2026-01-05 21:15:00+00,1", "A,2026-01-06,2026-01-06T17:00:00+01:00,2"
    ).rows["A"]
    assert rows.event_ns.tolist() == [parse_iso_ns("2026-01-05T05:00"), parse_iso_ns("2026-01-06T05:00")]
    assert rows.known_ns.tolist() == [parse_iso_ns("2026-01-05T21:15"), parse_iso_ns("2026-01-06T16:00")]


def test_the_present_moment_is_no_time_of_a_row(tmp_path: Path) -> None:
    table = read(tmp_path, "A,2026-01-05,now,1", "A,2026-01-05,today,1", "A,2026-01-05,2026-01-05T17:00,1")
    assert table.report.refused == {"published must be a time": 2}
    assert len(table.rows["A"].event_ns) == 1


def test_rows_of_more_cells_than_columns_are_not_read_as_of_other_columns(tmp_path: Path) -> None:
    with pytest.raises(CorruptStore, match="rows of more cells than the 4 that its header names"):
        read(tmp_path, "A,2026-01-05,2026-01-05T17:00,1,500", "B,2026-01-05,2026-01-05T17:00,2,500")


def in_parquet(folder: Path, frame: pd.DataFrame) -> Table:
    frame.to_parquet(folder / "bars.parquet")
    return read_table(declared(folder, MAPPING.replace("*.csv", "bars.parquet")))


def test_what_pandas_wrote_as_index_or_categories_is_read_as_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "ticker": pd.Categorical(["A", "B"], categories=["A", "B", "delisted"]),
            "published": ["2026-01-05T17:00", "2026-01-06T17:00"],
            "Close": [1.0, 2.0],
        },
        index=pd.DatetimeIndex(["2026-01-05", "2026-01-06"], name="date"),
    )
    rows = in_parquet(tmp_path, frame).rows
    assert {key: of.event_ns.tolist() for key, of in rows.items()} == {
        "A": [parse_iso_ns("2026-01-05T05:00")],
        "B": [parse_iso_ns("2026-01-06T05:00")],
    }


def test_a_time_is_no_number_and_one_that_nanoseconds_do_not_hold_is_no_time(tmp_path: Path) -> None:
    day, far = np.datetime64("2026-01-05", "us"), np.datetime64("9999-12-31", "us")
    frame = pd.DataFrame({"ticker": "A", "date": [day, day, day], "published": [day, far, day]})
    table = in_parquet(tmp_path, frame.assign(Close=[day, day, np.datetime64("NaT", "us")]))
    assert table.report.refused == {"Close must be a number": 1, "published must be a time": 1}
    assert np.isnan(table.rows["A"].columns["close"]).tolist() == [True]
