"""What upkeep is made of in a process: its tasks on the settings' folders and servers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from market.clock import DAY_NS, Clock, SystemClock, to_datetime, to_ns
from market.errors import FeatureServiceError
from runtime.alerting import evaluate
from runtime.feature_repository import feature_store
from runtime.reconciliation import reconcile
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.tables import compute_tables, watched_views
from runtime.wiring import (
    drift_limits,
    kernel_cache_folder,
    metadata_store,
    object_places,
    online_store,
    quality_limits,
)
from upkeep.tasks import (
    ALERTS,
    COMPACTION,
    DISK,
    DRIFT,
    FRESHNESS,
    GARBAGE,
    MATERIALIZATION,
    MERGING,
    PERIODS,
    PUBLICATION,
    QUALITY,
    RECONCILIATION,
    RETENTION,
    Reach,
    UpkeepTask,
)

if TYPE_CHECKING:
    from runtime.stores import Stores
    from storage.database.metadata import Metadata
    from storage.database.upkeep import UpkeepStore
    from storage.tables.growing import GrowingTables
    from storage.tables.newest_rows import NewestRows
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
    from storage.tables.growing import GrowingTables
    from storage.tables.newest_rows import NewestRows

    return [
        UpkeepTask(DISK, partial(_watch_disks, settings, metadata)),
        UpkeepTask(COMPACTION, partial(_compact, stores)),
        UpkeepTask(MERGING, partial(_merge, settings, clock)),
        UpkeepTask(PUBLICATION, partial(_publish, settings, servers, stores, clock)),
        UpkeepTask(RETENTION, partial(_retire, settings, servers, stores, clock)),
        UpkeepTask(GARBAGE, partial(_remove_garbage, settings, metadata, clock)),
        UpkeepTask(
            MATERIALIZATION, partial(_materialize, settings, servers, clock, GrowingTables(clock), NewestRows())
        ),
        UpkeepTask(FRESHNESS, partial(_look_at_freshness, settings, servers, clock, NewestRows())),
        UpkeepTask(QUALITY, partial(_judge_minutes, settings, servers, stores, clock)),
        UpkeepTask(DRIFT, partial(_look_at_drift, settings, stores, metadata, clock)),
        UpkeepTask(RECONCILIATION, partial(reconcile, settings, servers, stores, clock)),
        UpkeepTask(ALERTS, partial(evaluate, settings, servers, metadata, clock)),
    ]


def _compact(stores: Stores, reach: Reach) -> Mapping[str, Any]:
    from upkeep.compaction import compact_finished

    raw = stores.raw.parquet
    return compact_finished(raw.folder, stores.pins, reach, place=raw.place)


def _merge(settings: Settings, clock: Clock, reach: Reach) -> Mapping[str, Any]:
    from upkeep.merging import merge_served_days

    return merge_served_days(settings.feature_log_storage_path, reach, now_ns=clock.now_ns())


def _publish(settings: Settings, servers: Servers, stores: Stores, clock: Clock, reach: Reach) -> Mapping[str, Any]:
    from runtime.publishing import opened_catalog, publish

    if settings.feature_service_iceberg_catalog is None:
        return {"tables": 0, "added": 0, "dropped": 0, "expired": 0}
    with opened_catalog(settings, servers) as catalog:
        done = publish(settings, stores, catalog, now_ns=clock.now_ns(), reach=reach)
    counts = {name: sum(getattr(table, name) for table in done) for name in ("added", "dropped", "expired")}
    return {"tables": len(done), **counts}


def _retire(settings: Settings, servers: Servers, stores: Stores, clock: Clock, reach: Reach) -> Mapping[str, Any]:
    from storage.database.figures import drop_figures
    from transforms.catalogue import set_horizon_ns
    from upkeep.retention import RetiredStores, retire_expired

    retired = RetiredStores(
        raw=stores.raw.parquet,
        features=stores.features,
        datasets=stores.datasets,
        archive=settings.feature_service_archive_path,
    )
    now_ns = clock.now_ns()
    figures = drop_figures(servers.postgres_url, to_datetime(now_ns - settings.feature_service_figures_days * DAY_NS))
    before_ns = now_ns - settings.feature_service_retention_days * DAY_NS
    horizon_ns = max(set_horizon_ns(chosen) for chosen in _feature_sets(settings))
    done = retire_expired(retired, before_ns=before_ns, horizon_ns=horizon_ns, reach=reach)
    return {**done, "figures": figures}


def _remove_garbage(settings: Settings, metadata: Metadata, clock: Clock, reach: Reach) -> Mapping[str, Any]:
    from upkeep.garbage import remove_garbage

    in_use = partial(_in_use, settings)
    return remove_garbage(_garbage_folders(settings), metadata, in_use, now_ns=clock.now_ns(), reach=reach)


def _watch_disks(settings: Settings, metadata: Metadata, reach: Reach) -> Mapping[str, Any]:
    from upkeep.disk import watch_disks
    from upkeep.garbage import remove_caches

    features = settings.feature_log_storage_path
    return watch_disks(
        {
            "raw": settings.raw_folder,
            **({"features": features} if isinstance(features, Path) else {}),
            "datasets": settings.attempts_folder,
            "cache": settings.feature_service_cache_path,
        },
        warn_percent=settings.feature_service_disk_warn_percent,
        caches_percent=settings.feature_service_disk_caches_percent,
        remove_caches=partial(remove_caches, _garbage_folders(settings), metadata, partial(_in_use, settings)),
        reach=reach,
    )


def _materialize(
    settings: Settings, servers: Servers, clock: Clock, tables: GrowingTables, newest: NewestRows, reach: Reach
) -> Mapping[str, Any]:
    """Tables first: what they have new is what their views are materialized from.

    An online store that lost its rows, as Redis without a disk does when it starts again, gets them again.
    """
    from feature_repo.materializing import materialize_unpushed, materialized_until
    from feature_repo.store import closing_registry
    from upkeep.freshness import online_rows
    from upkeep.table_freshness import lost_views

    problems = []
    try:
        compute_tables(settings, clock, tables)
    except FeatureServiceError as error:  # the other views are none the worse for a table that cannot be read
        problems.append(str(error))
    views, now_ns = watched_views(settings, newest), clock.now_ns()
    with closing_registry(feature_store(servers, is_writer=True)) as store, closing(online_store(servers)) as online:
        until_ns = {name: to_ns(end) for name, end in materialized_until(store).items()}
        lost = lost_views(views, partial(online_rows, online), until_ns, now_ns=now_ns)
        done = materialize_unpushed(store, to_datetime(now_ns), before_each=reach, lost=lost)
    return {**done, "problems": [*problems, *done["problems"]]}


def _look_at_freshness(
    settings: Settings, servers: Servers, clock: Clock, newest: NewestRows, reach: Reach
) -> Mapping[str, Any]:
    from storage.database.freshness import FreshnessStore
    from upkeep.freshness import TablesWatched, look_at_freshness, symbol_tiers

    first = settings.feature_service_tier1_symbols
    tiers = symbol_tiers(settings.feature_service_symbols, first)
    now, tables = to_datetime(clock.now_ns()), TablesWatched(watched_views(settings, newest), first)
    with closing(online_store(servers)) as online, closing(FreshnessStore(servers.postgres_url)) as store:
        return look_at_freshness(online, store, tiers, now=now, reach=reach, tables=tables)


def _judge_minutes(
    settings: Settings, servers: Servers, stores: Stores, clock: Clock, reach: Reach
) -> Mapping[str, Any]:
    from storage.database.minute_quality import MinuteQualityStore
    from upkeep.quality import judge_minutes

    with closing(MinuteQualityStore(servers.postgres_url)) as store:
        return judge_minutes(
            stores.raw.parquet.folder,
            stores.pins,
            store,
            quality_limits(settings),
            symbols=settings.feature_service_symbols,
            now_ns=clock.now_ns(),
            reach=reach,
        )


def _look_at_drift(
    settings: Settings, stores: Stores, metadata: Metadata, clock: Clock, reach: Reach
) -> Mapping[str, Any]:
    from training_sets.dataset.drift import ServedDrift
    from upkeep.drift import look_at_drift

    served = ServedDrift(stores.features, settings.feature_registry_versions_dir, drift_limits(settings))
    until_ns, hours = clock.now_ns(), settings.feature_service_drift_hours
    return look_at_drift(
        settings.feature_service_drift_datasets or (),
        lambda dataset_id: served.of(metadata.get_dataset(dataset_id), until_ns=until_ns, hours=hours),
        reach,
    )


def _garbage_folders(settings: Settings) -> GarbageFolders:
    from upkeep.garbage import GarbageFolders

    features = settings.feature_log_storage_path
    return GarbageFolders(
        attempts=settings.attempts_folder,
        features=features if isinstance(features, Path) else None,
        kernels=kernel_cache_folder(settings),
        objects=tuple(object_places(settings)),
    )


def _in_use(settings: Settings) -> Found:
    from transforms.kernel import kernel_folders
    from upkeep.garbage import Found

    chosen = _feature_sets(settings)
    kernels = kernel_folders(chosen, kernel_cache_folder(settings))
    code = {f"{group.name}/{group.fingerprint}" for each in chosen for group in each.groups}
    return Found(kernels=frozenset(kernels), code=frozenset(code))


def _feature_sets(settings: Settings) -> list[Any]:
    """The feature set of every sound registry version here, one at least."""
    from feature_repo.registry_versions import sound_versions

    return [version.feature_set for version in sound_versions(settings.feature_registry_versions_dir)]
