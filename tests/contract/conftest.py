"""What contracts of stores share: a database with our tables, on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.database.schema import upgrade
from tests.postgres_servers import new_database, running_postgres


@pytest.fixture(scope="module", params=["embedded", "server"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database with our tables."""
    with running_postgres(request.param) as server, new_database(server) as made:
        upgrade(made)
        yield made
