"""Keys and moments of an entity frame in every spelling find their rows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureView, Field
from feast.types import Float64, Int64, String

from tests.driver_tables import CUSTOMER, DRIVER, NAN, MakeStore, driver_view, source, stored
from tests.stored_books import at


def test_entities_with_only_future_rows_are_kept_and_null(make_store: MakeStore, drivers: FeatureView) -> None:
    asked = pd.DataFrame({"driver_id": [1, 2], "event_timestamp": [at(-1), at(-0.000001)]})
    table = make_store(DRIVER, drivers).get_historical_features(asked, ["driver_stats:rate"]).to_arrow()
    assert table["rate"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    "keys",
    [
        pd.Series([2, 1], dtype="int32"),
        pd.Series([2, 1], dtype="category"),
        pd.Series([2, 1], dtype="Int64"),
        pd.Series([2, 1], dtype="uint8"),
        pd.Series([2.0, 1.0]),
        pd.Series([2, 1], dtype=object),
    ],
    ids=str,
)
def test_whole_numbers_of_any_spelling_are_the_same_keys(
    make_store: MakeStore, drivers: FeatureView, keys: pd.Series[Any]
) -> None:
    asked = pd.DataFrame({"driver_id": keys, "event_timestamp": [at(1)] * 2})
    frame = make_store(DRIVER, drivers).get_historical_features(asked, ["driver_stats:trips"]).to_df()
    assert frame["trips"].tolist() == [20, 10]
    assert frame["driver_id"].dtype == keys.dtype


@pytest.mark.parametrize("dtype", ["category", "string", "object"])
def test_texts_of_any_spelling_are_the_same_keys(make_store: MakeStore, customers: FeatureView, dtype: str) -> None:
    asked = pd.DataFrame({"customer_id": pd.Series(["b", "z", "a"], dtype=dtype), "event_timestamp": [at(99)] * 3})
    frame = make_store(CUSTOMER, customers).get_historical_features(asked, ["customer_profile:balance"]).to_df()
    np.testing.assert_array_equal(frame["balance"], [6.0, NAN, 5.0])


def test_a_row_needs_all_its_keys(make_store: MakeStore, tmp_path: Path) -> None:
    path = stored(
        tmp_path / "t.parquet",
        {"driver_id": [1, 1, 2, 3], "customer_id": ["a", "b", "a", None], "tips": [11.0, 12.0, 21.0, 0.0]},
        [0, 0, 0, 0],
    )
    view = FeatureView(
        name="tips",
        entities=[DRIVER, CUSTOMER],
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="customer_id", dtype=String),
            Field(name="tips", dtype=Float64),
        ],
        source=source(path),
    )
    asked = pd.DataFrame(
        {
            "driver_id": [2, 2, 1, 3, 1, None],
            "customer_id": ["a", "b", "b", None, "a", "a"],
            "event_timestamp": [at(1)] * 6,
        }
    )
    frame = make_store(DRIVER, CUSTOMER, view).get_historical_features(asked, ["tips:tips"]).to_df()
    np.testing.assert_array_equal(frame["tips"], [21.0, NAN, 12.0, NAN, 11.0, NAN])


def test_both_hours_of_the_night_when_summer_time_ends_find_their_own_row(
    make_store: MakeStore, tmp_path: Path
) -> None:
    night = [datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold) for fold in (0, 1)]
    path = tmp_path / "d.parquet"
    table = pa.table(
        {
            "driver_id": [1, 1],
            "trips": [1, 2],
            "rate": [1.0, 2.0],
            "event_timestamp": pa.array(night, pa.timestamp("us", "Europe/Berlin")),
            "created": pa.array(night, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, path)
    store = make_store(DRIVER, driver_view(path))
    asked = pd.DataFrame({"driver_id": [1, 1], "event_timestamp": night})
    assert store.get_historical_features(asked, ["driver_stats:trips"]).to_df()["trips"].tolist() == [1, 2]
