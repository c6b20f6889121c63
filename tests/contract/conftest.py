"""What contracts of stores share: databases on the embedded PostgreSQL and on a server alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.database.metadata import Metadata
from storage.objects.bucket import Patience, bucket
from storage.objects.path import ObjectPath
from storage.places import Place
from tests.postgres_servers import MigratedPostgres, empty_tables, migrated_postgres, new_database
from tests.s3_server import BUCKET, FaultProxy, endpoint_variables, make_bucket, new_object_place, running_s3


@pytest.fixture
def s3(s3_server: FaultProxy) -> Iterator[FaultProxy]:
    """The server and its proxy, which fails by what a test asks, until the test ends."""
    yield s3_server
    s3_server.heal()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[FaultProxy]:
    """A real S3 server behind a proxy that fails when asked, with a bucket; processes here are let in."""
    with running_s3() as port, pytest.MonkeyPatch.context() as patch:
        make_bucket(port, BUCKET)
        proxy = FaultProxy(port)
        for name, value in endpoint_variables(proxy.endpoint).items():
            patch.setenv(name, value)
        bucket(BUCKET).patience = Patience(sleep=lambda _seconds: None)
        yield proxy
        proxy.close()


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
