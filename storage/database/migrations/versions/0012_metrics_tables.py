"""Figures for dashboards: rows computed by the minute, requests answered, and datasets built from their begin on."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)
INTERVALS = "('1s', '3s', '15s', '1m')"


def upgrade() -> None:
    """Create two tables, and widen the third."""
    _create_feature_computation_metrics()
    _create_api_endpoint_metrics()
    _widen_dataset_building_metrics()


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()"))


def _created_at() -> sa.Column[Any]:
    return sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now())


def _create_feature_computation_metrics() -> None:
    told_null = "mean from a row's time until it was stored; null when none was"
    told_stored = "rows with a latency: a newer one replaces one that waits"
    told_events, told_errors = "messages of the minute, in the row of 1s alone", "messages rejected, likewise"
    zero = sa.text("0")
    op.create_table(
        "feature_computation_metrics",
        _id(),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("computation_timestamp", TIME, nullable=False, comment="begin of the minute"),
        sa.Column("latency_ms", sa.Double, comment=told_null),
        sa.Column("latency_max_ms", sa.Double),
        sa.Column("feature_registry_version", sa.Text, nullable=False),
        sa.Column("computation_interval", sa.Text, nullable=False),
        sa.Column("features_count", sa.Integer, nullable=False, comment="of a row"),
        sa.Column("computations", sa.Integer, nullable=False, comment="rows of the interval"),
        sa.Column("stored", sa.Integer, nullable=False, comment=told_stored),
        sa.Column("events_count", sa.BigInteger, nullable=False, comment=told_events),
        sa.Column("error_count", sa.Integer, nullable=False, server_default=zero, comment=told_errors),
        sa.Column("trace_id", sa.Text, comment="of the slowest row"),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name=op.f("feature_computation_metrics_pkey")),
        sa.CheckConstraint(
            f"computation_interval IN {INTERVALS}", name=op.f("feature_computation_metrics_interval_check")
        ),
    )
    table = "feature_computation_metrics"
    op.create_index(f"{table}_time", table, ["computation_timestamp"])
    op.create_index(f"{table}_symbol_time", table, ["symbol", "computation_timestamp"])
    op.create_index(f"{table}_version", table, ["feature_registry_version"])


def _create_api_endpoint_metrics() -> None:
    op.create_table(
        "api_endpoint_metrics",
        _id(),
        sa.Column("endpoint", sa.Text, nullable=False, comment="the route's template"),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("response_time_ms", sa.Double, nullable=False, comment="until the answer began"),
        sa.Column("status_code", sa.Integer, nullable=False),
        sa.Column("symbol", sa.Text),
        sa.Column("request_timestamp", TIME, nullable=False),
        sa.Column("trace_id", sa.Text),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name=op.f("api_endpoint_metrics_pkey")),
    )
    table = "api_endpoint_metrics"
    op.create_index(f"{table}_time", table, ["request_timestamp"])
    op.create_index(f"{table}_endpoint_time", table, ["endpoint", "method", "request_timestamp"])
    op.create_index(f"{table}_status", table, ["status_code"])


def _widen_dataset_building_metrics() -> None:
    """Builds that were measured stay, by their attempt's number in time; a new table keeps the columns in order."""
    table = "dataset_building_metrics"
    op.execute("CREATE TEMPORARY TABLE builds_measured AS SELECT * FROM dataset_building_metrics")
    op.drop_table(table)
    op.create_table(
        table,
        _id(),
        sa.Column("dataset_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False, comment="all of them, with commas between"),
        sa.Column("symbols", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("build_started_at", TIME, nullable=False),
        sa.Column("build_completed_at", TIME, comment="null while it is built"),
        sa.Column("build_status", sa.Text, nullable=False),
        sa.Column("build_duration_seconds", sa.Double),
        sa.Column("records_count", sa.BigInteger),
        sa.Column("train_records", sa.BigInteger),
        sa.Column("validation_records", sa.BigInteger),
        sa.Column("test_records", sa.BigInteger),
        sa.Column("feature_registry_version", sa.Text, nullable=False),
        sa.Column("split_strategy", sa.Text),
        sa.Column("samples", sa.BigInteger),
        sa.Column("days_computed", sa.Integer, comment="symbol-days whose features were missing"),
        sa.Column("days_reused", sa.Integer),
        sa.Column("features_seconds", sa.Double, comment="making sure that the features exist"),
        sa.Column("build_seconds", sa.Double, comment="everything after that"),
        sa.Column("trace_id", sa.Text),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name=op.f(f"{table}_pkey")),
        sa.CheckConstraint(
            "build_status IN ('building', 'ready', 'failed', 'cancelled')", name=op.f(f"{table}_status_check")
        ),
    )
    op.create_index(f"{table}_attempt", table, ["dataset_id", "attempt"], unique=True)
    op.create_index(f"{table}_started", table, ["build_started_at"])
    op.create_index(f"{table}_status", table, ["build_status"])
    op.execute(
        """
        INSERT INTO dataset_building_metrics (dataset_id, attempt, symbol, symbols, build_started_at,
            build_completed_at, build_status, build_duration_seconds, records_count, train_records, validation_records,
            test_records, feature_registry_version, split_strategy, samples, days_computed, days_reused,
            features_seconds, build_seconds, trace_id)
        SELECT old.dataset_id, row_number() OVER (PARTITION BY old.dataset_id ORDER BY old.id),
            array_to_string(old.symbols, ','), old.symbols,
            old.finished_at - (old.features_seconds + old.build_seconds) * interval '1 second', old.finished_at,
            old.status, old.features_seconds + old.build_seconds,
            d.train_records + d.validation_records + d.test_records, d.train_records, d.validation_records,
            d.test_records, coalesce(d.feature_registry_version, ''), d.splits_info ->> 'split_strategy', old.samples,
            old.days_computed, old.days_reused, old.features_seconds, old.build_seconds, d.trace_id
        FROM builds_measured AS old LEFT JOIN datasets AS d USING (dataset_id)
        """
    )
    op.drop_table("builds_measured")


def downgrade() -> None:
    """Drop the two tables, and leave of builds what was kept before: those that ended."""
    op.drop_table("feature_computation_metrics")
    op.drop_table("api_endpoint_metrics")
    table = "dataset_building_metrics"
    op.execute("DELETE FROM dataset_building_metrics WHERE build_completed_at IS NULL OR samples IS NULL")
    for index in ("attempt", "started", "status"):
        op.drop_index(f"{table}_{index}", table)
    op.drop_constraint(op.f(f"{table}_status_check"), table)
    op.drop_constraint(op.f(f"{table}_pkey"), table)
    for column in (
        *("id", "attempt", "symbol", "build_started_at", "build_duration_seconds", "records_count", "train_records"),
        *("validation_records", "test_records", "feature_registry_version", "split_strategy", "trace_id", "created_at"),
    ):
        op.drop_column(table, column)
    op.alter_column(table, "build_status", new_column_name="status")
    op.alter_column(table, "build_completed_at", new_column_name="finished_at", nullable=False)
    for column in ("samples", "days_computed", "days_reused", "features_seconds", "build_seconds"):
        op.alter_column(table, column, nullable=False)
    op.add_column(table, sa.Column("id", sa.BigInteger, sa.Identity(), nullable=False))
    op.create_primary_key(op.f(f"{table}_pkey"), table, ["id"])
    op.create_index(f"{table}_finished_at", table, ["finished_at"])
