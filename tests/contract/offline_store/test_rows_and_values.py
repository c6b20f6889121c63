"""The row that the offline store gives, beside Feast's dask store where that one errs, and its values to the bit."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureView, Field
from feast.types import Array, Bool, Float64, Int64, PrimitiveFeastType, String, UnixTimestamp

from tests.stored_books import DASK, SYMBOL, MakeStore, at, entity_rows, rows_of, view_of, write

# What Feast's own store gets wrong


def test_dask_collapses_duplicate_entity_rows_and_loses_index_and_order_where_ours_keeps_them(
    make_store: MakeStore, book: FeatureView
) -> None:
    asked = pd.DataFrame(
        {
            "symbol": ["BTC", "ETH", "BTC", "BTC", "BTC"],
            "event_timestamp": [at(15), at(15), at(5), at(15), at(-5)],
            "note": ["a", "b", "c", "d", "e"],
        },
        index=[7, 7, 3, 9, 1],
    )
    theirs = make_store([SYMBOL, book], DASK).get_historical_features(asked, ["book:mid"]).to_df()
    ours = make_store([SYMBOL, book]).get_historical_features(asked, ["book:mid"]).to_df()

    # The duplicate question is answered once, the one that matches only later rows not at all.
    assert sorted(theirs["note"]) != sorted(asked["note"])
    assert len(theirs) < len(asked)
    assert list(theirs.index) != list(asked.index)

    pd.testing.assert_frame_equal(ours[["symbol", "note"]], asked[["symbol", "note"]])
    assert ours["event_timestamp"].tolist() == asked["event_timestamp"].tolist()
    np.testing.assert_array_equal(ours["mid"], [2.0, np.nan, 1.0, 2.0, np.nan])


def test_what_created_means_is_asked_for_or_declared_and_else_the_answer_is_feasts(
    make_store: MakeStore, book: FeatureView
) -> None:
    asked = entity_rows(["BTC"], [30])  # the restatement of second 20 was written at second 60
    theirs = make_store([SYMBOL, book], DASK)
    assert theirs.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [99.0]

    # A repository that says nothing gets Feast's answer; the repository or the view may say more.
    assert make_store([SYMBOL, book]).get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [99.0]
    for options, tags in (({"bitemporal": True}, {}), ({}, {"created_timestamp_is": "availability"})):
        book.tags = tags
        ours = make_store([SYMBOL, book], **options)
        assert ours.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [3.0]
        assert ours.get_historical_features(entity_rows(["BTC"], [60]), ["book:mid"]).to_df()["mid"].tolist() == [99.0]


def test_an_answer_that_creation_times_hide_entirely_warns(make_store: MakeStore, tmp_path: Path) -> None:
    table = rows_of(["BTC", "BTC"], [0, 10], [90, 90], mid=[1.0, 2.0])  # generated long after, as templates do it
    view = view_of(write(table, tmp_path / "book.parquet"), [Field(name="mid", dtype=Float64)])
    store = make_store([SYMBOL, view], bitemporal=True)
    with pytest.warns(UserWarning, match=r"book: every row was created after the requested time \(created\)"):
        hidden = store.get_historical_features(entity_rows(["BTC", "ETH"], [30, 30]), ["book:mid"]).to_df()
    assert hidden["mid"].isna().all()
    # Nothing is hidden where there is nothing, or where one row is seen: warnings are errors here.
    assert store.get_historical_features(entity_rows(["ETH"], [30]), ["book:mid"]).to_df()["mid"].isna().all()
    seen = store.get_historical_features(entity_rows(["BTC", "BTC"], [30, 95]), ["book:mid"]).to_df()
    assert seen["mid"].tolist()[1] == 2.0


def test_without_bitemporal_the_rule_is_asked_for_as_feast_spells_it(make_store: MakeStore, book: FeatureView) -> None:
    store = make_store([SYMBOL, book], bitemporal=False)
    asked = entity_rows(["BTC"], [30])
    assert store.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [99.0]
    filtered = store.get_historical_features(asked, ["book:mid"], filter_by_created_timestamp=True)
    assert filtered.to_df()["mid"].tolist() == [3.0]


# Rows and values


@pytest.mark.parametrize(("age", "expected"), [(60.0, 1.0), (60.000001, None), (59.999999, 1.0)])
def test_a_row_of_age_exactly_ttl_is_returned(
    make_store: MakeStore, tmp_path: Path, age: float, expected: float | None
) -> None:
    path = write(rows_of(["BTC"], [0], [0], mid=[1.0]), tmp_path / "book.parquet")
    view = view_of(path, [Field(name="mid", dtype=Float64)], ttl=timedelta(seconds=60))
    store = make_store([SYMBOL, view])
    assert store.get_historical_features(entity_rows(["BTC"], [age]), ["book:mid"]).to_arrow()["mid"].to_pylist() == [
        expected
    ]


@pytest.mark.parametrize("ttl", [None, timedelta(0)])
def test_no_ttl_is_no_limit(make_store: MakeStore, tmp_path: Path, ttl: timedelta | None) -> None:
    path = write(rows_of(["BTC"], [0], [None], mid=[1.0]), tmp_path / "book.parquet")
    store = make_store([SYMBOL, view_of(path, [Field(name="mid", dtype=Float64)], ttl=ttl)])
    asked = entity_rows(["BTC", "BTC"], [0, 1e9])  # a null creation time counts as the event time
    assert store.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [1.0, 1.0]


def test_values_of_every_type_come_back_exactly_and_null_is_not_nan(make_store: MakeStore, tmp_path: Path) -> None:
    odd_nan = np.array([0x7FF8_0000_0000_0123], np.uint64).view(np.float64)
    features: dict[str, pa.Array[Any]] = {
        "count": pa.array([2**53 + 1, None], pa.int64()),
        "mid": pa.array([odd_nan[0], None], pa.float64()),
        "side_y": pa.array(["buy", None]),
        "is_open": pa.array([True, None]),
        "levels": pa.array([[1.5, 2.5], None], pa.list_(pa.float64())),
        "seen": pa.array([1_234_567_890_123_456_789, None], pa.int64()).cast(pa.timestamp("ns", "UTC")),
    }
    path = write(rows_of(["BTC", "ETH"], [0, 0], [0, 0], **features), tmp_path / "book.parquet")
    kinds: list[PrimitiveFeastType | Array] = [Int64, Float64, String, Bool, Array(Float64), UnixTimestamp]
    fields = [Field(name=name, dtype=kind) for name, kind in zip(features, kinds, strict=True)]
    store = make_store([SYMBOL, view_of(path, fields)])
    asked = entity_rows(["ETH", "BTC", "XRP"], [1, 1, 1])
    job = store.get_historical_features(asked, [f"book:{name}" for name in features])

    table = job.to_arrow()
    for name, stored in features.items():
        assert table[name].type == stored.type
        assert [value.is_valid for value in table[name]] == [False, True, False]
    assert np.array([table["mid"][1].as_py()]).view(np.uint64) == odd_nan.view(np.uint64)
    assert table["count"][1].as_py() == 2**53 + 1
    assert table["seen"][1].value == 1_234_567_890_123_456_789

    frame = job.to_df()
    assert frame["count"].dtype == pd.Int64Dtype()
    assert frame["count"].tolist() == [pd.NA, 2**53 + 1, pd.NA]
    assert frame["is_open"].tolist() == [pd.NA, True, pd.NA]
    assert frame["side_y"].tolist() == [None, "buy", None]
    assert frame["levels"][1].tolist() == [1.5, 2.5]
    assert frame["seen"][1] == pd.Timestamp(1_234_567_890_123_456_789, tz="UTC")

    known = store.get_historical_features(entity_rows(["BTC"], [1]), ["book:count", "book:is_open"]).to_df()
    assert known["count"].dtype == np.int64
    assert known["is_open"].dtype == np.bool_


def test_a_nan_of_the_entity_frame_stays_a_nan_and_the_result_may_be_written_to(
    make_store: MakeStore, book: FeatureView
) -> None:
    asked = entity_rows(["BTC"], [15]).assign(weight=[np.nan])
    job = make_store([SYMBOL, book]).get_historical_features(asked, ["book:mid"])
    assert np.isnan(job.to_arrow()["weight"][0].as_py())
    frame = job.to_df()
    frame.loc[0, "mid"] = 5.0
    frame.loc[0, "weight"] = 5.0
    assert np.isnan(asked["weight"][0])


@pytest.mark.parametrize(
    "moments",
    [
        pd.Series(pd.to_datetime(["2026-03-01 00:00:15"])),
        pd.Series(pd.to_datetime(["2026-02-28 19:00:15"])).dt.tz_localize("America/New_York"),
        pd.Series(["2026-03-01T00:00:15Z"]),
    ],
    ids=["naive is UTC", "another zone", "text"],
)
def test_a_moment_is_the_same_in_every_spelling(
    make_store: MakeStore, book: FeatureView, moments: pd.Series[Any]
) -> None:
    asked = pd.DataFrame({"symbol": ["BTC"], "event_timestamp": moments})
    for options in ({}, {"bitemporal": False}):
        frame = make_store([SYMBOL, book], **options).get_historical_features(asked, ["book:mid"]).to_df()
        assert frame["mid"].tolist() == [2.0]
        assert frame["event_timestamp"].tolist() == [at(15)]


def test_ties_go_to_the_last_created_then_to_the_last_written(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    write(rows_of(["BTC"] * 3, [0, 0, 5], [2, 1, 6], mid=[12.0, 11.0, 56.0]), folder / "part-0.parquet")
    write(rows_of(["BTC"] * 2, [5, 5], [6, 5], mid=[57.0, 55.0]), folder / "part-1.parquet")
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64)])], bitemporal=True)
    asked = entity_rows(["BTC"] * 4, [0, 1, 2, 10])
    np.testing.assert_array_equal(
        store.get_historical_features(asked, ["book:mid"]).to_df()["mid"], [np.nan, 11.0, 12.0, 57.0]
    )
