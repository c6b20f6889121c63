"""What contracts of stores share: databases on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import URL

from storage.database.metadata import Metadata
from storage.database.schema import upgrade
from tests.postgres_servers import new_database, running_postgres


@pytest.fixture(scope="module", params=["embedded", "server"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database with our tables."""
    with running_postgres(request.param) as server, new_database(server) as made:
        upgrade(made)
        yield made


@pytest.fixture(scope="module", params=["embedded", "server"])
def postgres(request: pytest.FixtureRequest) -> Iterator[URL]:
    with running_postgres(request.param) as found:
        yield found


@pytest.fixture
def empty_url(postgres: URL) -> Iterator[str]:
    """The URL of a database of the test's own, without tables."""
    with new_database(postgres) as made:
        yield made


@pytest.fixture
def fresh_url(empty_url: str) -> str:
    """The URL of a database of the test's own, with our tables."""
    upgrade(empty_url)
    return empty_url


@pytest.fixture
def metadata(fresh_url: str) -> Iterator[Metadata]:
    with closing(Metadata(fresh_url)) as opened:
        yield opened
