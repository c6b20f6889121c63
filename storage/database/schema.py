"""The schema: every table of the database, as the migrations make it."""

from __future__ import annotations

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

TABLES = MetaData(naming_convention={"pk": "%(table_name)s_pkey", "ck": "%(table_name)s_%(constraint_name)s_check"})

DATASETS = Table(
    "datasets",
    TABLES,
    Column("dataset_id", Text, primary_key=True),
    Column("symbols", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False),
    Column("request", JSONB, nullable=False),
    Column("splits_info", JSONB(none_as_null=True)),
    Column("feature_registry_version", Text, nullable=False),
    Column("feature_set", Text, nullable=False, comment="fingerprint"),
    Column("path", Text),
    Column("train_records", BigInteger),
    Column("validation_records", BigInteger),
    Column("test_records", BigInteger),
    Column("error_message", Text),
    Column("progress", Double, nullable=False, comment="0 to 1"),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
    Column("request_hash", Text),
    Column("step", Text),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("trace_id", Text),
    Column("announced_at", TIMESTAMP(timezone=True)),
    CheckConstraint("status IN ('building', 'ready', 'failed', 'cancelled')", name="status"),
    CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
)
Index(
    "datasets_one_build_of_a_request",
    DATASETS.c.request_hash,
    unique=True,
    postgresql_where=DATASETS.c.status == "building",
)

DATA_FOLDER = Table(
    "data_folder",
    TABLES,
    Column("is_the_one", Boolean, primary_key=True, server_default=true(), comment="there is one row"),
    Column("folder_id", Uuid, nullable=False, comment="in a file of the folder of raw data"),
    Column("path", Text, nullable=False, comment="where it was last, on its host"),
    Column("host", Text, nullable=False),
    CheckConstraint("is_the_one", name="is_the_one"),
)

FEATURE_REGISTRY_VERSIONS = Table(
    "feature_registry_versions",
    TABLES,
    Column("version", Text, primary_key=True),
    Column("file_path", Text, nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=false()),
    Column("validated_at", TIMESTAMP(timezone=True)),
    Column("validation_errors", JSONB(none_as_null=True)),
    Column("loaded_at", TIMESTAMP(timezone=True)),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("created_by", Text),
    Column("activated_by", Text),
    Column("rollback_from", Text),
    Column("previous_version", Text),
    Column("schema_version", Text),
    Column("migration_script", Text),
    Column("compatibility_warnings", JSONB(none_as_null=True)),
    Column("breaking_changes", JSONB(none_as_null=True)),
    Column("activation_reason", Text),
    Column("content_sha256", Text),
    Column("definition", JSONB(none_as_null=True), comment="its columns, and the code behind each"),
    Column("is_shadow", Boolean, nullable=False, server_default=false(), comment="served beside the active one"),
    Column("shadow_row_cost_ms", Double, comment="what a row cost when that was accepted"),
    Index("feature_registry_versions_created_at", "created_at"),
    Index("feature_registry_versions_previous", "previous_version"),
)
Index(
    "feature_registry_versions_one_active",
    FEATURE_REGISTRY_VERSIONS.c.is_active,
    unique=True,
    postgresql_where=FEATURE_REGISTRY_VERSIONS.c.is_active,
)

