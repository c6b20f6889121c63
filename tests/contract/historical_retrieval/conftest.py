"""What tests of historical retrieval share: Feast repositories, and views of drivers and of customers."""

from __future__ import annotations

from pathlib import Path

import pytest
from feast import FeatureStore, FeatureView, Field
from feast.types import Float64, String

from tests.driver_tables import CUSTOMER, FeastObject, MakeStore, driver_view, repository, source, stored


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    def make(*objects: FeastObject) -> FeatureStore:
        return repository(tmp_path, *objects)

    return make


@pytest.fixture
def drivers(tmp_path: Path) -> FeatureView:
    path = stored(
        tmp_path / "drivers.parquet",
        {"driver_id": [1, 2, 1], "trips": [10, 20, 11], "rate": [0.1, 0.2, 0.11]},
        [0, 0, 100],
        [0, 0, 100],
    )
    return driver_view(path)


@pytest.fixture
def customers(tmp_path: Path) -> FeatureView:
    path = stored(tmp_path / "customers.parquet", {"customer_id": ["a", "b"], "balance": [5.0, 6.0]}, [50, 50])
    return FeatureView(
        name="customer_profile",
        entities=[CUSTOMER],
        schema=[Field(name="customer_id", dtype=String), Field(name="balance", dtype=Float64)],
        source=source(path),
    )
