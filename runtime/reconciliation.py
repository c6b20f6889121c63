"""The task that compares yesterday with the exchange's archives, on the settings' folders and servers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from market.clock import Clock
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import quality_reports
from upkeep.tasks import Reach

if TYPE_CHECKING:
    from runtime.stores import Stores


def reconcile(settings: Settings, servers: Servers, stores: Stores, clock: Clock, reach: Reach) -> Mapping[str, Any]:
    """Where no archive is named nothing is asked of the exchange."""
    from backfill.reconciliation import DayReconciliation
    from runtime.backfilling import backfill_place
    from upkeep.reconciliation import reconcile_yesterday

    if settings.bybit_trades_archive is None and settings.bybit_orderbook_archive is None:
        return {"compared": 0, "disagreeing": [], "problems": []}
    told = _Share(reach)
    place = backfill_place(settings, told.sleep)
    with closing(place.rest), quality_reports(servers) as reports:
        return reconcile_yesterday(
            place.raw_folder,
            reports,
            DayReconciliation(place, stores.raw.open_whole, step=told.step).of,
            symbols=settings.feature_service_symbols,
            now_ns=clock.now_ns(),
            reach=told,
        )


class _Share:
    """How far a run has come, told again at the small steps of what takes long, so that it ends when it should."""

    def __init__(self, reach: Reach) -> None:
        self._reach, self._share = reach, 0.0

    def __call__(self, share: float) -> None:
        self._share = share
        self.step()

    def step(self) -> None:
        self._reach(self._share)

    def sleep(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self.step()
            time.sleep(min(left_s, 0.5))
