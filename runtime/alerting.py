"""What alerting is made of in a process: its checks and channels on the settings' servers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from market.clock import MINUTE_NS, Clock, to_datetime
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.tables import newest_rows
from runtime.wiring import broker_address, dead_letter_path, online_store, queues_read
from upkeep.tasks import Reach

if TYPE_CHECKING:
    from storage.database.freshness import FreshnessStore
    from storage.database.metadata import Metadata
    from storage.database.minute_quality import MinuteQualityStore
    from storage.database.upkeep import UpkeepStore
    from storage.online.vector import OnlineVector
    from upkeep.alert_findings import Thresholds
    from upkeep.alert_rules import Finding
    from upkeep.alerting import AlertCheck, Channel

ALERT_QUEUE: Final = "features.alerts"
DEAD_LETTER_MINUTES: Final = 10
RECENT_MINUTES: Final = 3
"""What was wrong with a stream is told when it ended no longer ago: a minute is judged when it is over."""
OF_ROWS: Final = ("row_old", "book_gap", "source_stale", "shadow_behind", "values_unknown")
"""The rules that are judged on the rows in the online store."""
OF_WORKERS: Final = (
    "ingest_silent",
    "symbol_not_followed",
    "symbol_silent",
    "book_crossed",
    "messages_late",
    "messages_repeated",
    "rows_slow",
    "feature_log_away",
)
"""The rules that are judged on what ingest workers say of themselves."""
OF_UPKEEP: Final = ("upkeep_late", "disk_filling", "feature_drift", "history_disagrees")
"""The rules that are judged on what upkeep found."""
_DEAD_LETTER_TAIL: Final = 1 << 20
"""Of the file's end, in which the messages of the last minutes stand."""

_log = logging.getLogger(__name__)


class LoggedAlerts:
    """The channel of a service without a message broker."""

    def send(self, notice: Mapping[str, Any]) -> None:
        from upkeep.webhook import notice_text

        _log.warning("%s: %s", ALERT_QUEUE, notice_text(notice))


def alert_channels(settings: Settings) -> dict[str, Channel]:
    """The channels of alerts: the queue, or the log where there is no broker, and the webhook if there is one."""
    from ingestion.rabbitmq.notices import QueueNotices
    from ingestion.rabbitmq.writing import LIVE_QUEUE
    from upkeep.webhook import Webhook

    has_broker = settings.rabbitmq_host is not None
    channels: dict[str, Channel] = {
        "queue": QueueNotices(broker_address(settings), ALERT_QUEUE, arguments=LIVE_QUEUE)
        if has_broker
        else LoggedAlerts()
    }
    url = settings.feature_service_alert_webhook_url
    if url is not None:
        channels["webhook"] = Webhook(url.get_secret_value(), sends=settings.feature_service_alert_webhook_format)
    return channels


def evaluate(settings: Settings, servers: Servers, metadata: Metadata, clock: Clock, reach: Reach) -> Mapping[str, Any]:
    """One run of the task."""
    from storage.database.alerts import AlertStore
    from storage.database.freshness import FreshnessStore
    from storage.database.minute_quality import MinuteQualityStore
    from storage.database.upkeep import UpkeepStore
    from upkeep.alerting import evaluate_alerts

    url = servers.postgres_url
    with (
        closing(AlertStore(url)) as alerts,
        closing(FreshnessStore(url)) as looks,
        closing(UpkeepStore(url)) as upkeep,
        closing(MinuteQualityStore(url)) as quality,
    ):
        return evaluate_alerts(
            [
                *_checks_of_stores(settings, servers, metadata, clock),
                *_checks_of_tables(settings, metadata, looks, upkeep, clock),
                _check_of_quality(settings, quality, clock),
            ],
            alerts,
            alert_channels(settings),
            now=lambda: to_datetime(clock.now_ns()),
            reach=reach,
        )


def _checks_of_tables(
    settings: Settings, metadata: Metadata, looks: FreshnessStore, upkeep: UpkeepStore, clock: Clock
) -> list[AlertCheck]:
    from storage.database.ingest_workers import read_ingest_workers
    from upkeep.alert_findings import freshness_findings, table_findings, upkeep_findings, worker_findings
    from upkeep.alerting import AlertCheck

    limits = thresholds(settings)

    def of_workers() -> list[Finding]:
        now_ns = clock.now_ns()
        workers = read_ingest_workers(metadata)
        return worker_findings(workers, settings.feature_service_symbols, to_datetime(now_ns), now_ns, limits)

    def of_tables() -> list[Finding]:
        return table_findings(newest_rows(settings), clock.now_ns())

    return [
        AlertCheck(("table_stopped",), of_tables),
        AlertCheck(("freshness_burn",), lambda: freshness_findings(looks.windows(to_datetime(clock.now_ns())), limits)),
        AlertCheck(OF_UPKEEP, lambda: upkeep_findings(upkeep.states(), limits)),
        AlertCheck(OF_WORKERS, of_workers),
    ]


