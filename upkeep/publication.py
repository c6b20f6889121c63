"""Publication: every table of the stores becomes a snapshot of its Iceberg table, where something changed.

A table that fails leaves the others to be published; the run fails in the end, naming it. Once an object store does not
answer, the others would wait in vain: the run ends as unavailable, which is no damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from market.errors import FeatureServiceError
from storage.features.log import FeatureLog
from storage.file_locks import exclusive
from storage.iceberg.stored_tables import stored_tables
from storage.raw.raw_data import RawData
from upkeep.failures import Failures
from upkeep.tasks import Reach

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

    from storage.iceberg.publishing import PublishedTable


def publish_changed(
    catalog: SqlCatalog, raw: RawData, log: FeatureLog, *, keep_ns: int, now_ns: int, reach: Reach
) -> list[PublishedTable]:
    """The tables that have a file, or had one, by name; keep_ns: how long snapshots stay that are not the current ones.

    Raises CorruptStore when a table could not be published, after the others were, StoreUnavailable when disk, store or
    catalogue refused.
    """
    from storage.iceberg.publishing import publish_table

    done: list[PublishedTable] = []
    failures = Failures()
    with exclusive(log.folder / ".publishing"):
        tables = list(stored_tables(raw, log))
        for at, stored in enumerate(tables):
            reach(at / len(tables))
            try:
                published = publish_table(catalog, stored, keep_ns=keep_ns, now_ns=now_ns)
            except FeatureServiceError as error:
                failures.add(f"{stored.namespace}.{stored.name}", error)
                if failures.is_away(raw.place, log.folder):
                    break
                continue
            if published.snapshot_id is not None:
                done.append(published)
    failures.check("publication: must publish every table, could not")
    return sorted(done, key=lambda each: each.name)
