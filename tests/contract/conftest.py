"""What contracts of stores share: databases on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.database.metadata import Metadata
from storage.objects.path import ObjectPath
from storage.places import Place
from tests.postgres_servers import MigratedPostgres, empty_tables, migrated_postgres, new_database
from tests.s3_server import FaultProxy, new_object_place


@pytest.fixture
def object_place(s3: FaultProxy) -> ObjectPath:  # must be there
    """The top of a store that is empty, in an object store."""
    return new_object_place()


@pytest.fixture(params=["this machine", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """The top of a store that is empty."""
    if request.param == "this machine":
        return tmp_path / "place"
    found: ObjectPath = request.getfixturevalue("object_place")
    return found


@pytest.fixture(scope="session")
def embedded_postgres() -> Iterator[MigratedPostgres]:
    with migrated_postgres("embedded") as found:
        yield found


@pytest.fixture(scope="session")
def server_postgres() -> Iterator[MigratedPostgres]:
    with migrated_postgres("server") as found:
        yield found


@pytest.fixture(scope="module", params=["embedded", "server"])
def postgres(request: pytest.FixtureRequest) -> MigratedPostgres:
    found: MigratedPostgres = request.getfixturevalue(f"{request.param}_postgres")
    return found


@pytest.fixture(scope="module")
def url(postgres: MigratedPostgres) -> Iterator[str]:
    """The URL of a database with our tables, for the whole file."""
    with postgres.with_tables() as made:
        yield made


@pytest.fixture
def empty_url(postgres: MigratedPostgres) -> Iterator[str]:
    """The URL of a database of the test's own, without tables."""
    with new_database(postgres.server) as made:
        yield made


@pytest.fixture
def fresh_url(url: str) -> str:
    """The URL of the file's database, with nothing in our tables."""
    empty_tables(url)
    return url


@pytest.fixture
def metadata(fresh_url: str) -> Iterator[Metadata]:
    with closing(Metadata(fresh_url)) as opened:
        yield opened
