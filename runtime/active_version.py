"""The registry version that a process serves: the one asked for, else the active one, else the shipped default.

A file of before versions had a folder is taken over first, once. Neither it nor an active version whose file is gone or
broken keeps a process from starting: it serves the version before, else the shipped default, and its log says so.
While it runs it changes with the active version, unless it was started with one.

With ``FEATURE_REGISTRY_USE_DB=false`` the version of the legacy file is served, without one the shipped default,
whatever was activated; a file that cannot be served ends the start then, for nothing else says what was meant.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.registry_versions import DEFAULT_VERSION, LATEST, load_registry_version
from market.errors import Conflict, InvalidRegistry, NotFound
from registry.life_cycle import RegistryLifeCycle
from registry.serving import ServedVersion, ServedVersionWatch
from registry.states import Asked
from runtime.servers import Servers
from runtime.serving import registry_life_cycle
from runtime.settings import Settings
from runtime.wiring import metadata_store
from storage.database.metadata import Metadata

_log = logging.getLogger(__name__)


def served_from_now(settings: Settings, servers: Servers, metadata: Metadata, *, given: str | None) -> str:
    """The version to serve, recorded as loaded; otherwise as ``version_to_serve``."""
    with registry_life_cycle(settings, servers, metadata) as cycle:
        version = version_to_serve(cycle, settings, given=given)
        if version != LATEST:
            cycle.begin_serving(version)
    return version


@contextmanager
def served_version_watch(settings: Settings, servers: Servers, served: ServedVersion) -> Iterator[ServedVersionWatch]:
    """What keeps the version of a process at the active one."""
    with (
        metadata_store(servers) as metadata,
        registry_life_cycle(settings, servers, metadata) as cycle,
    ):
        yield ServedVersionWatch(
            served,
            active=cycle.active_version,
            check=lambda version: load_registry_version(version, settings.feature_registry_versions_dir),
            loaded=cycle.begin_serving,
        )


def version_to_serve(cycle: RegistryLifeCycle, settings: Settings, *, given: str | None) -> str:
    """The version to serve, whose file is sound. given: what was asked for; None leaves it to the database.

    Raises NotFound and InvalidRegistry for the version that was asked for, and where even the shipped default is away;
    and InvalidRegistry and Conflict where the files alone decide and the one that settings name cannot be served.
    """
    legacy, folder = settings.feature_registry_config_path, settings.feature_registry_versions_dir
    if legacy is not None and given is None and not settings.feature_registry_use_db:
        cycle.files.take_over(legacy)
    elif legacy is not None and settings.feature_registry_use_db and settings.feature_registry_auto_migrate:
        _adopt(cycle, legacy)
    version = _sound_active(cycle, folder) if given is None else given
    load_registry_version(version, folder)
    return version


def _adopt(cycle: RegistryLifeCycle, legacy: Path) -> None:
    asked = Asked(origin="start of a process", reason=f"imported from FEATURE_REGISTRY_CONFIG_PATH {legacy}")
    try:
        adopted = cycle.adopt(legacy, asked)
    except (InvalidRegistry, Conflict) as error:
        _log.error("FEATURE_REGISTRY_CONFIG_PATH is not imported: %s", error)
        return
    if adopted is not None:
        _log.info("registry version %s is active: imported from %s", adopted.version, legacy)


def _sound_active(cycle: RegistryLifeCycle, folder: Path) -> str:
    active = cycle.active_version()
    for version in (active, cycle.version_before(), DEFAULT_VERSION):
        if version is None:
            continue
        try:
            load_registry_version(version, folder)
        except (InvalidRegistry, NotFound) as error:
            _log.error("registry version %s cannot be served, another is served instead: %s", version, error)
            continue
        return version
    return active
