"""Feast's IcebergSource in our offline store: the answers of the files themselves, at any time asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feast import FeatureView, Field, FileSource
from feast.infra.data_sources.contrib.iceberg_catalog import IcebergSource
from feast.types import Float64, String

from feature_repo.parquet_source import ParquetSource
from market.clock import DAY_NS, SECOND_NS
from market.errors import InvalidRequest
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.parts import group_folder
from storage.iceberg.catalog import open_catalog
from storage.raw.raw_data import RawData
from tests.postgres_servers import new_database, running_postgres
from tests.stored_books import SYMBOL, MakeStore
from transforms.rows import FeatureGroup, FeatureRows, FeatureSet
from upkeep.publication import publish_changed

MIDNIGHT_NS = 20_000 * DAY_NS
GROUP = FeatureGroup("price", "aaaa", ("mid",), (0,))
SET = FeatureSet("1.0.0", ("mid",), (GROUP,), "cccc")
TIMES: dict[str, Any] = {"timestamp_field": "event_timestamp", "created_timestamp_column": "created_timestamp"}


@pytest.fixture
def database() -> Iterator[str]:
    with running_postgres("server") as server, new_database(server) as url:
        yield url


def view(name: str, source: Any) -> FeatureView:  # noqa: ANN401  # either source
    fields = [Field(name="symbol", dtype=String), Field(name="mid", dtype=Float64)]
    return FeatureView(
        name=name,
        entities=[SYMBOL],
        ttl=timedelta(hours=1),
        schema=fields,
        source=source,
        tags={"created_timestamp_is": "availability"},
    )


def test_an_iceberg_table_gives_the_answers_of_its_files(tmp_path: Path, database: str, make_store: MakeStore) -> None:
    root = tmp_path / "features"
    # Written again later, by other values: two rows of a time, and two of a time and a created time.
    for value, late_ns in ((1.0, 10_000_001), (2.0, 30 * SECOND_NS), (3.0, 30 * SECOND_NS)):
        for symbol in ("BTC", "ETH"):
            row_ns = MIDNIGHT_NS + np.arange(-5, 10) * SECOND_NS
            values, status = np.full((15, 1), value) + (symbol == "ETH"), np.zeros((15, 1), np.int8)
            with FeatureLogWriter(root) as log:
                log.append(FeatureRows(symbol, SET, row_ns, values, status), row_ns + late_ns)
    with open_catalog("market", database, {}) as catalog:
        stores = RawData(tmp_path / "raw"), FeatureLog(root)
        publish_changed(catalog, *stores, keep_ns=DAY_NS, now_ns=time.time_ns(), reach=lambda _share: None)
    asked: dict[str, Any] = {"warehouse": "", "namespace": "features", "table": "price_aaaa", "catalog_name": "market"}
    properties = {"uri": database}
    iceberg = IcebergSource(**asked, catalog_type="sql", catalog_properties=properties, name="published", **TIMES)
    files = FileSource(name="files", path=str(group_folder(root, GROUP)), **TIMES)
    store = make_store([SYMBOL, view("published_price", iceberg), view("price", files)])
    midnight = datetime.fromtimestamp(MIDNIGHT_NS // SECOND_NS, UTC)
    seconds = [-6, -5, 0, 3.000001, 8, 31, 100, 4000]
    entities = pd.DataFrame(
        {
            "symbol": ["BTC", "ETH", "BTC", "ETH", "SOL", "BTC", "ETH", "BTC"],
            "event_timestamp": [midnight + timedelta(seconds=second) for second in seconds],
        }
    )
    found = store.get_historical_features(
        entities, ["published_price:mid", "price:mid"], full_feature_names=True
    ).to_df()
    assert found["published_price__mid"].tolist()[2:7] == [1.0, 2.0, pytest.approx(np.nan, nan_ok=True), 1.0, 4.0]
    pd.testing.assert_series_equal(found["published_price__mid"], found["price__mid"], check_names=False)

    names = ["symbol", "date", "generation", "event_timestamp", "created_timestamp", "available_ns", "mid", "status"]
    with pytest.raises(InvalidRequest, match="must be a local path"):
        store.write_to_offline_store("published_price", pd.DataFrame({name: [1] for name in names}))
    refused = IcebergSource(**asked, name="by_rest", **TIMES)
    with pytest.raises(InvalidRequest, match="catalog_type must be one that pyiceberg opens, was 'rest'"):
        ParquetSource.open(None, refused, {})
