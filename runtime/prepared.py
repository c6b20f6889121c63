"""What a process needs before it may run any role: servers, the schema, the version it serves, Feast's definitions."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from market.clock import SystemClock
from runtime.active_version import served_from_now
from runtime.feature_repository import apply_feature_store
from runtime.logs import configure_logging
from runtime.places import Places
from runtime.servers import Servers, running_servers
from runtime.settings import Settings, unknown_settings
from runtime.stores import Stores, unprepared_stores
from runtime.upkeep import upkeep_store
from runtime.wiring import metadata_store
from upkeep.tasks import PERIODS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """version: of the registry, served from now on. places: prepared, or to be run until they are."""

    servers: Servers
    stores: Stores
    version: str
    places: Places


@contextmanager
def prepared_process(
    settings: Settings, *, version: str | None, claims: bool = False, periods: Mapping[str, timedelta] = PERIODS
) -> Iterator[Prepared]:
    """The log configured, the servers answering, the database at our schema and the definitions applied.

    version: of the registry; None is the one that is active. claims: whether it writes raw data.
    periods: how often each task of upkeep runs.
    """
    configure_logging(settings.feature_service_log_format, settings.feature_service_log_level, SystemClock())
    for line in unknown_settings():
        _log.warning("%s", line)
    with running_servers(settings) as servers:
        with metadata_store(servers) as metadata:  # brings the schema up, whichever roles run
            served = served_from_now(settings, servers, metadata, given=version)
        with upkeep_store(servers) as store:
            store.register(periods)  # where no process has the jobs role, health tells
        places = Places(settings, servers, claims=claims, then=lambda: apply_feature_store(settings, servers))
        places.begin()
        apply_feature_store(settings, servers, makes_folders=places.is_prepared)
        yield Prepared(servers, unprepared_stores(settings), served, places)
