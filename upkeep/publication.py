"""Publication: every table of the stores becomes a snapshot of its Iceberg table, where something changed.

A table that fails leaves the others to be published; the run fails in the end, naming it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from market.errors import CorruptStore, FeatureServiceError
from storage.features.log import FeatureLog
from storage.file_locks import exclusive
from storage.iceberg.stored_tables import stored_tables
from storage.raw.raw_data import RawData
from upkeep.tasks import Reach

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

    from storage.iceberg.publishing import PublishedTable


def publish_changed(
    catalog: SqlCatalog, raw: RawData, log: FeatureLog, *, keep_ns: int, now_ns: int, reach: Reach
) -> list[PublishedTable]:
    """The tables that have a file, or had one, by name; keep_ns: how long snapshots stay that are not the current ones.

    Raises CorruptStore when a table could not be published, after the others were.
    """
    from storage.iceberg.publishing import publish_table

    done: list[PublishedTable] = []
    failures: list[str] = []
    with exclusive(log.folder / ".publishing"):
        tables = list(stored_tables(raw, log))
        for at, stored in enumerate(tables):
            reach(at / len(tables))
            try:
                published = publish_table(catalog, stored, keep_ns=keep_ns, now_ns=now_ns)
            except FeatureServiceError as error:
                failures.append(f"{stored.namespace}.{stored.name}: {error}")
                continue
            if published.snapshot_id is not None:
                done.append(published)
    if failures:
        raise CorruptStore(f"publication: must publish every table, could not: {'; '.join(failures)}")
    return sorted(done, key=lambda each: each.name)
