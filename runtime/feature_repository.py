"""Feast's side of this process: its store, the definitions in its registry, and what applications read with."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.servers import Servers
from runtime.settings import Settings

if TYPE_CHECKING:
    from feature_repo.apply import PlannedChange
    from feature_repo.serving import FeatureServing
    from feature_repo.store import FeatureStore


def feature_store(servers: Servers, *, is_writer: bool = False) -> FeatureStore:
    """Feast's store on the SQL registry, our online store and our offline store; definitions must have been applied."""
    from feature_repo.store import open_store, sql_registry
    from storage.database.feast_schema import FEAST_READER_ENGINE, FEAST_WRITER_ENGINE

    return open_store(
        registry=sql_registry(
            postgres_url=servers.postgres_url, engine_options=FEAST_WRITER_ENGINE if is_writer else FEAST_READER_ENGINE
        ),
        online_store=servers.online_store,
    )


def feature_serving(servers: Servers) -> FeatureServing:
    """Feast's side of the feature server; the first request opens the registry."""
    from feature_repo.serving import FeatureServing
    from storage.database.feast_schema import FEAST_AWAY, FEAST_REFUSED

    return FeatureServing(partial(feature_store, servers), now_s=time.monotonic, away=FEAST_AWAY, refused=FEAST_REFUSED)


def apply_feature_store(settings: Settings, servers: Servers, *, makes_folders: bool = True) -> list[str]:
    """Register every definition, one apply at a time; returns the changes, a line each.

    Afterwards the registry is exported, with the yaml that applications read with. makes_folders: of views, which
    needs the object store that they are in.
    """
    changes = _planned(settings, servers, is_applied=True, makes_folders=makes_folders)
    return [str(change) for change in changes]


class FeatureServices:
    """The feature services of registry versions, in Feast's registry and in its export."""

    def __init__(self, settings: Settings, servers: Servers) -> None:
        self._settings = settings
        self._servers = servers

    def announce(self) -> None:
        """Bring in those of every sound version."""
        apply_feature_store(self._settings, self._servers)

    def withdraw(self, version: str) -> None:
        """Take that of a version out."""
        from feature_repo.apply import withdraw_feature_service
        from feature_repo.registry_versions import service_name
        from feature_repo.store import closing_registry, export_registry
        from storage.database.feast_schema import feast_schema_locked

        with (
            feast_schema_locked(self._servers.postgres_url),
            closing_registry(feature_store(self._servers, is_writer=True)) as store,
        ):
            withdraw_feature_service(store, service_name(version))
            export_registry(store, write_client_yamls(self._settings, self._servers) / "registry.db")


def plan_feature_store(settings: Settings, servers: Servers) -> list[str]:
    """What ``apply_feature_store`` would change, a line each; no definition is registered."""
    return [str(change) for change in _planned(settings, servers, is_applied=False)]


def _planned(
    settings: Settings, servers: Servers, *, is_applied: bool, makes_folders: bool = True
) -> list[PlannedChange]:
    from feature_repo.apply import apply_definitions, plan
    from feature_repo.definitions import definitions
    from feature_repo.foreign import foreign_definitions
    from feature_repo.store import closing_registry, export_registry
    from runtime.wiring import prepare_places
    from storage.database.feast_schema import feast_schema_locked
    from storage.durable_files import make_folder
    from storage.places import place_of

    if is_applied and makes_folders:
        prepare_places(settings)  # below which the folders of views are made

    def make(address: str) -> None:
        if makes_folders:
            make_folder(place_of(address))

    ours = definitions(
        features_folder=settings.feature_log_storage_path.resolve(),
        versions_folder=settings.feature_registry_versions_dir,
    )
    objects = [*ours, *foreign_definitions(ours)]
    with (
        feast_schema_locked(servers.postgres_url),
        closing_registry(feature_store(servers, is_writer=True)) as store,
    ):
        changes = plan(store, objects)
        if is_applied:
            apply_definitions(store, objects, make_folder=make)
            export_registry(store, write_client_yamls(settings, servers) / "registry.db")
    return changes


def write_client_yamls(settings: Settings, servers: Servers) -> Path:
    """``client/`` in the data folder, with what a process with Feast alone needs to read online, and its path.

    Beside it ``historical/`` has what a process with this package needs to read what was served at any time, and to put
    views without a push source online by Feast's own command.
    """
    from feature_repo.store import GUARD, GUARD_NAME, MATERIALIZE_LATENESS_S, OFFLINE_STORE, client_yaml
    from runtime.historical import TICK_SOURCE, tick_options

    ticks = {"source": TICK_SOURCE, "options": tick_options(settings)}
    folder = settings.feature_service_data_path / "client"
    of_history = {
        "type": OFFLINE_STORE,
        "bitemporal": True,
        "materialize_lateness_s": MATERIALIZE_LATENESS_S,
        "ticks": ticks,
    }
    for path, registry, offline_store in (
        (folder, Path("registry.db"), None),
        (folder.with_name("historical"), Path("..", folder.name, "registry.db"), of_history),
    ):
        path.mkdir(parents=True, exist_ok=True)
        yaml = client_yaml(registry=registry, online_store=servers.online_store, offline_store=offline_store)
        (path / "feature_store.yaml").write_text(yaml)
        (path / GUARD_NAME).write_text(GUARD)
    return folder