FEATURE_REGISTRY_AUDIT = Table(
    "feature_registry_audit",
    TABLES,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", TIMESTAMP(timezone=True), nullable=False),
    Column("action", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("previous_version", Text),
    Column("made_by", Text, comment="who asked for it, as they said"),
    Column("reason", Text),
    Column("origin", Text, nullable=False, comment="where it came from"),
    Column("details", JSONB, nullable=False),
    Column("trace_id", Text),
    CheckConstraint(
        "action IN ('create', 'sync', 'activate', 'rollback', 'delete', 'migrate', 'refuse', 'take_back', 'shadow', "
        "'end_shadow')",
        name="action",
    ),
    Index("feature_registry_audit_version", "version"),
)
"""Its rows cannot be changed or taken away: a trigger of the migration refuses it."""

FEATURE_REGISTRY_ACTIVATIONS = Table(
    "feature_registry_activations",
    TABLES,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("version", Text, nullable=False),
    Column("previous_version", Text, nullable=False, comment="what was served before"),
    Column("feature_set", Text, nullable=False, comment="fingerprint of the version's file"),
    Column("state", Text, nullable=False),
    Column("asked_at", TIMESTAMP(timezone=True), nullable=False),
    Column("deadline_at", TIMESTAMP(timezone=True), nullable=False),
    Column("settled_at", TIMESTAMP(timezone=True)),
    Column("from_row_ns", BigInteger, comment="the last row of the version before"),
    Column("reason", Text, comment="why it failed"),
    CheckConstraint("state IN ('preparing', 'committed', 'failed', 'taken_back')", name="state"),
)
Index(
    "feature_registry_activations_one_at_a_time",
    FEATURE_REGISTRY_ACTIVATIONS.c.state,
    unique=True,
    postgresql_where=FEATURE_REGISTRY_ACTIVATIONS.c.state == "preparing",
)

FEATURE_REGISTRY_CONFIRMATIONS = Table(
    "feature_registry_confirmations",
    TABLES,
    Column(
        "activation_id",
        BigInteger,
        ForeignKey(FEATURE_REGISTRY_ACTIVATIONS.c.id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("worker_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("detail", Text),
    Column("from_row_ns", BigInteger, comment="the worker's last row of the version before"),
    Column("at", TIMESTAMP(timezone=True), nullable=False),
    CheckConstraint("state IN ('preparing', 'ready', 'changed', 'serving', 'failed')", name="state"),
)

SYMBOL_LEASES = Table(
    "symbol_leases",
    TABLES,
    Column("symbol", Text, primary_key=True),
    Column("worker_id", Text, nullable=False),
    Column("fence", BigInteger, nullable=False, comment="rises with every new owner"),
    Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
)

INGEST_WORKERS = Table(
    "ingest_workers",
    TABLES,
    Column("worker_id", Text, primary_key=True),
    Column("started_at", TIMESTAMP(timezone=True), nullable=False),
    Column("heartbeat_at", TIMESTAMP(timezone=True), nullable=False),
    Column("status", JSONB, nullable=False),
)

UPKEEP_TASKS = Table(
    "upkeep_tasks",
    TABLES,
    Column("task", Text, primary_key=True),
    Column("period_seconds", Double, nullable=False),
    Column("registered_at", TIMESTAMP(timezone=True), nullable=False),
    Column("started_at", TIMESTAMP(timezone=True)),
    Column("ended_at", TIMESTAMP(timezone=True), comment="older than started_at while it runs or was cut off"),
    Column("succeeded_at", TIMESTAMP(timezone=True)),
    Column("told_at", TIMESTAMP(timezone=True), comment="when a run last told of its progress"),
    Column("duration_seconds", Double, comment="of the last success"),
    Column("progress", Double, nullable=False, server_default=text("0"), comment="0 to 1"),
    Column("runs", BigInteger, nullable=False, server_default=text("0")),
    Column("failures", BigInteger, nullable=False, server_default=text("0")),
    Column("error", Text, comment="of the last run, null when it succeeded"),
    Column("result", JSONB(none_as_null=True), comment="of the last success"),
    Column("worker", Text),
)

FRESHNESS_MINUTES = Table(
    "freshness_minutes",
    TABLES,
    Column("view", Text, primary_key=True),
    Column("tier", Integer, primary_key=True),
    Column("minute", TIMESTAMP(timezone=True), primary_key=True),
    Column("looks", BigInteger, nullable=False, comment="of a symbol, but those at a view that warms up"),
    Column("fresh", BigInteger, nullable=False, comment="that found a row of at most the age promised"),
    Column("covered", BigInteger, nullable=False, comment="of these, that found its source there"),
    CheckConstraint("covered <= fresh AND fresh <= looks", name="shares"),
    Index("freshness_minutes_minute", "minute"),
)

ALERTS = Table(
    "alerts",
    TABLES,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("rule", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("action", Text, nullable=False, comment="what to do"),
    Column("found_at", TIMESTAMP(timezone=True), nullable=False),
    Column("seen_at", TIMESTAMP(timezone=True), nullable=False, comment="when it was last found"),
    Column("opened_at", TIMESTAMP(timezone=True), comment="null until it lasted as long as its rule waits"),
    Column("closed_at", TIMESTAMP(timezone=True)),
    Column("told", JSONB, nullable=False, comment="the state that each channel knows"),
    CheckConstraint("severity IN ('critical', 'warning')", name="severity"),
    Index("alerts_closed_at", "closed_at"),
)
Index(
    "alerts_one_that_lasts",
    ALERTS.c.rule,
    ALERTS.c.subject,
    unique=True,
    postgresql_where=ALERTS.c.closed_at.is_(None),
)

ALERT_SILENCES = Table(
    "alert_silences",
    TABLES,
    Column("rule", Text, primary_key=True, comment="* is any"),
    Column("subject", Text, primary_key=True, comment="a pattern, * is any"),
    Column("until", TIMESTAMP(timezone=True), nullable=False),
    Column("reason", Text, nullable=False),
)

DATA_QUALITY_METRICS = Table(
    "data_quality_metrics",
    TABLES,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("symbol", Text, nullable=False),
    Column("metric_timestamp", TIMESTAMP(timezone=True), nullable=False, comment="begin of the minute"),
    Column("missing_rate", Double, comment="null where nothing was expected"),
    Column("anomaly_rate", Double, comment="null where no trade was judged"),
    Column("sequence_gaps_count", Integer, nullable=False),
    Column("desynchronization_events_count", Integer, nullable=False),
    Column("data_completeness_rate", Double, comment="null before anything was received"),
    Column("received", JSONB, nullable=False, comment="messages by stream"),
    Column("next_seq", BigInteger, comment="of the tape, with which the next minute begins"),
    Column("carried", JSONB, nullable=False, comment="what the minute leaves to the next"),
    Column("trace_id", Text),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("missing_rate BETWEEN 0 AND 1", name="missing_rate"),
    CheckConstraint("anomaly_rate BETWEEN 0 AND 1", name="anomaly_rate"),
    CheckConstraint("data_completeness_rate BETWEEN 0 AND 1", name="completeness_rate"),
    Index("data_quality_metrics_symbol_minute", "symbol", "metric_timestamp", unique=True),
    Index("data_quality_metrics_minute", "metric_timestamp"),
)

DATA_QUALITY_EVENTS = Table(
    "data_quality_events",
    TABLES,
    Column("symbol", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("what", Text, primary_key=True),
    Column("severity", Text, nullable=False),
    Column("begin_at", TIMESTAMP(timezone=True), primary_key=True),
    Column("end_at", TIMESTAMP(timezone=True), comment="null while it lasts"),
    Column("detail", Text, nullable=False),
    CheckConstraint("severity IN ('info', 'warning', 'critical')", name="severity"),
    Index("data_quality_events_end", "end_at"),
)

SHADOW_PARITY = Table(
    "shadow_parity",
    TABLES,
    Column("symbol", Text, primary_key=True),
    Column("looked_at", TIMESTAMP(timezone=True), nullable=False),
    Column("compared_until", TIMESTAMP(timezone=True), comment="time of the newest row that was compared"),
    Column("compared", BigInteger, nullable=False, server_default=text("0"), comment="rows"),
    Column("mismatched", BigInteger, nullable=False, server_default=text("0")),
    Column("quarantined", BigInteger, nullable=False, server_default=text("0")),
    Column("not_compared", BigInteger, nullable=False, server_default=text("0")),
    Column("reason", Text, comment="why the last ones could not be compared"),
)

SHADOW_MISMATCHES = Table(
    "shadow_mismatches",
    TABLES,
    Column("symbol", Text, primary_key=True),
    Column("row_ns", BigInteger, primary_key=True),
    Column("group", Text, primary_key=True),
    Column("feature", Text, nullable=False),
    Column("served", Text, nullable=False),
    Column("computed", Text, nullable=False),
    Column("found_in", Text, primary_key=True, comment="the published row, or the online store"),
    Column("rows", Integer, nullable=False, comment="rows of the look in which the group differed"),
    Column("messages", JSONB, nullable=False, comment="received around the row"),
    Column("found_at", TIMESTAMP(timezone=True), nullable=False),
    Index("shadow_mismatches_found_at", "found_at"),
)

QUARANTINED_GROUPS = Table(
    "quarantined_groups",
    TABLES,
    Column("symbol", Text, primary_key=True),
    Column("group", Text, primary_key=True),
    Column("since", TIMESTAMP(timezone=True), nullable=False),
    Column("reason", Text, nullable=False),
)

BACKFILL_JOBS = Table(
    "backfill_jobs",
    TABLES,
    Column("job_id", Text, primary_key=True),
    Column("symbol", Text, nullable=False),
    Column("start_date", Text, nullable=False, comment="YYYY-MM-DD, UTC"),
    Column("end_date", Text, nullable=False, comment="inclusive"),
    Column("data_types", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False),
    Column("current_date", Text),
    Column("completed_dates", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("failed_dates", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("details", JSONB, nullable=False, comment="by date and data type, what was filled and why it failed"),
    Column("error_message", Text),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("start_time", TIMESTAMP(timezone=True)),
    Column("end_time", TIMESTAMP(timezone=True)),
    Column("trace_id", Text),
    CheckConstraint("status IN ('pending', 'in_progress', 'completed', 'failed', 'cancelled')", name="status"),
    Index("backfill_jobs_created_at", "created_at"),
)

DATA_QUALITY_REPORTS = Table(
    "data_quality_reports",
    TABLES,
    Column("id", Uuid, primary_key=True),
    Column("symbol", Text, nullable=False),
    Column("period_start", TIMESTAMP(timezone=True), nullable=False),
    Column("period_end", TIMESTAMP(timezone=True), nullable=False),
    Column("missing_rate", Double),
    Column("anomaly_rate", Double),
    Column("sequence_gaps", BigInteger, nullable=False),
    Column("desynchronization_events", BigInteger, nullable=False),
    Column("report", JSONB, nullable=False),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Column("kind", Text, nullable=False, server_default="quality", comment="quality or reconciliation"),
    CheckConstraint("missing_rate BETWEEN 0 AND 1", name="missing_rate"),
    CheckConstraint("anomaly_rate BETWEEN 0 AND 1", name="anomaly_rate"),
    Index("data_quality_reports_symbol_period", "symbol", "period_start", "period_end"),
)

MODEL_EVALUATIONS = Table(
    "model_evaluations",
    TABLES,
    Column("evaluation_id", Text, primary_key=True),
    Column("dataset_id", Text, nullable=False),
    Column("split", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("evaluation", JSONB, nullable=False, comment="as it was answered"),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
    Index("model_evaluations_dataset", "dataset_id", "created_at"),
)

TEST_TRIALS = Table(
    "test_trials",
    TABLES,
    Column("test_data", Text, primary_key=True, comment="hash of symbols and test periods"),
    Column("dataset_id", Text, primary_key=True),
    Column("cell", Text, primary_key=True, comment="fold or path that was predicted"),
    Column("digest", Text, primary_key=True, comment="of the predictions"),
    Index("test_trials_dataset", "dataset_id"),
)

ENGINE_TASKS = Table(
    "engine_tasks",
    TABLES,
    Column("run", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("arguments", JSONB, nullable=False),
    Column("outcome", JSONB(none_as_null=True), comment="result or error; NULL while it has not ended"),
    Column("created_at", TIMESTAMP(timezone=True), nullable=False),
)
