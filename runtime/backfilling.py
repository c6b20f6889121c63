"""What brings history from the exchange, from settings: its interface, its archives and the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import instrument_pins, new_id

if TYPE_CHECKING:
    from backfill.bybit.rest import BybitHistory
    from backfill.fetching import Place
    from backfill.jobs import BackfillJobs
    from market.clock import Clock
    from training_sets.engines.engine import Engine


@contextmanager
def backfill_jobs(settings: Settings, servers: Servers, *, engine: Engine | None = None) -> Iterator[BackfillJobs]:
    """Backfills into the settings' raw folder; the schema must have been brought up.

    engine: decodes order books of archived days; None is the process that runs the job.
    """
    from backfill.jobs import BackfillJobs
    from storage.database.backfill_jobs import BackfillStore
    from storage.database.job_queue import JobQueue

    with closing(BackfillStore(servers.postgres_url)) as store:
        jobs = BackfillJobs(
            store,
            JobQueue(servers.postgres_url),
            partial(backfill_place, settings, engine=engine),
            make_id=new_id,
            most_days=settings.feature_service_backfill_max_days,
            is_enabled=settings.feature_service_backfill_enabled,
        )
        try:
            yield jobs
        finally:
            jobs.close()


def exchange_history(settings: Settings, sleep: Callable[[float], None], *, clock: Clock) -> BybitHistory:
    """The exchange's history by REST. sleep: how its client waits."""
    from backfill.bybit.rest import BybitHistory
    from ingestion.venues.bybit.rest import REST_URLS

    key, secret = settings.bybit_api_key, settings.bybit_api_secret
    return BybitHistory(
        settings.bybit_rest_url or REST_URLS[settings.bybit_environment],
        clock,
        category=settings.feature_service_market.category,
        delay_ms=settings.feature_service_backfill_rate_limit_delay_ms,
        credentials=None if key is None or secret is None else (key.get_secret_value(), secret.get_secret_value()),
        sleep=sleep,
    )


def backfill_place(settings: Settings, sleep: Callable[[float], None], *, engine: Engine | None = None) -> Place:
    """Where history comes from and goes to. sleep: how its client waits. engine: see ``backfill.fetching.Place``."""
    from backfill.fetching import Place
    from market.clock import SystemClock

    clock = SystemClock()
    trades, orderbook = archive_addresses(settings)
    return Place(
        settings.raw_folder,
        instrument_pins(settings),
        exchange_history(settings, sleep, clock=clock),
        trades,
        orderbook,
        clock,
        settings.raw_data_storage_path,
        engine,
    )


def archive_addresses(settings: Settings) -> tuple[str, str]:
    """The archives of trades and of order books; empty where the exchange has none of the category."""
    from backfill.bybit.archive import ADDRESSES

    trades, orderbook = ADDRESSES.get(settings.feature_service_market.category, ("", ""))
    return settings.bybit_trades_archive or trades, settings.bybit_orderbook_archive or orderbook
