"""What shadow parity is made of in a process: its watch on the settings' stores, and what it counts."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter

from market.clock import SystemClock
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel, online_store, row_feed

if TYPE_CHECKING:
    from runtime.stores import Stores
    from upkeep.shadow import ShadowLook, ShadowSource
    from upkeep.shadow_watch import ShadowWatch

_log = logging.getLogger(__name__)


class ShadowMetrics:
    """What was compared, by symbol."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._compared = Counter(
            "feature_service_shadow_compared_total",
            "Served rows that were recomputed from the tape.",
            ("symbol",),
            registry=registry,
        )
        self._mismatched = Counter(
            "feature_service_shadow_mismatched_total",
            "Served rows that differ from the tape.",
            ("symbol",),
            registry=registry,
        )
        self._not_compared = Counter(
            "feature_service_shadow_not_compared_total",
            "Served rows that could not be compared.",
            ("symbol",),
            registry=registry,
        )

    def add(self, look: ShadowLook) -> None:
        """Count the result of a check."""
        self._compared.labels(look.symbol).inc(look.compared)
        self._mismatched.labels(look.symbol).inc(look.mismatched)
        self._not_compared.labels(look.symbol).inc(sum(look.not_compared.values()))


@contextmanager
def shadow_watch(
    settings: Settings, servers: Servers, stores: Stores, *, version: str, registry: CollectorRegistry
) -> Iterator[ShadowWatch]:
    """The watch over rows of a registry version; the schema must have been brought up."""
    from storage.database.leases import Leases
    from storage.database.shadow import ShadowStore
    from upkeep.shadow_watch import ShadowStores, ShadowWatch

    with (
        closing(online_store(servers)) as online,
        closing(ShadowStore(servers.postgres_url)) as findings,
        closing(Leases(servers.postgres_url)) as leases,
    ):
        yield ShadowWatch(
            ShadowStores(row_feed(servers), online, findings, leases),
            partial(shadow_source, settings, stores, version),
            settings.feature_service_symbols,
            worker_id=f"{os.uname().nodename}-{os.getpid()}",
            note=ShadowMetrics(registry).add,
            now_ns=SystemClock().now_ns,
            quarantines=settings.feature_service_shadow_quarantine,
        )


def shadow_source(settings: Settings, stores: Stores, version: str, stopping: threading.Event) -> ShadowSource | None:
    """What rows of a registry version are computed from, once its kernel is compiled; none if ``stopping`` is first."""
    from ingestion.venues.decoders import Decoders, tape_venue
    from runtime.kernel_start import warm_up_elsewhere
    from upkeep.shadow import SETTLE_S, ShadowSource

    raw_folder = settings.raw_folder
    kernel = compiled_kernel(settings, version)
    if not warm_up_elsewhere(kernel, _log.info, stopping):
        return None
    return ShadowSource(
        raw_folder,
        stores.raw.open_whole,
        lambda symbol: Decoders(tape_venue(raw_folder, symbol), stores.pins),
        kernel,
        settings.row_grid_ns,
        settle_s=SETTLE_S + settings.feature_service_tape_sync_ms / 1000,
    )
