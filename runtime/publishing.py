"""The Iceberg catalogue of the settings, and publishing the settings' stores in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from market.clock import DAY_NS
from market.errors import InvalidRequest
from runtime.servers import Servers
from runtime.settings import Settings, object_store_properties
from storage.iceberg.catalog import open_catalog

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

    from runtime.stores import Stores
    from storage.iceberg.publishing import PublishedTable
    from upkeep.tasks import Reach


@contextmanager
def opened_catalog(settings: Settings, servers: Servers) -> Iterator[SqlCatalog]:
    """Raises InvalidRequest where the settings name no catalogue, or pyiceberg is not installed."""
    name = settings.feature_service_iceberg_catalog
    if name is None:
        raise InvalidRequest("FEATURE_SERVICE_ICEBERG_CATALOG: must name the catalogue, was not set")
    with open_catalog(name, servers.postgres_url, object_store_properties()) as catalog:
        yield catalog


def publish(
    settings: Settings, stores: Stores, catalog: SqlCatalog, *, now_ns: int, reach: Reach
) -> list[PublishedTable]:
    """Publish what changed in the stores. Raises as ``publish_changed``."""
    from upkeep.publication import publish_changed

    keep_ns = settings.feature_service_iceberg_snapshot_days * DAY_NS
    raw, log = stores.raw.parquet, stores.features
    return publish_changed(catalog, raw, log, keep_ns=keep_ns, now_ns=now_ns, reach=reach)
