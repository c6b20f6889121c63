"""Publishing: a table's files become a snapshot of the Iceberg table, in one transaction.

1. The files that the store names now are kept: linked, or their objects marked. What was cut off here is found again.
2. What the current snapshot lacks is added and what it has beyond them is dropped, both in one new snapshot, so a day
   that was repaired, rebuilt or merged is never there twice or not at all. Where nothing changed there is none.
3. The snapshot states the digest of what the store had, by which it is told from any other.
4. Snapshots that had their time are expired, once a day, and then the files that no snapshot refers to any more are let
   go: which ones is written into the table by the same transaction, so a publishing that is killed leaves none behind.

Readers of any snapshot that is there find all of its files: retention and merges take files out of the store, not out
of snapshots.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots, UpdateSnapshot, _OverwriteFiles
from pyiceberg.types import IcebergType

from market.clock import DAY_NS, MILLISECOND_NS
from market.errors import Conflict
from market.written_order import GENERATION
from storage.iceberg.catalog import reaching
from storage.iceberg.columns import NAME_MAPPING, column_types, data_file, new_schema, partition_spec
from storage.iceberg.kept_files import (
    KeptFile,
    address_of,
    end_linking,
    keep_files,
    remove_unreferenced,
    table_folder,
    was_cut_off,
)
from storage.iceberg.stored_tables import StoredTable
from storage.parquet_files import opened_parquet

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

MANIFEST: Final = "feature-service.manifest-sha256"
FILES: Final = "feature-service.files"
_UNREFERENCED: Final = "feature-service.unreferenced"
_MOST_LISTINGS: Final = 10
_KEPT_METADATA: Final = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "commit.manifest-merge.enabled": "true",
}


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """What publishing a table did. snapshot_id: the current one, None of a table that never had a file."""

    name: str
    added: int
    dropped: int
    expired: int
    snapshot_id: int | None


@dataclass(frozen=True, slots=True)
class _Footer:
    file: KeptFile
    size: int
    metadata: pq.FileMetaData
    columns: Mapping[str, IcebergType]


def publish_table(catalog: SqlCatalog, stored: StoredTable, *, keep_ns: int, now_ns: int) -> PublishedTable:
    """Make the current snapshot have the files that the store has; done again it does nothing.

    One publisher of a store at a time. keep_ns: how long a snapshot stays that is not the current one, or up to a day
    longer.

    Raises CorruptStore for a file that is not what was written, Conflict where another changed the table meanwhile,
    StoreUnavailable.
    """
    name = f"{stored.namespace}.{stored.name}"
    with reaching(name):
        return _published(catalog, stored, name, keep_ns=keep_ns, now_ns=now_ns)


def _published(catalog: SqlCatalog, stored: StoredTable, name: str, *, keep_ns: int, now_ns: int) -> PublishedTable:
    is_cut_off = was_cut_off(stored)
    kept = _kept(stored)
    table = _table(catalog, stored, kept)
    if table is None:
        return PublishedTable(name, 0, 0, 0, None)
    try:
        added, dropped = _publish(table, stored, kept)
        expired = _expire(table, stored, before_ms=(now_ns - keep_ns) // MILLISECOND_NS)
    except CommitFailedException as error:
        raise Conflict(f"{name}: must be published by one process at a time, was changed meanwhile: {error}") from error
    end_linking(stored, _data_files(table, table.metadata.snapshots) if is_cut_off else None)
    snapshot = table.current_snapshot()
    return PublishedTable(name, added, dropped, expired, None if snapshot is None else snapshot.snapshot_id)


def manifest_digest(files: Iterable[KeptFile]) -> str:
    """SHA-256 of a line ``<path in the store> <sha256>`` for each file, sorted."""
    lines = sorted(f"{file.stored.path} {file.sha256}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _kept(stored: StoredTable) -> dict[str, KeptFile]:
    """Listed again where a file went meanwhile: a merge has its rows."""
    for _ in range(_MOST_LISTINGS - 1):
        try:
            return keep_files(stored)
        except FileNotFoundError:
            continue
    return keep_files(stored)


def _table(catalog: SqlCatalog, stored: StoredTable, kept: Mapping[str, KeptFile]) -> Table | None:
    """The table, made where there is none yet and there is a file."""
    identifier = (stored.namespace, stored.name)
    location = address_of(table_folder(stored))
    try:
        table = catalog.load_table(identifier)
        if table.location() != location:
            raise Conflict(
                f"{'.'.join(identifier)}: must be of one store in a catalogue, {table.location()}, was {location}"
            )
        return table
    except NoSuchTableError:
        if not kept:
            return None
    catalog.create_namespace_if_not_exists(stored.namespace)
    schema = new_schema(_footer(next(iter(kept.values()))).columns, stored.partitioned_by)
    return catalog.create_table(
        identifier,
        schema,
        location=location,
        partition_spec=partition_spec(schema, stored.partitioned_by),
        properties={**_KEPT_METADATA, NAME_MAPPING: schema.name_mapping.model_dump_json()},
    )


def _publish(table: Table, stored: StoredTable, kept: Mapping[str, KeptFile]) -> tuple[int, int]:
    """How many files were added, and dropped."""
    current = table.current_snapshot()
    before = _data_files(table, [] if current is None else [current])
    added = [_footer(file) for address, file in sorted(kept.items()) if address not in before]
    dropped = [file for address, file in before.items() if address not in kept]
    stated = {MANIFEST: manifest_digest(kept.values()), FILES: str(len(kept))}
    # A part that was replaced by itself under another name leaves the files the same, and not what the store names.
    is_told = (
        current is None
        or current.summary is None
        or current.summary.additional_properties.get(MANIFEST) == stated[MANIFEST]
    )
    if not added and not dropped and is_told:
        return 0, 0
    with table.transaction() as transaction:
        _add_columns(transaction, added)
        snapshot = transaction.update_snapshot(snapshot_properties=stated)
        with _overwriting(snapshot) if dropped else snapshot.merge_append() as files:
            for footer in added:
                files.append_data_file(_data_file(transaction, stored, footer))
            for file in dropped:
                files.delete_data_file(file)
    return len(added), len(dropped)


def _overwriting(snapshot: UpdateSnapshot) -> _OverwriteFiles:
    """An overwrite that asks a new evaluator about each manifest.

    pyiceberg asks one about all of them, in several threads, and an evaluator keeps what it was asked last: now and
    then it took a manifest for another, and the files to drop were not found.
    """
    files = snapshot.overwrite()
    build = files._build_manifest_evaluator  # noqa: SLF001  # no public way leads there

    def evaluator(spec_id: int) -> Callable[[ManifestFile], bool]:
        return lambda manifest: build(spec_id)(manifest)  # noqa: PLW0108  # built anew at each call

    files._build_manifest_evaluator = evaluator  # type: ignore[method-assign]  # noqa: SLF001  # as above
    return files


def _add_columns(transaction: Transaction, added: Iterable[_Footer]) -> None:
    known = set(transaction.table_metadata.schema().column_names)
    lacking = {name: kind for footer in added for name, kind in footer.columns.items() if name not in known}
    if lacking:
        with transaction.update_schema() as update:
            for name, kind in lacking.items():
                update.add_column(name, kind)


def _data_file(transaction: Transaction, stored: StoredTable, footer: _Footer) -> DataFile:
    partition: tuple[Any, ...] = footer.file.stored.partition
    if GENERATION in stored.partitioned_by:
        partition = (*partition, int((footer.metadata.metadata or {})[GENERATION.encode()]))
    return data_file(transaction.table_metadata, footer.file.address, footer.size, footer.metadata, partition)


def _footer(file: KeptFile) -> _Footer:
    with opened_parquet(file.place, is_checked=False) as opened:
        columns = column_types(opened.schema_arrow, str(file.place))
        return _Footer(file, file.place.stat().st_size, opened.metadata, columns)


def _data_files(table: Table, snapshots: Iterable[Snapshot]) -> dict[str, DataFile]:
    """What snapshots refer to, by address."""
    manifests = {
        manifest.manifest_path: manifest for snapshot in snapshots for manifest in snapshot.manifests(table.io)
    }
    return {
        entry.data_file.file_path: entry.data_file
        for manifest in manifests.values()
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    }


def _expire(table: Table, stored: StoredTable, *, before_ms: int) -> int:
    """Expire snapshots that had their time, then let go of what none of the others refers to; how many expired."""
    _let_go(table, stored)  # what a publishing that was killed had begun
    current = table.current_snapshot()
    expired = [each for each in table.metadata.snapshots if each.timestamp_ms < before_ms and each != current]
    # Once a day: to find what is referred to, the manifests of all snapshots are read.
    if not any(each.timestamp_ms < before_ms - DAY_NS // MILLISECOND_NS for each in expired):
        return 0
    kept = [each for each in table.metadata.snapshots if each not in expired]
    unreferenced = {
        "data": sorted(_data_files(table, expired).keys() - _data_files(table, kept).keys()),
        "metadata": sorted(_metadata_files(table, expired) - _metadata_files(table, kept)),
    }
    with table.transaction() as transaction:
        ExpireSnapshots(transaction).by_ids([each.snapshot_id for each in expired]).commit()
        transaction.set_properties({_UNREFERENCED: json.dumps(unreferenced)})
    _let_go(table, stored)
    return len(expired)


def _metadata_files(table: Table, snapshots: Iterable[Snapshot]) -> set[str]:
    lists = {snapshot.manifest_list for snapshot in snapshots}
    return lists | {manifest.manifest_path for snapshot in snapshots for manifest in snapshot.manifests(table.io)}


def _let_go(table: Table, stored: StoredTable) -> None:
    text = table.properties.get(_UNREFERENCED)
    if text is None:
        return
    unreferenced = json.loads(text)
    remove_unreferenced(stored, unreferenced["data"])
    for address in unreferenced["metadata"]:
        try:
            table.io.delete(address)
        except FileNotFoundError:
            continue
    with table.transaction() as transaction:
        transaction.remove_properties(_UNREFERENCED)
