"""The Iceberg catalogue: pyiceberg's own tables, in the PostgreSQL database of the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from market.clock import MILLISECOND_NS
from market.errors import InvalidRequest, StoreUnavailable
from storage.database.connections import answering

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog


@contextmanager
def open_catalog(name: str, url: str, object_store: Mapping[str, str]) -> Iterator[SqlCatalog]:
    """The catalogue of a name. url: of the database. object_store: what pyiceberg needs to reach one.

    Raises InvalidRequest where pyiceberg is not installed, StoreUnavailable.
    """
    if find_spec("pyiceberg") is None:
        raise InvalidRequest("iceberg: is not installed, publishing needs it: pip install 'feature-service[iceberg]'")
    from pyiceberg.catalog.sql import SqlCatalog

    with answering():
        catalog = SqlCatalog(name, uri=url, **object_store)
    try:
        yield catalog
    finally:
        catalog.close()


@contextmanager
def reaching(name: str) -> Iterator[None]:
    """What pyiceberg meets while the database or a store is away becomes StoreUnavailable naming the table.

    A file that is gone stays FileNotFoundError.
    """
    try:
        with answering():
            yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"{name}: its metadata cannot be read or written: {error}") from error


@dataclass(frozen=True, slots=True)
class ListedTable:
    """A table of the catalogue. files, rows: of the current snapshot. published_ns: when that was made."""

    name: str
    location: str
    files: int
    rows: int
    snapshots: int
    snapshot_id: int | None
    published_ns: int | None
    manifest_sha256: str | None


def listed_tables(catalog: SqlCatalog) -> list[ListedTable]:
    """The tables of every namespace, by name. Raises StoreUnavailable."""
    from storage.iceberg.publishing import MANIFEST

    with answering():
        names = [name for namespace in catalog.list_namespaces() for name in catalog.list_tables(namespace)]
    found = []
    for name in sorted(names):
        with reaching(".".join(name)):
            table = catalog.load_table(name)
        current = table.current_snapshot()
        summary = {} if current is None or current.summary is None else current.summary.additional_properties
        found.append(
            ListedTable(
                ".".join(name),
                table.location(),
                int(summary.get("total-data-files", 0)),
                int(summary.get("total-records", 0)),
                len(table.metadata.snapshots),
                None if current is None else current.snapshot_id,
                None if current is None else current.timestamp_ms * MILLISECOND_NS,
                summary.get(MANIFEST),
            )
        )
    return found