def _check_of_quality(settings: Settings, quality: MinuteQualityStore, clock: Clock) -> AlertCheck:
    from upkeep.alert_findings import quality_findings
    from upkeep.alerting import AlertCheck

    def of_quality() -> list[Finding]:
        events = quality.events(to_datetime(clock.now_ns() - RECENT_MINUTES * MINUTE_NS))
        return quality_findings(events, settings.feature_service_symbols)

    return AlertCheck(("data_quality",), of_quality)


def _checks_of_stores(settings: Settings, servers: Servers, metadata: Metadata, clock: Clock) -> list[AlertCheck]:
    from storage.database.ingest_workers import read_ingest_workers
    from upkeep.alert_findings import queue_findings, row_findings
    from upkeep.alerting import AlertCheck
    from upkeep.freshness import symbol_tiers

    limits = thresholds(settings)
    tiers = symbol_tiers(settings.feature_service_symbols, settings.feature_service_tier1_symbols)

    def of_rows() -> list[Finding]:
        with closing(online_store(servers)) as online:
            vectors = dict(zip(tiers, online.read(list(tiers)), strict=True))
        behind = _uncompared(servers, vectors) if settings.feature_service_shadow_parity else []
        workers = read_ingest_workers(metadata)
        return [*row_findings(vectors, tiers, clock.now_ns(), limits, workers=workers), *behind]

    def of_queues() -> list[Finding]:
        return queue_findings(queues_read(settings), limits)

    def of_dead_letters() -> list[Finding]:
        return _dead_letter_findings(dead_letter_path(settings), clock.now_ns(), limits)

    checks = [
        _check_of_shadow(servers, clock),
        AlertCheck(OF_ROWS, of_rows, away="online_store_away"),
        AlertCheck(("dead_letters",), of_dead_letters),
    ]
    if settings.rabbitmq_host is not None:
        checks.append(AlertCheck(("queue_unread",), of_queues, away="message_queue_away"))
    return checks


def _check_of_shadow(servers: Servers, clock: Clock) -> AlertCheck:
    from storage.database.shadow import ShadowStore
    from upkeep.alerting import AlertCheck
    from upkeep.shadow_alerts import MISMATCH_MINUTES, shadow_findings

    def of_shadow() -> list[Finding]:
        since = to_datetime(clock.now_ns() - MISMATCH_MINUTES * MINUTE_NS)
        with closing(ShadowStore(servers.postgres_url)) as store:
            return shadow_findings(store.mismatches(since, limit=1000), store.quarantines())

    return AlertCheck(("shadow_mismatch", "group_quarantined"), of_shadow)


def _uncompared(servers: Servers, vectors: Mapping[str, OnlineVector | None]) -> list[Finding]:
    """Symbols whose served rows are not compared with the tape."""
    from storage.database.shadow import ShadowStore
    from upkeep.shadow_alerts import shadow_behind

    served_until = {symbol: to_datetime(each.row_ns) for symbol, each in vectors.items() if each is not None}
    with closing(ShadowStore(servers.postgres_url)) as store:
        return shadow_behind(store.states(), served_until)


def _dead_letter_findings(path: Path, now_ns: int, limits: Thresholds) -> list[Finding]:
    from ingestion.pipeline.dead_letter import DeadMessage, read_dead_letter
    from upkeep.alert_findings import dead_letter_findings

    begin = max(0, path.stat().st_size - _DEAD_LETTER_TAIL) if path.is_file() else 0
    since_ns = now_ns - DEAD_LETTER_MINUTES * MINUTE_NS
    reasons = [
        found.reason
        for found in read_dead_letter(path, begin=begin)
        if isinstance(found, DeadMessage) and found.recv_ns >= since_ns
    ]
    return dead_letter_findings(reasons, DEAD_LETTER_MINUTES, limits)


def thresholds(settings: Settings) -> Thresholds:
    """From when on something is an alert."""
    from upkeep.alert_findings import Thresholds

    return Thresholds(
        row_age_s=settings.feature_service_alert_row_seconds,
        silent_s=settings.feature_service_alert_silent_seconds,
        burn_1h=settings.feature_service_alert_burn_1h,
        burn_6h=settings.feature_service_alert_burn_6h,
        queue_messages=settings.feature_service_alert_queue_messages,
        dead_letters=settings.feature_service_alert_dead_letters,
        unknown_share=settings.feature_service_alert_unknown_share,
        late_rate=settings.feature_service_quality_late_rate,
        duplicate_rate=settings.feature_service_quality_duplicate_rate,
        disk_warn_percent=settings.feature_service_disk_warn_percent,
        disk_critical_percent=settings.feature_service_disk_caches_percent,
    )
