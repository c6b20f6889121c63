"""What contracts of published tables share: stores, and a catalogue on a real PostgreSQL server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.settings import object_store_properties
from storage.iceberg.catalog import open_catalog
from storage.places import Place
from tests.postgres_servers import new_database, running_postgres
from tests.published_tables import Published


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with running_postgres("server") as server, new_database(server) as url:
        yield url


@pytest.fixture
def published(place: Place, database: str) -> Iterator[Published]:
    with open_catalog(f"c{uuid.uuid4().hex}", database, object_store_properties()) as catalog:
        yield Published(place, catalog)


@pytest.fixture
def here(tmp_path: Path, database: str) -> Iterator[Published]:
    with open_catalog(f"c{uuid.uuid4().hex}", database, {}) as catalog:
        yield Published(tmp_path, catalog)
