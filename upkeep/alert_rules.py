"""The alerts there are: how grave each one is, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

Severity = Literal["critical", "warning"]
CRITICAL: Final = "critical"
WARNING: Final = "warning"


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert by name. action: what to do. after: how long it must last before a notification is sent."""

    severity: Severity
    action: str
    after: timedelta = timedelta()


RULES: Final[Mapping[str, Rule]] = {
    "freshness_burn": Rule(
        CRITICAL,
        "See GET /features/freshness for the view, then its symbols' rows and sources: GET /stats/rolling-windows.",
    ),
    "row_old": Rule(
        CRITICAL,
        "Check that a process with the ingest role is running and writing to Redis: GET /stats/processing, its log.",
    ),
    "online_store_away": Rule(
        CRITICAL, "Restart Redis, and check REDIS_HOST and REDIS_PASSWORD. The newest rows are kept until it is back."
    ),
    "book_gap": Rule(
        CRITICAL,
        "The order book does not recover: check that the gateway answers a subscription with a snapshot, and its log.",
        after=timedelta(seconds=60),
    ),
    "source_stale": Rule(
        WARNING,
        "Check that the stream is subscribed and the gateway is connected: GET /stats/subscriptions.",
        after=timedelta(seconds=60),
    ),
    "ingest_silent": Rule(
        CRITICAL,
        "Start a process with the ingest role, or find out from its log why it ended.",
        after=timedelta(seconds=30),  # a restart is none
    ),
    "symbol_not_followed": Rule(
        CRITICAL,
        "Start another process with the ingest role, and check that each has the symbol in FEATURE_SERVICE_SYMBOLS.",
        after=timedelta(seconds=60),
    ),
    "symbol_silent": Rule(
        CRITICAL,
        "No stream delivers messages of it: check that the symbol is traded and subscribed, and the gateway's log.",
    ),
    "book_crossed": Rule(
        WARNING,
        "A bid was at or above an ask: messages of two streams are mixed, or one was lost. See the gateway's log.",
    ),
    "messages_late": Rule(
        WARNING, "Check the delays of the gateway and the broker: GET /stats/processing, stage transit, and the clocks."
    ),
    "messages_repeated": Rule(
        WARNING, "Something sends messages twice: two gateways on one queue, or acknowledgements that do not arrive."
    ),
    "rows_slow": Rule(
        WARNING, "Find the slow stage in GET /stats/processing, check the machine's load, or add shards."
    ),
    "feature_log_away": Rule(
        WARNING,
        "Rows are served and taped, and are added to the feature log later. Check that its object store is up and "
        "accepts the service's key: the log of the ingest role has its response, feature-service doctor tries it.",
        after=timedelta(seconds=30),
    ),
    "values_unknown": Rule(
        WARNING,
        "Most values are NaN although their sources are available: see missing in GET /features/latest.",
        after=timedelta(seconds=60),
    ),
    "queue_unread": Rule(
        CRITICAL, "Check that ingest reads the queue and keeps up: its log, feature_service_worker_waiting. Add shards."
    ),
    "message_queue_away": Rule(
        CRITICAL, "Restart RabbitMQ, and check RABBITMQ_HOST and RABBITMQ_PASSWORD.", after=timedelta(seconds=30)
    ),
    "dead_letters": Rule(
        WARNING, "Run feature-service dead-letter list: the sender's format changed, or its messages are damaged."
    ),
    "upkeep_late": Rule(
        WARNING,
        "Find the task's error in feature-service status, and check that a process with the jobs role is running.",
        after=timedelta(seconds=60),
    ),
    "data_quality": Rule(
        WARNING,
        "Run feature-service quality report for the symbol and the time: it says what is missing and what to do.",
    ),
    "shadow_mismatch": Rule(
        CRITICAL,
        "See feature-service shadow status for the row, both values and the messages around it: a row in Redis was "
        "changed, messages did not reach the engine, or another kernel runs. Restart ingest, then verify parity.",
    ),
    "group_quarantined": Rule(
        CRITICAL,
        "Its values are withheld. Once the cause is fixed, run feature-service shadow release SYMBOL GROUP.",
    ),
    "shadow_behind": Rule(
        WARNING,
        "See feature-service shadow status for the reason, and check that a process with the jobs role is running.",
        after=timedelta(seconds=60),
    ),
    "feature_drift": Rule(
        WARNING,
        "See GET /data-quality/drift for the dataset: a changed source shows in one group, a changed market in many; "
        "then retrain the model.",
    ),
    "history_disagrees": Rule(
        WARNING,
        "See GET /data-quality/reconciliation for the day: both values and their messages. If stretches of "
        "trades are missing, feature-service backfill run for the day fills them.",
    ),
    "table_stopped": Rule(
        WARNING,
        "Check that its publisher writes, then run feature-service tables check for the table: it lists rejected rows.",
    ),
    "disk_filling": Rule(
        WARNING,
        "Free some space, lower FEATURE_SERVICE_RETENTION_DAYS, or set FEATURE_SERVICE_ARCHIVE_PATH to another disk.",
    ),
}
"""By name. ``after`` is mostly for problems that the service repairs automatically."""


@dataclass(frozen=True, slots=True)
class Finding:
    """That a rule is broken now. subject: what it concerns, one alert each. severity: None is the rule's own."""

    rule: str
    subject: str
    summary: str
    severity: Severity | None = None
