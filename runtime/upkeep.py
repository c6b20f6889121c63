"""What upkeep is made of in a process: its tasks on the settings' folders and servers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market.clock import DAY_NS, Clock, SystemClock, to_datetime
from runtime.feature_repository import feature_store
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import kernel_cache_folder, metadata_store
from upkeep.tasks import COMPACTION, DISK, GARBAGE, MATERIALIZATION, PERIODS, RETENTION, Reach, UpkeepTask

if TYPE_CHECKING:
    from runtime.stores import Stores
    from storage.database.metadata import Metadata
    from storage.database.upkeep import UpkeepStore
    from upkeep.garbage import Found, GarbageFolders
    from upkeep.upkeep import Upkeep


@contextmanager
def upkeep_store(servers: Servers) -> Iterator[UpkeepStore]:
    """What is known of upkeep; the schema must have been brought up."""
    from storage.database.upkeep import UpkeepStore

    store = UpkeepStore(servers.postgres_url)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def open_upkeep(
    settings: Settings, servers: Servers, stores: Stores, *, periods: Mapping[str, timedelta] = PERIODS
) -> Iterator[Upkeep]:
    """Every task on the settings' folders and the servers; the definitions must have been applied."""
    from upkeep.upkeep import Upkeep

    clock = SystemClock()
    with upkeep_store(servers) as store, metadata_store(servers) as metadata:
        yield Upkeep(
            store,
            upkeep_tasks(settings, servers, stores, metadata, clock),
            periods=periods,
            worker_id=f"{os.uname().nodename}-{os.getpid()}",
        )


def upkeep_tasks(
    settings: Settings, servers: Servers, stores: Stores, metadata: Metadata, clock: Clock
) -> list[UpkeepTask]:
    """Every task, in an order in which all of them may be run at once."""
    return [
        UpkeepTask(DISK, partial(_watch_disks, settings, metadata)),
        UpkeepTask(COMPACTION, partial(_compact, stores)),
        UpkeepTask(RETENTION, partial(_retire, settings, stores, clock)),
        UpkeepTask(GARBAGE, partial(_remove_garbage, settings, metadata, clock)),
        UpkeepTask(MATERIALIZATION, partial(_materialize, servers, clock)),
    ]


def _compact(stores: Stores, reach: Reach) -> Mapping[str, Any]:
    from upkeep.compaction import compact_finished

    return compact_finished(stores.raw.parquet.folder, stores.pins, reach)


def _retire(settings: Settings, stores: Stores, clock: Clock, reach: Reach) -> Mapping[str, Any]:
    from transforms.catalogue import set_horizon_ns
    from upkeep.retention import RetiredStores, retire_expired

    retired = RetiredStores(
        raw=stores.raw.parquet,
        features=stores.features,
        datasets=stores.datasets,
        archive=settings.feature_service_archive_path,
    )
    before_ns = clock.now_ns() - settings.feature_service_retention_days * DAY_NS
    horizon_ns = max(set_horizon_ns(chosen) for chosen in _feature_sets(settings))
    return retire_expired(retired, before_ns=before_ns, horizon_ns=horizon_ns, reach=reach)


def _remove_garbage(settings: Settings, metadata: Metadata, clock: Clock, reach: Reach) -> Mapping[str, Any]:
    from upkeep.garbage import remove_garbage

    in_use = partial(_in_use, settings)
    return remove_garbage(_garbage_folders(settings), metadata, in_use, now_ns=clock.now_ns(), reach=reach)


def _watch_disks(settings: Settings, metadata: Metadata, reach: Reach) -> Mapping[str, Any]:
    from upkeep.disk import watch_disks
    from upkeep.garbage import remove_caches

    return watch_disks(
        {
            "raw": settings.raw_data_storage_path,
            "features": settings.feature_log_storage_path,
            "datasets": settings.dataset_storage_path,
            "cache": settings.feature_service_cache_path,
        },
        warn_percent=settings.feature_service_disk_warn_percent,
        caches_percent=settings.feature_service_disk_caches_percent,
        remove_caches=partial(remove_caches, _garbage_folders(settings), metadata, partial(_in_use, settings)),
        reach=reach,
    )


def _materialize(servers: Servers, clock: Clock, reach: Reach) -> Mapping[str, Any]:
    from feature_repo.materializing import materialize_unpushed
    from feature_repo.store import closing_registry

    with closing_registry(feature_store(servers, is_writer=True)) as store:
        return materialize_unpushed(store, to_datetime(clock.now_ns()), before_each=reach)


def _garbage_folders(settings: Settings) -> GarbageFolders:
    from upkeep.garbage import GarbageFolders

    return GarbageFolders(
        datasets=settings.dataset_storage_path,
        features=settings.feature_log_storage_path,
        kernels=kernel_cache_folder(settings),
    )


def _in_use(settings: Settings) -> Found:
    from transforms.kernel import compile_kernel
    from upkeep.garbage import Found

    chosen = _feature_sets(settings)
    kernels: set[Path] = {compile_kernel(each, kernel_cache_folder(settings)).folder for each in chosen}
    code = {f"{group.name}/{group.fingerprint}" for each in chosen for group in each.groups}
    return Found(kernels=frozenset(kernels), code=frozenset(code))


def _feature_sets(settings: Settings) -> list[Any]:
    """The feature set of every registry version here, one at least."""
    from feature_repo.registry_versions import load_registry_version, registry_versions

    folder = settings.feature_registry_versions_dir
    return [load_registry_version(version, folder).feature_set for version in registry_versions(folder)]
